"""Models that cannot be loaded: each way to fail gives one clear answer with its place."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from probe_project import ModelProject

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


def test_a_syntax_error_has_its_line(project: ModelProject) -> None:
    """A syntax error in any file is told with file, line and text, and the file is among what to watch."""
    project.models("import broken\n")
    broken = project.write("broken.py", "a = 1\nb = = 2\n")
    error = project.error("models:Base")
    assert error.code == "models-syntax-error"
    assert error.what == "the models models:Base cannot be loaded"
    assert error.why == f"{broken}:2: invalid syntax: b = = 2"
    assert str(broken) in error.sources


def test_a_syntax_error_of_generated_code_is_one_of_the_import(project: ModelProject) -> None:
    """Code that models generate has no file: the place is the line that ran it."""
    path = project.models("exec('b = = 2')\n")
    error = project.error("models:Base")
    assert error.code == "models-import-failed"
    assert f"{path}:9" in error.why


def test_a_missing_module_of_the_spec(project: ModelProject) -> None:
    """The spec's own module is missing: the error says where to look, and names what is near."""
    error = project.error("modles:Base")
    assert error.code == "models-module-missing"
    assert error.why == "there is no module named modles"
    assert "`pythonpath`" in error.fix
    project.write("app/__init__.py", "")
    project.write("app/models.py", "")
    assert "did you mean models?" in project.error("app.modles:Base").why


def test_a_dot_where_the_colon_belongs(project: ModelProject) -> None:
    """`models.Base` gets the spec that was meant."""
    project.models("class Holder:\n    Base = Base\n")
    error = project.error("models.Base")
    assert (error.code, error.fix) == ("models-module-missing", "write models:Base")


def test_a_missing_dependency_has_its_place(project: ModelProject) -> None:
    """A module that the models import is missing: which one, in which file and line, for which interpreter."""
    path = project.models("import not_installed_anywhere.part\n")
    error = project.error("models:Base")
    assert error.code == "models-module-missing"
    assert error.why == f"there is no module named not_installed_anywhere ({path}:9)"
    assert sys.executable in error.fix


def test_a_missing_attribute_names_what_is_near(project: ModelProject) -> None:
    """A misspelt attribute, also a dotted one, is told with the names that are near."""
    project.models("")
    error = project.error("models:Bse")
    assert error.code == "models-attribute-missing"
    assert "models has no attribute Bse; did you mean Base" in error.why
    assert "Base has no attribute metdata; did you mean metadata?" in project.error("models:Base.metdata").why


def test_an_exception_has_the_last_line_of_the_project(project: ModelProject) -> None:
    """An exception, also from deep inside a library, is told with type, message and the last line of the project."""
    project.write("helper.py", "import json\n\ndef parse():\n    return json.loads('{')\n")
    project.models("import helper\nhelper.parse()\n")
    error = project.error("models:Base")
    assert error.code == "models-import-failed"
    assert "JSONDecodeError: Expecting property name" in error.why
    assert error.why.endswith(f"({project.folder / 'helper.py'}:4)")
    assert set(error.sources) == {str(project.folder / "helper.py")}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd\n",
            "Odd (its message raised",
        ),
        ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("def f():\n    f()\nf()\n", "RecursionError"),
        ("import xml.dom.minidom\nxml.dom.minidom.parseString('<')\n", "ExpatError"),
        ("def __getattr__(name):\n    raise LookupError(name)\ndel Base\n", "LookupError: Base"),
        ("def Base():\n    raise LookupError('called')\n", "LookupError: called"),
    ],
)
def test_whatever_the_import_raises_is_told(project: ModelProject, text: str, why: str) -> None:
    """Exceptions without a message, of the interpreter, in a module's __getattr__ or in a callable."""
    path = project.models(text)
    error = project.error("models:Base")
    assert error.code == "models-import-failed"
    assert why in error.why
    assert f"{path}:" in error.why


@pytest.mark.parametrize(
    ("text", "code", "why"),
    [
        ("raise SystemExit\n", "models-exited", "sys.exit(None)"),
        ("import sys\nsys.exit('no settings')\n", "models-exited", "sys.exit('no settings')"),
        (
            "import os\nprint('no licence', flush=True)\nos._exit(7)\n",
            "models-exited",
            "exit status 7: no licence",
        ),
        ("import os\nos._exit(0)\n", "models-exited", "exit status 0"),
        ("import os\nos.kill(os.getpid(), 9)\n", "models-crashed", "signal SIGKILL"),
        ("import ctypes\n\nctypes.string_at(0)\n", "models-crashed", "signal SIGSEGV at "),
        ("import os\nos.abort()\n", "models-crashed", "signal SIGABRT at "),
    ],
)
def test_an_end_of_the_process_is_told(project: ModelProject, text: str, code: str, why: str) -> None:
    """sys.exit, os._exit, a signal and a segmentation fault, with the status and, where it is known, the place."""
    path = project.models(text)
    error = project.error("models:Base")
    assert error.code == code
    assert why in error.why
    if "SIGSEGV" in why:
        assert error.why.endswith(f"{path}:11")


