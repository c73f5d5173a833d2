"""Names that attack: shown escaped, never run, true in JSON, and right as the names of tables that hold rows.

The number of tries is how often a hostile name was given to a command or to an operation of the engine.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings

from command_line import driftd
from driftd.startup.told import shell_word
from support import hostile
from support.crash_points import ALL
from support.hostile import FOLDER, NAMES, literal, on_a_terminal, quoted, raw, raw_on_terminal
from support.migrations import House
from support.sidecars import CONFIGURATION, Sidecar, execute, house, running
from support.sockets import socket_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROW = "INSERT INTO {table} (id, {column}) VALUES (1, {value}), (2, NULL)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A migrated database with every hostile name and rows, in a folder with one, and models that want more of each."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "driftd.toml").write_text(CONFIGURATION.format(mode="window"))
    (folder / "models.sql").write_text(hostile.tables() + "CREATE TABLE keep (id INTEGER PRIMARY KEY);")
    assert driftd("apply", folder=folder).code == 0
    for name in NAMES.values():
        table, column = quoted(f"t_{name}"), quoted(f"c_{name}")
        execute(folder / "app.db", ROW.format(table=table, column=column, value=literal(name)))
    (folder / "models.sql").write_text(
        hostile.tables(more=True) + "CREATE TABLE keep (id INTEGER PRIMARY KEY);"
    )
    return folder


def names_of(documents: list[dict[str, Any]]) -> set[str]:
    """The true names of the tables in a list of operations or differences."""
    return {str(one["table"]) for one in documents}


TABLES = {f"t_{name}" for name in NAMES.values()}


@pytest.mark.timeout(400)
def test_no_name_is_rendered_raw_and_json_has_the_true_one(
    project: Path, record_property: Callable[[str, object], None]
) -> None:
    """Through every command that reports, on a terminal with colour and as JSON; and the database is right at the end."""
    shown = 0
    words: tuple[str, ...]

    def show(*words: str, code: int) -> str:
        nonlocal shown
        found = on_a_terminal(*words, folder=project)
        assert found.code == code, (words, found.text)
        assert raw_on_terminal(found.text) == set(), words
        assert hostile.leaves_colours_closed(found.text), words
        # Within the quotes of a statement a name keeps its lines.
        assert "--sql" in words or "error[forged]" not in {line[:13] for line in found.text.splitlines()}
        shown += 1
        return found.text

    def document(*words: str, code: int) -> dict[str, Any]:
        nonlocal shown
        found = driftd(*words, "--json", folder=project)
        assert found.code == code, (words, found.err)
        assert raw(found.out + found.err) == set(), words
        shown += 1
        return found.document

    show("check", code=1)
    assert names_of(document("check", code=1)["differences"]) == TABLES
    show("plan", code=1)
    show("plan", "--sql", code=1)
    assert names_of(document("plan", code=1)["plan"]["operations"]) == TABLES
    show("apply", "--dry-run", code=0)
    assert names_of(document("apply", code=0)["applied"]) == TABLES
    (project / "models.sql").write_text(hostile.tables() + "CREATE TABLE keep (id INTEGER PRIMARY KEY);")
    held = document("apply", code=1)["held"]
    assert {one["name"] for one in held} >= {f"d_{name}" for name in NAMES.values()}
    show("apply", "--dry-run", code=1)
    show("gate", code=0)
    show("exec", "--", "true", code=0)
    # What is dropped comes back with its values.
    assert document("apply", "--approve", "drop-column", code=0)["outcome"] == "migrated"
    show("rollback", "--dry-run", code=0)
    assert document("rollback", code=0)["outcome"] == "migrated"
    for words in (("history",), ("history", document("history", code=0)["migrations"][-1]["migration_id"])):
        show(*words, code=0)
    show("history", "verify", code=0)
    for name in NAMES.values():
        execute(
            project / "app.db", f"ALTER TABLE {quoted(f't_{name}')} ADD COLUMN {quoted(f'h_{name}')} TEXT"
        )
    show("check", "-v", code=1)
    show("revert", "--dry-run", code=0)
    assert document("adopt", code=0)["outcome"] == "adopted"
    for words in (
        ("backup", "create", "--reason", NAMES["clipboard"]), ("backup", "list"), ("backup", "verify"),
        ("config", "show", "--origin"), ("init", "--output", f"o{FOLDER[:-1]}.toml"),
    ):  # fmt: skip
        show(*words, code=0)
    for words in (
        ("explain", NAMES["colour"]), ("check", "--target", NAMES["newline"]), ("ignore", NAMES["right to left"]),
        ("history", NAMES["c1 controls"]), ("backup", "restore", NAMES["hyperlink"]), ("plan", f"--{NAMES['bell']}"),
        ("check", "--config", FOLDER), ("exec", f"--{NAMES['bell']}", "--", "true"), ("service", "print"),
    ):  # fmt: skip
        show(*words, code=2)
    with closing(sqlite3.connect(project / "app.db")) as connection:
        for name in NAMES.values():
            rows = connection.execute(
                f"SELECT {quoted(f'c_{name}')}, {quoted(f'd_{name}')} FROM {quoted(f't_{name}')}"
            )
            assert rows.fetchall() == [(name, "x"), (None, "x")], name
        assert connection.execute("SELECT count(*) FROM keep").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [path.name for path in project.parent.rglob("pwned")] == []
    record_property("tries", shown * len(NAMES))


@pytest.mark.parametrize("look", ["plain", "journal", "json"] if ALL else ["journal"])
@pytest.mark.timeout(300)
def test_a_daemon_and_its_log_show_no_name_raw(
    look: str, record_property: Callable[[str, object], None]
) -> None:
    """What waits, what fails and where it is, in the log and in `status`: each line is one line of driftd's own."""
    with socket_folder() as above:
        folder = above / FOLDER[:20]
        folder.mkdir()
        configuration = CONFIGURATION.replace("[daemon]", f'[daemon]\nlog = "{look}"')
        sidecar = house(folder, models=hostile.tables(more=True), configuration=configuration)
        with closing(sqlite3.connect(folder / "app.db")) as connection:
            connection.executescript(hostile.tables(more=True))
            for name in NAMES.values():
                connection.execute(
                    ROW.format(table=quoted(f"t_{name}"), column=quoted(f"c_{name}"), value=literal(name))
                )
            connection.commit()
        with running(sidecar):
            sidecar.state("in_sync")
            (folder / "models.sql").write_text(hostile.tables())
            held = sidecar.state("held", "ready")["held"]
            assert {one["name"] for one in held} >= {f"d_{name}" for name in NAMES.values()}
            shown = _status_of(sidecar)
            (folder / "models.sql").write_text(f"CREATE TABLE {quoted(NAMES['colour'])} (a CHECK (\x1b));")
            sidecar.state("models_unreadable")
            shown += _status_of(sidecar)
        _judge_log(sidecar.log, look)
        record_property("tries", shown * len(NAMES))


