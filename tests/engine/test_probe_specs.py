"""What a spec may name, where its module is looked for, and which files it pulls in."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from probe_project import BASE, ModelProject, table_names

if TYPE_CHECKING:
    from pathlib import Path

FORMS = """
class Deep:
    class holder:
        metadata = Base.metadata
class WithMetadata:
    metadata = Base.metadata
instance = WithMetadata()
Old = declarative_base(metadata=MetaData())
class OldTask(Old):
    __tablename__ = "old"
    id = Column(Integer, primary_key=True)
both = [Base, (Old.metadata, {Base.metadata})]
def function():
    return Base
def both_again():
    return [Base, lambda: Old]
registry = Base.registry
table = Task.__table__
"""


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


@pytest.mark.parametrize(
    ("attribute", "tables"),
    [
        ("Base", ["task"]),
        ("Base.metadata", ["task"]),
        ("Deep.holder", ["task"]),
        ("instance", ["task"]),
        ("registry", ["task"]),
        ("table", ["task"]),
        ("Old", ["old"]),
        ("both", ["task", "old"]),
        ("function", ["task"]),
        ("both_again", ["task", "old"]),
    ],
)
def test_a_spec_names_metadata_or_what_carries_it(
    project: ModelProject, attribute: str, tables: list[str]
) -> None:
    """A MetaData, a Base, an object that has one, a collection, or a callable that returns one of those."""
    project.models(FORMS)
    assert table_names(project.read(f"models:{attribute}")) == tables


def test_several_specs_make_one_schema(project: ModelProject) -> None:
    """Specs are built in their order into one database, and the same MetaData twice counts once."""
    project.models(FORMS)
    desired = project.read("models:Old", "models:Base", "models:Old.metadata")
    assert table_names(desired) == ["old", "task"]


def test_a_spec_without_attribute_takes_the_one_metadata(project: ModelProject) -> None:
    """A module that holds one MetaData under several names, or one with tables, needs no attribute."""
    project.models(
        "unused = MetaData()\nalias = Base\nclass Proxy:\n    def __getattr__(self, name):\n"
        "        raise RuntimeError('no context')\nproxy = Proxy()\n"
    )
    assert table_names(project.read("models")) == ["task"]


def test_a_spec_without_attribute_names_the_candidates(project: ModelProject) -> None:
    """When a module holds several that have tables, the error lists them as specs."""
    project.models(FORMS)
    error = project.error("models")
    assert error.code == "models-not-metadata"
    assert "models:Base (1 tables)" in error.why
    assert "models:Old (1 tables)" in error.why


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("models:needs", "cannot be called without arguments"),
        ("models:number", "int is no MetaData"),
        ("models:endless", "function is no MetaData"),
        ("models:[Base]", "package.module:attribute"),
        ("models.py:Base", "'models' is not a package|no module named models.py"),
        ("./models:Base", "package.module:attribute"),
    ],
)
def test_anything_else_is_refused(project: ModelProject, spec: str, why: str) -> None:
    """An object that is no MetaData, a callable that needs arguments or never ends, and a malformed spec."""
    project.models("number = 5\ndef endless():\n    return endless\ndef needs(this):\n    pass\n")
    error = project.error(spec)
    assert error.code in {"models-not-metadata", "models-module-missing"}
    assert spec in error.what
    assert any(piece in error.why for piece in why.split("|"))


def test_the_path_is_as_python_m_would_have_it(project: ModelProject) -> None:
    """`pythonpath` comes before the working directory, and the working directory before everything else."""
    project.write("first/app/__init__.py", "")
    project.write("first/app/db.py", BASE + "from json import WHO\nTask.__table__.name = WHO\n")
    project.write("json/__init__.py", "WHO = 'json_of_the_project'\n")
    project.write("app/db.py", "raise RuntimeError('the wrong one')\n")
    error = project.error("app.db:Base", pythonpath=(str(project.folder / "first"),))
    # The probe's own json was imported before any folder of the project was on the path.
    assert "cannot import name 'WHO' from 'json'" in error.why
    project.write("first/app/db.py", BASE + "import os, sys\nassert sys.path[1] == os.getcwd(), sys.path\n")
    assert table_names(project.read("app.db:Base", pythonpath=(str(project.folder / "first"),))) == ["task"]


def test_driftd_itself_does_not_shadow_modules_of_the_project(project: ModelProject) -> None:
    """The folder that holds probe.py is not on the path: `schema` or `errors` may be names of the project."""
    project.write("schema.py", BASE)
    project.models(
        "import sys, schema\nassert not any(p.endswith('driftengine') for p in sys.path), sys.path\n"
    )
    assert table_names(project.read("models:Base")) == ["task"]


def test_sources_are_the_files_of_the_project(project: ModelProject) -> None:
    """Sources: all that the import pulled in from the project, `pythonpath` and linked folders, and no library."""
    elsewhere = project.folder / "elsewhere"
    project.write("app/__init__.py", "")
    project.write("app/db.py", BASE + "import app.part, helper, linked\n")
    project.write("app/part.py", "")
    project.write("app/unused.py", "")
    project.write("elsewhere/helper.py", "")
    project.write("real/linked.py", "")
    (project.folder / "linked.py").symlink_to(project.folder / "real" / "linked.py")
    desired = project.read("app.db:Base", pythonpath=(str(elsewhere),))
    expected = ["app/__init__.py", "app/db.py", "app/part.py", "elsewhere/helper.py", "linked.py"]
    assert desired.sources == tuple(str(project.folder / name) for name in expected)


def test_sources_of_an_installed_package_and_of_an_editable_one(project: ModelProject) -> None:
    """A package in site-packages counts only where a spec names it; one that a .pth file links is the project's."""
    site = project.folder / "lib" / "site-packages"
    project.write("lib/site-packages/installed/__init__.py", BASE + "import other, editable\n")
    project.write("lib/site-packages/other.py", "")
    project.write("checkout/editable.py", "")
    project.write(
        "lib/site-packages/sitecustomize.py",
        f"import sys\nsys.path.append({str(project.folder / 'checkout')!r})\n",
    )
    project.models("import installed\nBase = installed.Base\n")
    environment = dict(os.environ, PYTHONPATH=str(site))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", environment["PYTHONPATH"])
        by_models = project.read("models:Base")
        by_name = project.read("installed:Base")
    checkout = str(project.folder / "checkout" / "editable.py")
    assert by_models.sources == (checkout, str(project.folder / "models.py"))
    assert by_name.sources == (checkout, str(site / "installed" / "__init__.py"))


def test_versions_tell_what_the_answer_depends_on(project: ModelProject) -> None:
    """The answer names the versions of the service's Python, SQLAlchemy and SQLite."""
    project.models("")
    versions = project.read("models:Base").versions
    assert versions.keys() == {"python", "sqlalchemy", "sqlite"}
    assert all(version[0].isdigit() for version in versions.values())


def test_a_name_on_path_or_a_relative_path_is_an_interpreter_too(
    project: ModelProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`python` may be a name that is looked up on PATH, or a path relative to our own working directory."""
    project.models("")
    program = project.write("bin/service-python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path / "bin")
    assert table_names(project.read("models:Base", python="./service-python")) == ["task"]
    assert project.error("models:Base", python="service-python").code == "models-interpreter"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    assert table_names(project.read("models:Base", python="service-python")) == ["task"]
