"""`driftd init`: what it finds in real projects, what it writes, and that what it writes works."""

from __future__ import annotations

import os
import sqlite3
import sys
import textwrap
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import tomli

from command_line import Finished, driftd
from driftd.initial.databases import Database, best_first, others_in, urls_in
from driftd.initial.look import interpreter
from driftd.initial.sources import module_name, read_module
from driftd.initial.walk import project_files

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BASE = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase):\n    pass\n"
TASK = """\
from sqlalchemy import Column, Integer
from {module} import Base
class Task(Base):
    __tablename__ = "task"
    id = Column(Integer, primary_key=True)
"""
SCHEMA = "CREATE TABLE task (id INTEGER NOT NULL, PRIMARY KEY (id));\n"


def project(folder: Path, files: Mapping[str, str]) -> None:
    """Writes a project's files."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")


def database(path: Path, *tables: str) -> None:
    """A database with these tables."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE {table} (id INTEGER NOT NULL, PRIMARY KEY (id))")


def target(folder: Path) -> dict[str, object]:
    """The one target of the file that was written."""
    document = tomli.loads((folder / "driftd.toml").read_text(encoding="utf-8"))
    assert list(document) == ["targets"]
    [found] = document["targets"].values()
    assert isinstance(found, dict)
    # Always there: backups must not depend on where a command is typed.
    assert found.pop("backup") == {"directory": "backups/migrations"}
    return found


def init(folder: Path, *words: str, **environment: str) -> Finished:
    """Runs it there."""
    return driftd("init", *words, folder=folder, **environment)


def test_a_project_with_its_database(tmp_path: Path) -> None:
    """Models, database, and a file with which `driftd check` works at once."""
    project(
        tmp_path, {"app/__init__.py": "", "app/base.py": BASE, "app/tasks.py": TASK.format(module="app.base")}
    )
    database(tmp_path / "app.db", "task")
    done = init(tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "    driftd check"
    assert target(tmp_path) == {"url": "sqlite:///app.db", "models": ["app.tasks:Base"]}
    assert driftd("check", folder=tmp_path).code == 0


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    """Nothing but the url, the models, and what they need stands in the file; the rest is comments."""
    project(tmp_path, {"schema.sql": SCHEMA})
    database(tmp_path / "app.db", "task")
    assert init(tmp_path).code == 0
    assert set(target(tmp_path)) == {"url", "models"}
    shown = driftd("config", "show", "--json", folder=tmp_path).document
    assert shown["source"]["path"] == str(tmp_path / "driftd.toml")


def test_a_folder_of_sources(tmp_path: Path) -> None:
    """With a src layout the folder goes onto the import path."""
    files = {
        "src/shop/__init__.py": "",
        "src/shop/base.py": BASE,
        "src/shop/t.py": TASK.format(module="shop.base"),
    }
    project(tmp_path, {**files, "settings.ini": "[alembic]\nsqlalchemy.url = sqlite:///data/shop.db\n"})
    assert init(tmp_path).code == 0
    assert target(tmp_path) == {
        "url": "sqlite:///data/shop.db",
        "models": ["shop.t:Base"],
        "pythonpath": ["src"],
    }
    assert driftd("check", folder=tmp_path).code == 1
    assert "the file is not there yet" in (tmp_path / "driftd.toml").read_text(encoding="utf-8")


def test_one_spec_where_one_is_enough(tmp_path: Path) -> None:
    """Where the Base's own module has all tables, it alone is named."""
    project(tmp_path, {"models.py": BASE + TASK.partition("\n")[0] + "\n" + TASK.split("import Base\n")[1]})
    database(tmp_path / "a.db", "task")
    assert init(tmp_path).code == 0
    assert target(tmp_path)["models"] == ["models:Base"]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("from sqlalchemy.orm import declarative_base\nModel = declarative_base()\n", "m:Model"),
        ("from sqlalchemy.orm import registry\nr = registry()\nModel = r.generate_base()\n", "m:Model"),
    ],
)
def test_bases_that_are_made_by_a_call(text: str, spec: str, tmp_path: Path) -> None:
    """Older spellings of a Base are found as well."""
    table = TASK.split("import Base\n")[1].replace("(Base)", "(Model)")
    project(tmp_path, {"m.py": f"from sqlalchemy import Column, Integer\n{text}{table}"})
    database(tmp_path / "a.db", "task")
    assert init(tmp_path).code == 0
    assert target(tmp_path)["models"] == [spec]