def _status_of(sidecar: Sidecar) -> int:
    words = (("status",), ("status", "-v"), ("doctor", "-v"))
    for one in words:
        found = on_a_terminal(*one, folder=sidecar.folder, DRIFTD_CONFIG="driftd.toml")
        assert found.code in {0, 1}, found.text
        assert raw_on_terminal(found.text) == set(), one
    return len(words)


def _judge_log(log: str, look: str) -> None:
    assert raw(log) == set()
    lines = log.splitlines()
    if look == "json":
        assert all(json.loads(line)["message"] for line in lines)
    else:
        begins = {
            "journal": r"<[3-7]>(app|driftd): ",
            "plain": r"(\d\d:\d\d:\d\d \w+ +(app|driftd): |               )",
        }[look]
        assert [line for line in lines if not re.match(begins, line)] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_no_name_becomes_a_completion(tmp_path: Path, shell: str) -> None:
    """Operations are completed by their numbers; what a column is called cannot add a line of its own."""
    (tmp_path / "driftd.toml").write_text(CONFIGURATION.format(mode="window"))
    (tmp_path / "models.sql").write_text("CREATE TABLE t (id INTEGER PRIMARY KEY);")
    assert driftd("apply", folder=tmp_path).code == 0
    forged = "x\nplain\n;touch pwned\n_"
    (tmp_path / "models.sql").write_text(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {quoted(forged)} TEXT);")
    assert driftd("apply", folder=tmp_path).code == 0
    asked = {"COMP_WORDS": "driftd rollback --operation ", "COMP_CWORD": "" if shell == "fish" else "3"}
    done = driftd(folder=tmp_path, _DRIFTD_COMPLETE=f"{shell}_complete", **asked)
    assert re.search(r"\b1\b", done.out), done.out
    assert not any(line.startswith((";", "plain,;")) for line in done.out.splitlines()), done.out