def test_an_installed_package_has_its_place_too(project: ModelProject) -> None:
    """Models in site-packages: an exception below them is told with their own line, a hang with the innermost one."""
    site = project.folder / "lib" / "site-packages"
    path = project.write("lib/site-packages/installed/models.py", "import json\n\njson.loads('{')\n")
    error = project.error("installed.models:Base", pythonpath=(str(project.folder), str(site)))
    assert error.why.endswith(f"({path}:3)")
    site_only = project.write("start.pth", f"{site}\n").parent
    environment = f"import site\nsite.addsitedir({str(site_only)!r})\n"
    project.write("custom/sitecustomize.py", environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project.folder / "custom"))
        assert project.error("installed.models:Base").why.endswith(f"({path}:3)")
        path.write_text("import time\ntime.sleep(600)\n")
        error = project.error("installed.models:Base", timeout=1)
    assert error.why == f"the import was still running at {path}:2"


def test_create_all_that_fails_is_told(project: ModelProject) -> None:
    """What create_all or a listener raises is told with the listener's line; so is a type that SQLite cannot have."""
    path = project.models("""
        @event.listens_for(Task.__table__, "before_create")
        def refuse(table, connection, **more):
            raise RuntimeError("not on this database")
    """)
    error = project.error("models:Base")
    assert error.code == "models-create-failed"
    assert error.why == f"create_all raised RuntimeError: not on this database ({path}:12)"
    project.models(
        "from sqlalchemy.dialects.postgresql import ARRAY\nTask.__table__.append_column(Column('a', ARRAY(Integer)))\n"
    )
    error = project.error("models:Base")
    assert error.code == "models-create-failed"
    assert "ARRAY" in error.why


def test_an_interpreter_that_cannot_be_run(project: ModelProject) -> None:
    """A path that is missing, not executable, no program, no Python, or a shim that fails: each says which."""
    project.models("")
    plain = project.write("plain", "text")
    garbage = project.write("garbage", "no program")
    shim = project.write("shim", "#!/bin/sh\necho 'python9.9: command not found' >&2\nexit 127\n")
    lost = project.write("lost", "#!/no/such/interpreter\n")
    for path in (garbage, shim, lost):
        path.chmod(0o755)
    expected = {
        str(project.folder / "missing"): "there is no such file",
        str(plain): "it is not executable",
        str(garbage): "Exec format error",
        str(lost): "No such file or directory",
        str(shim): "exit status 127 before the probe ran: python9.9: command not found",
        "/bin/cat": "before the probe ran",
        "no-such-python": "there is no such file",
    }
    for python, why in expected.items():
        error = project.error("models:Base", python=python)
        assert (error.code, why in error.why) == ("models-interpreter", True), (python, error.why)
        assert python in error.what


def test_an_interpreter_without_a_usable_sqlalchemy(
    project: ModelProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLAlchemy missing or older than 1.4 in that interpreter is its own error, before any model is imported."""
    project.models("raise RuntimeError('never imported')\n")
    project.write("old/sqlalchemy/__init__.py", "__version__ = '1.3.24'\n")
    error = project.error("models:Base", pythonpath=(str(project.folder / "old"),))
    assert (error.code, error.why) == ("models-sqlalchemy", "its SQLAlchemy is 1.3.24")
    project.write("none/sitecustomize.py", "import sys\nsys.modules['sqlalchemy'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(project.folder / "none"))
    error = project.error("models:Base")
    assert error.code == "models-sqlalchemy"
    assert sys.executable in error.what


def test_a_working_directory_that_is_missing(tmp_path: Path) -> None:
    """A working directory that does not exist is told as such, not as a missing interpreter."""
    error = ModelProject(tmp_path / "gone").error("models:Base")
    assert error.code == "models-file-missing"
    assert str(tmp_path / "gone") in error.what


def test_a_file_that_python_cannot_decode(project: ModelProject) -> None:
    """A null byte or bytes in no encoding: the error names the file, or at least no line of our own."""
    path = project.folder / "models.py"
    path.write_bytes(b"name = 'caf\xe9'\n")
    error = project.error("models:Base")
    assert error.code == "models-syntax-error"
    assert str(path) in error.why
    path.write_bytes(b"a = 1\0\n")
    error = project.error("models:Base")
    assert error.code in {"models-syntax-error", "models-import-failed"}
    assert "probe.py" not in error.why
    assert "null byte" in error.why