def test_tables_without_classes(tmp_path: Path) -> None:
    """A MetaData with tables is found."""
    text = "from sqlalchemy import *\nstore: MetaData = MetaData()\nTable('task', store, Column('id', Integer, primary_key=True))"
    project(tmp_path, {"m.py": text})
    database(tmp_path / "a.db", "task")
    assert init(tmp_path).code == 0
    assert target(tmp_path)["models"] == ["m:store"]


def test_the_database_with_the_models_tables_is_taken(tmp_path: Path) -> None:
    """Others are comments, which say what they have."""
    project(tmp_path, {"schema.sql": SCHEMA, ".env": "CACHE_URL=sqlite:///cache.db\n"})
    database(tmp_path / "cache.db", "entry")
    database(tmp_path / "data" / "real.db", "task", "other")
    assert init(tmp_path).code == 0
    assert target(tmp_path)["url"] == "sqlite:///data/real.db"
    text = (tmp_path / "driftd.toml").read_text(encoding="utf-8")
    assert '# url = "sqlite:///cache.db"   # named in .env; 0 of the models\' 1 table' in text


def test_a_database_whose_tables_cannot_be_read_is_told_as_there(tmp_path: Path) -> None:
    """Its catalogue is damaged behind what opens it, or locked at that moment: it is taken, and says so."""
    project(tmp_path, {"schema.sql": SCHEMA})
    database(tmp_path / "app.db", "task")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_schema SET name = CAST(x'74ff' AS TEXT)")
    done = init(tmp_path)
    assert done.code == 0
    assert "its tables cannot be read" in " ".join(done.out.split())
    assert target(tmp_path)["url"] == "sqlite:///app.db"
    assert "its tables cannot be read" in (tmp_path / "driftd.toml").read_text(encoding="utf-8")


def test_a_database_that_cannot_be_asked_for_is_no_error(tmp_path: Path) -> None:
    """A name in some file that no file can have, as one in a folder that may not be looked into."""
    project(tmp_path, {"schema.sql": SCHEMA, ".env": f"CACHE_URL=sqlite:///{'x' * 300}.db\n"})
    database(tmp_path / "app.db", "task")
    done = init(tmp_path)
    assert (done.code, target(tmp_path)["url"]) == (0, "sqlite:///app.db")


def test_models_that_cannot_be_loaded_are_told(tmp_path: Path) -> None:
    """They are not taken, and the file and the line are shown."""
    project(tmp_path, {"broken.py": "import nothing_here\n" + BASE, "schema.sql": SCHEMA})
    database(tmp_path / "app.db", "task")
    done = init(tmp_path)
    assert done.code == 0
    assert f"{tmp_path}/broken.py:1" in " ".join(done.out.split())
    assert target(tmp_path)["models"] == ["schema.sql"]


def test_nothing_found_writes_nothing(tmp_path: Path) -> None:
    """It says what it looked for, and what else can be done."""
    done = init(tmp_path)
    assert done.code == 1
    assert "What was looked for:" in done.out
    assert list(tmp_path.iterdir()) == []