def test_a_unit_on_a_terminal_shows_no_path_raw(tmp_path: Path) -> None:
    """What systemd may be told of a folder's name is shown escaped, and is in the unit as it is."""
    folder = tmp_path / "a\u202egnp\x9bb"
    folder.mkdir()
    (folder / "driftd.toml").write_text(CONFIGURATION.format(mode="window"))
    shown = on_a_terminal("service", "print", "--user", folder=folder)
    assert (shown.code, raw_on_terminal(shown.text)) == (0, set()), shown.text
    assert "a\\u202egnp\\x9bb" in shown.text
    assert str(folder) in driftd("service", "print", "--user", folder=folder).out


# --- what is to be typed


@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
def test_a_shell_reads_the_word_that_was_meant(
    shell: str, record_property: Callable[[str, object], None]
) -> None:
    """Whatever a word holds: pasted, it is that word again, and nothing in it is run."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    words = [*NAMES.values(), FOLDER, "it's", "a'b\"c", "!x'y", "\\", "'", "\udcff'\n"]
    typed = [shell_word(word) for word in words]
    assert raw("".join(typed)) == set()
    done = subprocess.run(
        [shell, "-c", "printf '%s\\0' " + " ".join(typed)], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
    record_property("tries", len(words))


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.timeout(300)
def test_advice_works_as_it_is_printed(project: Path, record_property: Callable[[str, object], None]) -> None:
    """A configuration and columns with hostile names: the commands below each report are pasted, and do it."""
    moved = project / f"c{FOLDER[:-1]}.toml"
    (project / "driftd.toml").rename(moved)
    names = [
        NAMES[one] for one in ("quotes", "newline", "colour", "option", "shell", "right to left", "spaces")
    ]
    for name in names:
        execute(
            project / "app.db", f"ALTER TABLE {quoted(f't_{name}')} ADD COLUMN {quoted(f'h_{name}')} TEXT"
        )
    first = on_a_terminal("check", "--config", moved.name, folder=project)
    pasted = _commands(first.text)
    assert any(word.startswith("driftd plan ") for word in pasted), first.text
    for typed in pasted:
        assert _typed(typed, project).returncode in {0, 1}, typed
    words = [f"t_{name}.h_{name}" for name in names]
    dry = on_a_terminal(
        "revert",
        "--config",
        moved.name,
        "--dry-run",
        "--approve",
        "drop-column",
        "--",
        *words,
        folder=project,
    )
    [again] = [one for one in _commands(dry.text) if one.startswith("driftd revert ")]
    assert _typed(again, project).returncode == 0, again
    with closing(sqlite3.connect(project / "app.db")) as connection:
        for name in names:
            columns = [
                row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (f"t_{name}",))
            ]
            assert f"h_{name}" not in columns
    assert [path.name for path in project.parent.rglob("pwned")] == []
    record_property("tries", len(pasted) + len(names))


def _commands(text: str) -> list[str]:
    """The commands to type, as they stand below a report on a terminal, without their colour."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).rstrip("\r") for line in text.split("\n")]
    return [line.strip() for line in lines if line.startswith("    driftd ")]


def _typed(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    import sys

    ours = f'driftd() {{ {shlex.quote(sys.executable)} -m driftd "$@"; }}; {line}'
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("DRIFTD_", "XDG_", "MCP_"))
    }
    return subprocess.run(
        ["bash", "-c", ours],
        cwd=folder,
        env={**kept, "HOME": str(folder)},
        capture_output=True,
        check=False,
        timeout=100,
    )


