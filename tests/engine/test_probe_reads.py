"""What the probe tells of a load beside its modules: files, folders, environment, libraries, databases."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine.desired import inputs_after
from probe_project import ModelProject

if TYPE_CHECKING:
    from pathlib import Path

    from driftengine.footprint import Inputs


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


def inputs_of(project: ModelProject, text: str) -> Inputs:
    """The inputs of models with this text behind `BASE`."""
    project.models(text)
    return project.read("models:Base").inputs


def names(project: ModelProject, paths: tuple[str, ...]) -> set[str]:
    """Those of the paths that lie in the project, relative to it."""
    return {os.path.relpath(path, project.folder) for path in paths if path.startswith(str(project.folder))}


def test_data_files_that_were_read_are_told(project: ModelProject) -> None:
    """Every way of reading counts, relative to where the models stood; what was written or appended to does not."""
    for name in ("a.txt", "b.json", "sub/c.txt"):
        project.write(name, "{}")
    found = inputs_of(
        project,
        """
        import json, os, pathlib
        open("a.txt").close()
        json.loads(pathlib.Path("b.json").read_bytes())
        os.chdir("sub")
        os.close(os.open("c.txt", os.O_RDONLY))
        with open("log.txt", "a+") as log:
            log.write("x")
        with open("made.txt", "w") as made:
            made.write("x")
        open("made.txt").close()
        """,
    )
    assert names(project, found.files) == {"models.py", "a.txt", "b.json", "sub/c.txt"}
    assert found.missing == ()


def test_files_that_were_asked_for_in_vain_are_told(project: ModelProject) -> None:
    """A file that the models do without today changes them when it appears."""
    found = inputs_of(project, "try:\n    open('.env')\nexcept FileNotFoundError:\n    pass\n")
    assert names(project, found.missing) == {".env"}
    assert names(project, found.files) == {"models.py"}


def test_devices_and_libraries_files_are_not_told(project: ModelProject) -> None:
    """What is read of the machine, of the standard library and of installed packages is not the project's."""
    found = inputs_of(
        project,
        """
        import email, sqlalchemy
        for path in ("/dev/null", "/proc/self/stat", email.__file__, sqlalchemy.__file__):
            open(path, "rb").close()
        """,
    )
    assert names(project, found.files) == {"models.py"}
    assert not [path for path in (*found.files, *found.missing) if not path.startswith(str(project.folder))]


def test_folders_that_were_listed_are_told(project: ModelProject) -> None:
    """Packages that the import system or the models themselves looked into, and the folders of the path."""
    project.write("app/parts/one.py", "")
    project.write("app/__init__.py", "")
    project.write("tables/a.txt", "")
    project.write("untouched/b.txt", "")
    found = inputs_of(
        project,
        """
        import importlib, os, pkgutil, app
        os.listdir("tables")
        [m.name for m in pkgutil.iter_modules([os.path.join(app.__path__[0], "parts")])]
        """,
    )
    assert {".", "app/parts", "tables"} <= names(project, found.folders)
    assert "untouched" not in names(project, found.folders)
    assert not [path for path in found.folders if "site-packages" in path or path.endswith(".zip")]