def test_force_writes_what_is_to_be_completed(tmp_path: Path) -> None:
    """What was not found is a comment: no value is invented."""
    project(tmp_path, {"schema.sql": SCHEMA})
    done = init(tmp_path, "--force")
    assert done.code == 1
    assert target(tmp_path) == {"models": ["schema.sql"]}
    assert "complete it first" in done.out


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    """Without --force it is an error, before anything is loaded; with it the file is replaced."""
    project(tmp_path, {"driftd.toml": "# mine\n", "schema.sql": SCHEMA})
    database(tmp_path / "app.db", "task")
    done = init(tmp_path, "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "configuration-exists")
    assert (tmp_path / "driftd.toml").read_text(encoding="utf-8") == "# mine\n"
    assert init(tmp_path, "--force").code == 0
    assert target(tmp_path)["models"] == ["schema.sql"]


def test_a_file_elsewhere(tmp_path: Path) -> None:
    """Paths that do not lie below the file are absolute, and the project is on the import path."""
    project(tmp_path, {"app/m.py": BASE + TASK.replace("from {module} import Base\n", "")})
    database(tmp_path / "app" / "app.db", "task")
    (tmp_path / "etc").mkdir()
    done = driftd("init", "--output", "../etc/config.toml", folder=tmp_path / "app")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("    driftd check --config ")
    text = (tmp_path / "etc" / "config.toml").read_text(encoding="utf-8")
    [found] = tomli.loads(text)["targets"].values()
    assert found == {
        "url": f"sqlite:///{tmp_path}/app/app.db",
        "models": ["m:Base"],
        "pythonpath": [str(tmp_path / "app")],
        "backup": {"directory": "backups/migrations"},
    }
    assert driftd("check", "--config", str(tmp_path / "etc" / "config.toml"), folder=tmp_path).code == 0


def test_json_has_all_that_was_found(tmp_path: Path) -> None:
    """The text of the file is in the document as well."""
    project(tmp_path, {"schema.sql": SCHEMA, "settings.py": "URL = 'postgresql://me:secret@db/app'"})
    database(tmp_path / "app.db", "task")
    done = init(tmp_path, "--json")
    assert done.document["models"] == [
        {"specs": [str(tmp_path / "schema.sql")], "root": None, "tables": ["task"]}
    ]
    assert done.document["others"] == ["postgresql"]
    assert done.document["text"] == (tmp_path / "driftd.toml").read_text(encoding="utf-8")
    assert "secret" not in done.out


def test_an_environment_beside_the_project(tmp_path: Path) -> None:
    """An interpreter without SQLAlchemy is not taken; one that `auto` would not find is written."""
    bare, whole = tmp_path / ".venv" / "bin" / "python", tmp_path / "venv" / "bin" / "python"
    for path in (bare, whole):
        path.parent.mkdir(parents=True)
    bare.symlink_to("/bin/false")
    whole.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    whole.chmod(0o755)
    assert interpreter(tmp_path, {}) == str(whole)
    project(tmp_path, {"m.py": BASE + TASK.replace("from {module} import Base\n", "")})
    database(tmp_path / "a.db", "task")
    assert init(tmp_path).code == 0
    assert target(tmp_path)["python"] == "venv/bin/python"
    assert driftd("check", folder=tmp_path).code == 0


def test_the_installed_orchestrator(tmp_path: Path) -> None:
    """Without models of its own, a project whose interpreter has the MCP Task Orchestrator gets its target."""
    installed = tmp_path / "installed" / "mcp_task_orchestrator" / "db"
    project(
        installed, {"models.py": BASE + TASK.replace("from {module} import Base\n", ""), "__init__.py": ""}
    )
    (installed.parent / "__init__.py").touch()
    here = tmp_path / "here"
    here.mkdir()
    done = init(here, PYTHONPATH=str(tmp_path / "installed"))
    assert done.code == 0
    found = target(here)
    assert found["models"] == ["mcp_task_orchestrator.db.models:Base"]
    assert "${MCP_TASK_ORCHESTRATOR_DB_PATH:-" in str(found["url"])


def test_what_is_not_the_projects_own_is_left_out(tmp_path: Path) -> None:
    """Environments, caches, tests and backups are not looked into."""
    project(
        tmp_path,
        {
            "m.py": "",
            "my-env/pyvenv.cfg": "",
            "my-env/lib/m.py": "",
            "node_modules/m.py": "",
            "tests/m.py": "",
            ".hidden/m.py": "",
            "test_m.py": "",
        },
    )
    database(tmp_path / "backups" / "b.db", "t")
    (tmp_path / "fake.db").write_text("no database", encoding="utf-8")
    found = project_files(tmp_path)
    assert [path.name for path in found.python] == ["m.py"]
    assert found.databases == []
    assert found.whole


def test_urls_in_a_text() -> None:
    """What stands in quotes or behind an equals sign; templates and databases in memory are none."""
    text = """
    a = "sqlite:///a.db"; b = f"sqlite:///{folder}/b.db"; c = 'sqlite+aiosqlite:////srv/c.db?timeout=5'
    d = "sqlite:///:memory:"; e = "sqlite:///%(here)s/e.db"
    f = sqlite:///f.db
    """
    assert list(urls_in(text)) == ["a.db", "/srv/c.db", "f.db"]
    assert list(others_in("x = 'mysql+pymysql://u:p@h/d'")) == ["mysql"]


def test_which_database_is_best(tmp_path: Path) -> None:
    """The most tables first, then one that is named, then the shorter path."""
    full = Database(tmp_path / "x" / "full.db", None, frozenset({"a", "b"}))
    named = Database(tmp_path / "y" / "z" / "named.db", tmp_path / ".env", frozenset())
    short, long = Database(tmp_path / "s.db"), Database(tmp_path / "l" / "l.db")
    assert best_first([long, short, named, full], ["A", "b"]) == [full, named, short, long]


def test_names_of_modules(tmp_path: Path) -> None:
    """Packages tell where they begin; other folders are packages of the project, but for those of sources."""
    project(tmp_path, {"backend/app/__init__.py": "", "backend/app/db/__init__.py": ""})
    cases = {
        "m.py": (".", "m"),
        "app/m.py": (".", "app.m"),
        "src/app/m.py": ("src", "app.m"),
        "src/m.py": ("src", "m"),
        "backend/app/db/m.py": ("backend", "app.db.m"),
        "backend/app/db/__init__.py": ("backend", "app.db"),
    }
    for name, (root, module) in cases.items():
        assert module_name(tmp_path / name, tmp_path) == (tmp_path / root, module), name


def test_source_that_does_not_compile_is_passed_over(tmp_path: Path) -> None:
    """A template or a file of Python 2 stops nothing."""
    assert read_module(tmp_path / "m.py", "print 'MetaData'", tmp_path) is None


def test_tables_of_an_extension_and_of_sqlmodel(tmp_path: Path) -> None:
    """`db.Model` hangs on `db`, and every SQLModel table on SQLModel."""
    text = """
db = SQLAlchemy()
class A(db.Model):
    id = db.Column(db.Integer, primary_key=True)
class B(SQLModel, table=True):
    id: int
class C(SQLModel):
    id: int
"""
    found = read_module(tmp_path / "m.py", text, tmp_path)
    assert found
    assert (found.holders, found.tables) == (
        {"db": "extension", "SQLModel": "sqlmodel"},
        {"db": 1, "SQLModel": 1},
    )


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """It is told as an error, and nothing is left behind."""
    project(tmp_path, {"schema.sql": SCHEMA})
    database(tmp_path / "app.db", "task")
    done = init(tmp_path, "--output", "missing/driftd.toml", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "configuration-unwritable")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.db", "schema.sql"]


def test_what_is_no_file_is_never_written_over(tmp_path: Path) -> None:
    """Forced, too: a pipe or a device would be exchanged for a file, which no user of it expects."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "models.py").write_text("", encoding="utf-8")
    done = driftd("init", "--force", "--output", "pipe", "--json", folder=tmp_path)
    assert (done.code, done.document["error"]["code"]) == (2, "configuration-unwritable")
    assert (tmp_path / "pipe").is_fifo()