# --- as names of tables


@settings(
    max_examples=250 if ALL else 12,
    derandomize=not ALL,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(name=hostile.any_name, other=hostile.any_name)
def random_life(folder: Path, lived: list[str], name: str, other: str) -> None:
    """Made, changed, renamed, narrowed, rolled back; with rows."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    home = House(folder, journal="delete")
    table, column, later = quoted(f"t{name}"), quoted(f"c{name}"), quoted(f"r{other}x")
    begun, default = f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, ", f" TEXT DEFAULT {literal(name)}"
    home.models(f"{begun}{column}{default});")
    assert home.apply()["outcome"] == "migrated"
    home.run(
        f"INSERT INTO {table} (id) VALUES (1); INSERT INTO {table} (id, {column}) VALUES (2, {literal(other)});"
    )
    home.models(f"{begun}{later}{default}, more TEXT DEFAULT {literal(other)});")
    renames = {f"t{name}.r{other}x": f"c{name}"}
    done = home.apply(renames=renames)
    assert done["outcome"] == "migrated", done
    assert not done["held"], done["held"]
    rows = home.ask(f"SELECT id, {later}, more FROM {table}")
    assert rows == [(1, name, other), (2, other, other)]
    assert home.check(renames=renames)["in_sync"]
    home.models("")
    assert home.apply("drop-table")["outcome"] == "migrated"
    from driftengine import api

    assert api.rollback(home.target(), allowed_by="a test")["outcome"] == "migrated"
    assert home.ask(f"SELECT id, {later}, more FROM {table}") == rows
    lived.append(name)


@pytest.mark.timeout(3600 if ALL else 300)
def test_any_name_lives_through_all_that_is_done_to_a_table(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Random names of tables, columns and defaults: made, renamed, dropped and brought back with their rows."""
    lived: list[str] = []
    random_life(tmp_path / "house", lived)
    record_property("tries", len(lived))


@pytest.fixture
def strange(tmp_path: Path) -> Iterator[tuple[Path, sqlite3.Connection]]:
    """A project, and a connection that is to make its database strange."""
    (tmp_path / "driftd.toml").write_text(CONFIGURATION.format(mode="window"))
    (tmp_path / "models.sql").write_text("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT);")
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT)")
        connection.execute("INSERT INTO t VALUES (1, 'x')")
        yield tmp_path, connection


STRANGE = {
    "a column whose name is no UTF-8": (
        """'CREATE TABLE x("'||CAST(x'ff' AS TEXT)||'")'""",
        {"database-bad-text"},
    ),
    "a table whose DDL is a BLOB": ("CAST('CREATE TABLE x(a)' AS BLOB)", set()),
    "a NUL behind the DDL": ("'CREATE TABLE x(a)'||char(0)||'; DROP TABLE t'", {"database-corrupt"}),
    "a default of a gigabyte": ("'CREATE TABLE x(a, b DEFAULT (zeroblob(999999999)))'", set()),
    "no DDL at all": ("'\x1b[31m'", {"database-corrupt"}),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_a_strange_database_is_used_or_refused_in_words(
    strange: tuple[Path, sqlite3.Connection], kind: str, record_property: Callable[[str, object], None]
) -> None:
    """Somebody has written into its catalogue by hand: no command ends with a bug, and none shows what it may not."""
    folder, connection = strange
    text, codes = STRANGE[kind]
    connection.execute("CREATE TABLE x (a)")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(f"UPDATE sqlite_schema SET sql = {text} WHERE name = 'x'")
    connection.execute("PRAGMA writable_schema = RESET")
    connection.close()
    found = set()
    words = (("check",), ("plan",), ("apply",), ("doctor",), ("history",))
    for one in words:
        done = driftd(*one, "--json", folder=folder)
        assert raw(done.out + done.err) == set(), one
        assert "internal" not in done.out + done.err, (one, done.err)
        found |= set(re.findall(r'"code": "(database-[a-z-]+)"', done.out))
    assert found - {"database-absent", "database-large"} <= codes, found
    record_property("tries", len(words))
