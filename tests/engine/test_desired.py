"""The desired schema: models and files of DDL joined, without SQLAlchemy in our own process."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from driftengine.dialects.sqlite.scratch import build, statements
from driftengine.errors import ModelsError
from driftengine.schema import StoredObject
from probe_project import ModelProject, table_names

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """\
-- a schema; with a semicolon in its comment
PRAGMA foreign_keys = OFF;
BEGIN;
/* block; comment */ CREATE TABLE IF NOT EXISTS tag (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT DEFAULT ';' CHECK (name <> 'it''s;')  -- kept
);
INSERT INTO tag (name) VALUES ('a;b'), ('c');
CREATE TRIGGER tag_gone AFTER DELETE ON tag BEGIN
    INSERT INTO tag (name) VALUES (CASE WHEN old.id > 1 THEN 'x' END);
    DELETE FROM tag WHERE id = old.id;
END;
CREATE VIEW odd AS SELECT our_own_function(name) AS name FROM no_such_table;
CREATE INDEX "tag;name" ON tag (name);
ANALYZE;
COMMIT;
"""


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


def test_a_sql_file_is_a_schema_of_its_own(project: ModelProject) -> None:
    """Statements run in order, whatever their comments, strings and triggers hold; rows and SQLite's own tables do not count."""
    path = project.write("schema.sql", SCRIPT)
    desired = project.read("schema.sql", python="/no/interpreter/is/started")
    assert [(stored.type, stored.name) for stored in desired.stored] == [
        ("table", "tag"),
        ("trigger", "tag_gone"),
        ("view", "odd"),
        ("index", "tag;name"),
    ]
    assert desired.stored[0].sql == SCRIPT[SCRIPT.index("CREATE TABLE") : SCRIPT.index(";\nINSERT")].replace(
        "IF NOT EXISTS ", ""
    )
    assert (desired.sources, desired.versions) == ((str(path),), {})
    assert (desired.defaults, desired.hints, desired.unsupported) == ((), (), ())


def test_models_and_sql_files_are_one_schema(project: ModelProject) -> None:
    """What the probe built comes first; a file may refer to it and change it; sources name both."""
    models = project.models("")
    script = project.write(
        "more.SQL", "CREATE INDEX task_id ON task (id DESC);\nALTER TABLE task ADD COLUMN title TEXT"
    )
    desired = project.read("more.SQL", "models:Base")
    assert [stored.name for stored in desired.stored] == ["task", "task_id"]
    assert "title TEXT" in str(desired.stored[0].sql)
    assert desired.sources == (str(models), str(script))
    assert "sqlalchemy" in desired.versions


def test_objects_that_our_sqlite_cannot_compile_join_all_the_same() -> None:
    """Functions and collations of the service are stood in for; a module that we lack is passed on; shadow tables stay single."""
    rows = (
        StoredObject("table", "t", "t", "CREATE TABLE t (a TEXT COLLATE theirs, b AS (their_function(a)))"),
        StoredObject("index", "i", "t", "CREATE INDEX i ON t (other_function(a, 1), a COLLATE another)"),
        StoredObject("table", "vectors", "vectors", "CREATE VIRTUAL TABLE vectors USING their_module(a)"),
        StoredObject("table", "words", "words", "CREATE VIRTUAL TABLE words USING fts5(word)"),
        StoredObject(
            "table",
            "words_data",
            "words_data",
            "CREATE TABLE 'words_data'(id INTEGER PRIMARY KEY, block BLOB)",
        ),
        StoredObject(
            "trigger", "r", "t", "CREATE TRIGGER r AFTER INSERT ON t BEGIN SELECT their_function(new.a); END"
        ),
    )
    built = build(rows, [("s.sql", "CREATE TABLE own (x)")])
    found = [stored.name for stored in built]
    assert set(rows) <= set(built)
    assert found.count("words_data") == 1
    assert found[-1] == "vectors"
    assert "own" in found


@pytest.mark.parametrize(
    ("script", "line", "message"),
    [
        ("CREATE TABLE a (x);\n\nCREATE TABLE b (\n  x INTEGER,,\n  y);\n", 4, 'near ",": syntax error'),
        ("CREATE TABLE a (x);\n-- again\nCREATE TABLE A (x);\n", 3, "table A already exists"),
        ("CREATE TABLE a (x);\nCREATE TABLE b (x\n", 2, "incomplete input"),
        ("\n\nSELECT 'open;\nCREATE TABLE a (x);\n", 3, "unrecognized token"),
        ("CREATE INDEX i ON nowhere (x);", 1, "no such table: main.nowhere"),
        ("CREATE TABLE a (x CHECK (lowr(x) = x));", 1, "no such function: lowr"),
        ("CREATE TABLE a (x);\n.read other.sql\nCREATE TABLE b (x);\n", 2, "a command of the sqlite3 shell"),
        ("CREATE TABLE a (x);\nATTACH 'other.db' AS other;\n", 2, "ATTACH"),
        ("CREATE TABLE a (x);\nVACUUM INTO 'copy.db';\n", 2, "ATTACH (and VACUUM INTO)"),
        ("PRAGMA writable_schema = ON;", 1, "PRAGMA writable_schema"),
        ("PRAGMA temp_store_directory = '/';", 1, "PRAGMA temp_store_directory"),
        ("SELECT load_extension('x');", 1, "load_extension() runs foreign code"),
        ("CREATE TABLE a (x\0);", 1, "null character"),
    ],
)
def test_an_error_in_a_sql_file_has_its_line(
    project: ModelProject, script: str, line: int, message: str
) -> None:
    """What fails, and what reaches out of the scratch database, is told with file, line and SQLite's message."""
    path = project.write("schema.sql", "")
    path.write_text(script, encoding="utf-8")
    error = project.error("schema.sql")
    assert error.code == "models-sql-error"
    assert error.why.startswith(f"{path}:{line}: ")
    assert message in error.why
    assert [found.name for found in project.folder.iterdir()] == ["schema.sql"]