def test_a_folder_of_pythonpath_that_was_listed_before_is_told(
    project: ModelProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's start has already looked into the folders of PYTHONPATH; they count all the same."""
    project.write("before/helper.py", "")
    monkeypatch.setenv("PYTHONPATH", str(project.folder / "before"))
    assert "before" in names(project, inputs_of(project, "import helper\n").folders)


def test_environment_variables_that_were_read_are_told(project: ModelProject) -> None:
    """Each way of asking counts, also for what is not set; what nobody asked for is not told."""
    found = inputs_of(
        project,
        """
        import os
        os.environ.get("A_ONE"); os.getenv("A_TWO"); "A_THREE" in os.environ; os.environb.get(b"A_FOUR")
        try:
            os.environ["A_FIVE"]
        except KeyError:
            pass
        os.environ["A_SET"] = "x"
        """,
    )
    asked = {name for name in found.environment if name.startswith("A_")}
    assert asked == {"A_ONE", "A_TWO", "A_THREE", "A_FOUR", "A_FIVE"}
    assert "*" not in found.environment


@pytest.mark.parametrize("taking", ["dict(os.environ)", "os.environ.copy()", "list(os.environ.items())"])
def test_taking_the_whole_environment_is_told(project: ModelProject, taking: str) -> None:
    """Models that take all variables depend on those too that are not set yet."""
    assert "*" in inputs_of(project, f"import os\n{taking}\n").environment


def test_a_missing_variable_has_its_place_in_the_models(project: ModelProject) -> None:
    """The listener in between does not show in the place of the error."""
    path = project.models("import os\nos.environ['NOT_SET']\n")
    error = project.error("models:Base")
    assert error.why.endswith(f"KeyError: 'NOT_SET' ({path}:10)")
    assert error.reads is not None
    assert "NOT_SET" in error.reads["environment"]


def test_libraries_and_the_interpreter_are_told(project: ModelProject) -> None:
    """The folders of installed distributions, and the interpreter as it was started."""
    found = inputs_of(project, "")
    assert found.python == sys.executable
    assert [path for path in found.libraries if path.endswith("site-packages")]
    assert not [path for path in found.libraries if path.startswith(str(project.folder))]


def test_databases_are_told_apart_from_files(project: ModelProject) -> None:
    """A database that models connect to, or merely open, is never among the files that driftd will read."""
    for name in ("connected.db", "uri.db", "opened.db"):
        with closing(sqlite3.connect(project.folder / name)) as connection:
            connection.execute("CREATE TABLE a (b)")
    found = inputs_of(
        project,
        """
        import os, sqlite3
        sqlite3.connect("connected.db").close()
        sqlite3.connect(f"file:{os.getcwd()}/uri.db?mode=ro", uri=True).close()
        open("opened.db", "rb").close()
        sqlite3.connect(":memory:").close()
        """,
    )
    assert names(project, found.databases) == {"connected.db", "uri.db", "opened.db"}
    assert names(project, found.files) == {"models.py"}


def test_models_that_fail_tell_what_would_help(project: ModelProject) -> None:
    """Behind an error stand the broken file, the data it read, and the folder where a missing module would appear."""
    project.write("broken.py", "import missing_module\n")
    project.models("open('data.txt', 'a').close()\nopen('names.txt').close()\nimport broken\n")
    project.write("names.txt", "")
    source = project.source("models:Base")
    found = inputs_after(source, project.error("models:Base"))
    assert {"models.py", "broken.py", "names.txt"} <= names(project, found.files)
    assert "." in names(project, found.folders)
    assert found.python == sys.executable


def test_a_probe_that_cannot_answer_leaves_the_places_of_its_modules(project: ModelProject) -> None:
    """After a crash the files that the spec names are known, those included that are not there."""
    project.write("app/__init__.py", "import os\nos._exit(3)\n")
    source = project.source("app.models:Base", "schema.sql")
    project.write("schema.sql", "")
    found = inputs_after(source, project.error("app.models:Base", "schema.sql"))
    assert names(project, found.files) == {"app/__init__.py", "schema.sql"}
    assert names(project, found.missing) == {"app.py", "app/models.py", "app/models/__init__.py"}
    assert names(project, found.folders) == {"."}


def test_a_hook_of_the_models_own_sees_no_failure_of_ours(project: ModelProject) -> None:
    """Odd audit events, an odd working directory and odd arguments do not disturb what the models do."""
    (project.folder / "gone").mkdir()
    project.write("names.txt", "")
    found = inputs_of(
        project,
        """
        import os, pathlib, sys
        sys.audit("open"); sys.audit("open", object()); sys.audit("open", "x", 1); sys.audit("os.listdir", "a\\0b")
        home = os.getcwd()
        os.chdir("gone"); os.rmdir("../gone")
        try:
            open("relative")
        except FileNotFoundError:
            pass
        os.chdir(home)
        os.listdir(); os.scandir().close(); os.listdir(os.open(".", os.O_RDONLY))
        open(pathlib.Path("names.txt")).close(); open(b"names.txt").close()
        """,
    )
    assert "names.txt" in names(project, found.files)
    assert "." in names(project, found.folders)