def test_a_statement_without_end_is_stopped(project: ModelProject) -> None:
    """A query that never ends is interrupted at the limit."""
    project.write(
        "schema.sql",
        "CREATE TABLE a (x);\nWITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n;\n",
    )
    error = project.error("schema.sql", timeout=0.5)
    assert error.code == "models-timeout"
    assert "schema.sql:2" in error.why


def test_a_sql_file_that_cannot_be_read(project: ModelProject) -> None:
    """A missing file, a folder, and bytes that are no UTF-8 are told apart; a byte order mark is no error."""
    assert project.error("missing.sql").code == "models-file-missing"
    (project.folder / "folder.sql").mkdir()
    assert "directory" in project.error("folder.sql").why
    (project.folder / "latin.sql").write_bytes(b"CREATE TABLE a (x);\n-- caf\xe9\n")
    error = project.error("latin.sql")
    assert (error.code, error.why) == (
        "models-sql-error",
        f"{project.folder / 'latin.sql'}:2: this is not UTF-8 text",
    )
    (project.folder / "mark.sql").write_bytes("\ufeffCREATE TABLE größe (x);\r\n".encode())
    assert table_names(project.read("mark.sql")) == ["größe"]


def test_scripts_are_split_where_sqlite_ends_a_statement() -> None:
    """Each statement has the line on which it begins; comments and empty statements between them are none."""
    assert [line for line, _ in statements(SCRIPT)] == [2, 3, 4, 8, 9, 13, 14, 15, 16]
    assert list(statements("")) == []
    assert list(statements(" ;; -- only a comment\n /* and; another */ ;")) == []
    assert list(statements("SELECT 1;SELECT ';' -- end")) == [(1, "SELECT 1;"), (1, "SELECT ';' -- end")]


def test_a_long_script_takes_time_in_proportion() -> None:
    """A file of ten thousand statements and a string with as many semicolons is split without looking back."""
    text = "CREATE TABLE a (x);\n" * 10_000 + "SELECT '" + ";" * 100_000 + "';\n"
    found = list(statements(text))
    assert len(found) == 10_001
    assert found[-1][0] == 10_001


def test_each_script_begins_outside_a_transaction(project: ModelProject) -> None:
    """A script that leaves its transaction open does not disturb the next one."""
    project.write("a.sql", "BEGIN;\nCREATE TABLE a (x);")
    project.write("b.sql", "BEGIN;\nCREATE TABLE b (x);\nCOMMIT;")
    assert table_names(project.read("a.sql", "b.sql")) == ["a", "b"]


def test_an_authorizer_does_not_outlive_its_script() -> None:
    """What a script is refused is refused again in the next one: the reason is its own."""
    for script in ("ATTACH 'x' AS y", "PRAGMA writable_schema = 1"):
        with pytest.raises(ModelsError) as caught:
            build((), [("s.sql", script)])
        assert script.split()[0] in caught.value.why


def test_our_process_never_imports_sqlalchemy(project: ModelProject) -> None:
    """Importing driftengine.desired and reading models leaves SQLAlchemy out of this process."""
    project.models("")
    program = (
        "import sys\nfrom driftengine.desired import ModelSource, read_desired\n"
        "assert read_desired(ModelSource(('models:Base',), sys.executable, (), sys.argv[1])).stored\n"
        "assert 'driftengine.probe' not in sys.modules\n"
        "sys.exit(any(name.partition('.')[0] == 'sqlalchemy' for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", program, str(project.folder)], check=False).returncode == 0


def test_the_service_and_we_read_the_same_rows(project: ModelProject) -> None:
    """The rows of the probe are those that sqlite3 itself shows after the same statements."""
    project.models("")
    desired = project.read("models:Base")
    connection = sqlite3.connect(":memory:")
    for stored in desired.stored:
        connection.execute(str(stored.sql))
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    connection.close()
    assert [StoredObject(*row) for row in rows] == list(desired.stored)
