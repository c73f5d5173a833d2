"""The commands on real databases: exit codes, documents, and what a person reads."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from command_line import Finished, driftd
from driftd.cli.changing import exit_code
from driftd.cli.plan import says_something

if TYPE_CHECKING:
    from pathlib import Path

BEFORE = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT NOT NULL, code TEXT);\n"
AFTER = "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT NOT NULL, due DATE);\n"
OWNED = (
    "CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT NOT NULL, code TEXT, owner VARCHAR(9) NOT NULL);\n"
)
BARE = ("--url", "sqlite:///app.db", "--models", "schema.sql")


def execute(folder: Path, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on the database as its service would, and take the rows of the last."""
    with closing(sqlite3.connect(folder / "app.db")) as connection, connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
    return rows


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    """A folder with models in DDL, and a database that driftd made from them, with two rows."""
    (tmp_path / "schema.sql").write_text(BEFORE)
    done = driftd("apply", *BARE, "--json", folder=tmp_path)
    assert (done.code, done.document["outcome"]) == (0, "migrated")
    execute(tmp_path, "INSERT INTO task (title, code) VALUES ('one', 'a'), ('two', 'b')")
    return tmp_path


def settled(done: Finished, code: int) -> Finished:
    """A run that ended as it should, with nothing on stderr."""
    assert (done.code, done.err) == (code, ""), done
    return done


def test_in_sync_is_zero_everywhere(migrated: Path) -> None:
    """A database in step: check, plan and apply say so with exit code 0."""
    assert "app is in sync" in settled(driftd("check", *BARE, folder=migrated), 0).out
    assert "nothing to do" in settled(driftd("plan", *BARE, folder=migrated), 0).out
    assert settled(driftd("apply", *BARE, folder=migrated), 0).out.startswith("Up to date")
    document = driftd("check", *BARE, "--json", folder=migrated).document
    assert (document["in_sync"], document["differences"], document["schema_version"]) == (True, [], 1)
    assert document["database"] == str((migrated / "app.db").resolve())


def test_drift_goes_through_check_plan_and_apply(migrated: Path) -> None:
    """Drift is exit code 1 for check and plan; an apply that leaves something held is 1, with the rest done."""
    (migrated / "schema.sql").write_text(AFTER)
    assert "+ column due" in settled(driftd("check", *BARE, "--fresh", folder=migrated), 1).out
    shown = settled(driftd("plan", *BARE, folder=migrated), 1).out
    assert "Plan: 1 to add, 0 to change, 0 to remove; 1 held." in shown
    assert "driftd apply --url sqlite:///app.db --models schema.sql --approve " in shown
    planned = driftd("plan", *BARE, "--json", folder=migrated).document["plan"]
    document = settled(driftd("apply", *BARE, "--plan", planned["id"], "--json", folder=migrated), 1).document
    assert (document["outcome"], document["operations"]) == ("migrated", 1)
    assert [one["code"] for one in document["held"]] == ["drop-column"]
    assert execute(migrated, "SELECT title, due, code FROM task") == [("one", None, "a"), ("two", None, "b")]


def test_an_approval_from_the_plan_can_be_pasted(migrated: Path) -> None:
    """The command that a plan ends with does what it says."""
    (migrated / "schema.sql").write_text(AFTER)
    shown = driftd("plan", *BARE, folder=migrated).out
    pasted = next(line for line in shown.splitlines() if "--approve" in line).split()
    assert pasted[0] == "driftd"
    settled(driftd(*pasted[1:], folder=migrated), 0)
    assert [row[1] for row in execute(migrated, "SELECT * FROM pragma_table_info('task')")] == [
        "id",
        "title",
        "due",
    ]


def test_an_approval_from_an_apply_can_be_pasted(migrated: Path) -> None:
    """What an apply leaves held is named by the plan that is left, so that its hint works too."""
    (migrated / "schema.sql").write_text(AFTER)
    shown = settled(driftd("apply", *BARE, folder=migrated), 1).out
    pasted = next(line for line in shown.splitlines() if "--approve" in line).split()
    settled(driftd(*pasted[1:], folder=migrated), 0)
    assert [row[1] for row in execute(migrated, "SELECT * FROM pragma_table_info('task')")] == [
        "id",
        "title",
        "due",
    ]


def test_a_dry_run_writes_nothing(migrated: Path) -> None:
    """The whole folder is byte for byte what it was."""
    (migrated / "schema.sql").write_text(AFTER)

    def bytes_of_all() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(migrated.rglob("*")) if path.is_file()}

    before = bytes_of_all()
    done = settled(driftd("apply", *BARE, "--dry-run", folder=migrated), 1)
    assert done.out.startswith("Dry run: 1 operation would be applied; nothing was written")
    assert bytes_of_all() == before


def test_a_missing_value_can_be_given_as_a_flag(migrated: Path) -> None:
    """A new NOT NULL column is held until --backfill names a value; the hint can be pasted after filling it in."""
    (migrated / "schema.sql").write_text(OWNED)
    shown = settled(driftd("apply", *BARE, folder=migrated), 1).out
    assert "driftd apply --url sqlite:///app.db --models schema.sql --backfill task.owner=EXPR" in shown
    settled(driftd("apply", *BARE, "--backfill", "task.owner=upper(title)", folder=migrated), 0)
    assert execute(migrated, "SELECT owner FROM task ORDER BY id") == [("ONE",), ("TWO",)]


def test_what_a_dry_run_advises_does_what_it_showed(migrated: Path) -> None:
    """The command to type next repeats the approvals and the values that the dry run was given."""
    (migrated / "schema.sql").write_text(OWNED.replace(" code TEXT,", ""))
    given = ("--approve", "drop-column", "--backfill", "task.owner='a b'")
    shown = settled(driftd("apply", *BARE, *given, "--dry-run", folder=migrated), 0).out
    pasted = next(line for line in shown.splitlines() if "--plan" in line)
    assert "--approve drop-column --plan " in pasted
    settled(driftd(*shlex.split(pasted)[1:], folder=migrated), 0)
    assert execute(migrated, "SELECT * FROM task") == [(1, "one", "a b"), (2, "two", "a b")]


def test_a_missing_value_cannot_be_approved(migrated: Path) -> None:
    """There would still be none: refused with the ways to give one, not blocked by rows that are as they should be."""
    (migrated / "schema.sql").write_text(OWNED)
    done = driftd("apply", *BARE, "--approve", "value-needed", folder=migrated)
    assert (done.code, done.out) == (2, "")
    assert "error[value-needed]: task.owner cannot be approved: it has no value for old rows" in done.err
    assert "--backfill task.owner=EXPR" in done.err


def test_a_drop_that_loses_nothing_says_so(migrated: Path) -> None:
    """A column of NULLs and a table without rows are held all the same, and the reason tells that they hold nothing."""
    (migrated / "schema.sql").write_text(
        AFTER + "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT, at TEXT);"
    )
    settled(driftd("apply", *BARE, folder=migrated), 1)
    execute(migrated, "UPDATE task SET code = NULL")
    (migrated / "schema.sql").write_text(AFTER)
    reasons = {
        one["kind"]: one["reason"]
        for one in driftd("apply", *BARE, "--json", folder=migrated).document["held"]
    }
    assert reasons["drop_column"].endswith("dropping it loses its values; every value in it is NULL now")
    assert reasons["drop_table"].endswith("dropping it loses its rows; it holds no row now")
    execute(migrated, "INSERT INTO note VALUES (1, 'it''s', NULL)", "UPDATE task SET code = 'x'")
    shown = driftd("apply", *BARE, folder=migrated).out
    assert "now" not in shown
    assert "          1: 'it''s', NULL\n" in shown
    assert "          1: 'x'\n" in shown


def test_nothing_is_cut_off_in_a_pipe(migrated: Path) -> None:
    """Whatever COLUMNS says: a script, or a pager, gets the whole line."""
    done = driftd(
        "history", "--url", "sqlite:///app.db", folder=migrated, COLUMNS="60", USER="somebody-of-" * 9
    )
    assert "..." not in done.out
    assert ", by driftd apply\n" in done.out


def test_a_plan_that_no_longer_fits_is_refused(migrated: Path) -> None:
    """--plan and --approve with an id of another plan change nothing, exit code 2."""
    (migrated / "schema.sql").write_text(AFTER)
    stale = driftd("apply", *BARE, "--plan", "000000000000", "--json", folder=migrated)
    assert (stale.code, stale.document["error"]["code"]) == (2, "plan-stale")
    unknown = driftd("apply", *BARE, "--approve", "000000000000-1", folder=migrated)
    assert unknown.code == 2
    assert "error[approval-unknown]" in unknown.err


def test_the_script_of_a_plan_can_be_run(migrated: Path) -> None:
    """`plan --sql` prints statements that SQLite takes, and is exit code 0 when there is none."""
    assert settled(driftd("plan", *BARE, "--sql", folder=migrated), 0).out.startswith("--")
    (migrated / "schema.sql").write_text(AFTER)
    script = settled(driftd("plan", *BARE, "--sql", folder=migrated), 1).out
    with closing(sqlite3.connect(migrated / "app.db")) as connection:
        connection.executescript(script)
    assert execute(migrated, "SELECT title, due FROM task") == [("one", None), ("two", None)]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the sqlite3 shell is not installed")
def test_the_shell_stops_where_a_script_fails(migrated: Path) -> None:
    """A copy that the rows refuse is not followed by the drop of the table: the shell is told to stop, and rolls back."""
    (migrated / "schema.sql").write_text(BEFORE.replace("code TEXT", "code TEXT, CHECK (code <> 'b')"))
    execute(migrated, "UPDATE task SET code = 'c' WHERE code = 'b'")
    script = settled(driftd("plan", *BARE, "--sql", folder=migrated), 1).out
    execute(migrated, "UPDATE task SET code = 'b' WHERE code = 'c'")
    done = subprocess.run(
        ["sqlite3", str(migrated / "app.db")], input=script, text=True, capture_output=True, check=False
    )
    assert "CHECK constraint failed" in done.stderr
    assert execute(migrated, "SELECT title, code FROM task") == [("one", "a"), ("two", "b")]


def test_sql_and_json_exclude_each_other(migrated: Path) -> None:
    """Two forms at once are a usage error, told in JSON because JSON was asked for."""
    done = driftd("plan", *BARE, "--sql", "--json", folder=migrated)
    assert (done.code, done.document["error"]["code"]) == (2, "usage")


def test_a_locked_database_is_told(migrated: Path) -> None:
    """Another program's open transaction: apply is exit code 1 with outcome `deferred`, and nothing was written."""
    (migrated / "schema.sql").write_text(AFTER)
    with closing(sqlite3.connect(migrated / "app.db", isolation_level=None)) as service:
        service.execute("BEGIN IMMEDIATE")
        done = driftd("apply", *BARE, "--json", folder=migrated, DRIFTD_WINDOW_TIMEOUT="500ms")
        service.execute("ROLLBACK")
    assert done.code == 1
    assert done.document["outcome"] == "deferred"
    assert execute(migrated, "SELECT count(*) FROM pragma_table_info('task')") == [(3,)]


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """Any other file is exit code 2 and untouched."""
    (tmp_path / "schema.sql").write_text(BEFORE)
    (tmp_path / "app.db").write_text("this is not a database, it only has its name" * 100)
    before = (tmp_path / "app.db").read_bytes()
    for command in ("check", "plan", "apply"):
        done = driftd(command, *BARE, "--json", folder=tmp_path)
        assert (done.code, done.document["error"]["code"]) == (2, "database-not-sqlite")
    assert (tmp_path / "app.db").read_bytes() == before


def test_without_a_configuration_init_is_named_first(tmp_path: Path) -> None:
    """Whoever has just installed it is told how to get a file, before an error about models of another service."""
    done = driftd("check", folder=tmp_path)
    assert done.err.splitlines()[1].startswith("  (yours: `driftd init` writes a driftd.toml")
    assert not list(tmp_path.iterdir())


def test_models_that_cannot_be_loaded_are_told(tmp_path: Path) -> None:
    """Exit code 2, with the file and the line."""
    (tmp_path / "broken.py").write_text("x = 1\ny = = 2\n")
    done = driftd("check", "--url", "sqlite:///app.db", "--models", "broken:Base", folder=tmp_path)
    assert done.code == 2
    assert "error[models-syntax-error]" in done.err
    assert "broken.py" in done.err
    assert "2" in done.err


def test_history_and_backups_of_a_migration(migrated: Path) -> None:
    """What was applied is listed and shown whole, its backup verifies, and a restore brings the rows back."""
    (migrated / "schema.sql").write_text(AFTER)
    url = ("--url", "sqlite:///app.db")
    applied = driftd("apply", *BARE, "--approve", "drop-column", "--json", folder=migrated).document
    assert applied["outcome"] == "migrated"
    assert applied["migration_id"] in settled(driftd("history", *url, folder=migrated), 0).out
    whole = settled(driftd("history", applied["migration_id"], *url, folder=migrated), 0).out
    assert "- drop column code (task)" in whole
    assert applied["backup"]["id"] in settled(driftd("backup", "list", *url, folder=migrated), 0).out
    assert "sound" in settled(driftd("backup", "verify", *url, folder=migrated), 0).out
    execute(migrated, "DELETE FROM task")
    restored = settled(driftd("backup", "restore", applied["backup"]["id"], *url, folder=migrated), 0)
    assert "driftd backup restore " in restored.out
    assert execute(migrated, "SELECT title, code FROM task") == [("one", "a"), ("two", "b")]


def test_a_history_that_was_edited_is_broken(migrated: Path) -> None:
    """`history verify` is 0 for a whole chain and 1 for one that somebody has put a hand to."""
    url = ("--url", "sqlite:///app.db")
    settled(driftd("history", "verify", *url, folder=migrated), 0)
    execute(migrated, "UPDATE driftd_history SET at = '2001-01-01T00:00:00Z'")
    done = settled(driftd("history", "verify", *url, "--json", folder=migrated), 1)
    assert done.document["problems"]


def test_a_damaged_backup_is_found(migrated: Path) -> None:
    """`backup verify` is exit code 1 when a copy is not what its manifest says."""
    url = ("--url", "sqlite:///app.db")
    made = settled(
        driftd("backup", "create", *url, "--reason", "a test", "--json", folder=migrated), 0
    ).document
    assert made["backup"]["reason"] == "a test"
    with open(made["backup"]["path"], "r+b") as copy:  # noqa: PTH123  # to change a few bytes in place
        copy.seek(5000)
        copy.write(b"damage")
    done = settled(driftd("backup", "verify", made["backup"]["id"], *url, folder=migrated), 1)
    assert "broken" in done.out
    unknown = driftd("backup", "restore", "backup_x", *url, folder=migrated)
    assert (unknown.code, "error[backup-unknown]" in unknown.err) == (2, True)


def test_pruning_follows_the_configuration(migrated: Path) -> None:
    """Backups beyond `keep` go, by the environment as well as by the file."""
    url = ("--url", "sqlite:///app.db")
    for _ in range(3):
        settled(driftd("backup", "create", *url, folder=migrated), 0)
    done = settled(driftd("backup", "prune", *url, "--json", folder=migrated, DRIFTD_BACKUP_KEEP="1"), 0)
    assert (len(done.document["removed"]), len(done.document["kept"])) == (2, 1)


def test_a_configured_target_needs_no_flags(migrated: Path) -> None:
    """With a file the same commands work from any folder, on paths relative to the file."""
    (migrated / "driftd.toml").write_text(
        '[targets.app]\nurl = "sqlite:///app.db"\nmodels = ["schema.sql"]\n[targets.app.backup]\ndirectory = "bak"\n'
    )
    (migrated / "schema.sql").write_text(AFTER)
    elsewhere = migrated / "elsewhere"
    elsewhere.mkdir()
    config = ("--config", "../driftd.toml")
    settled(driftd("check", *config, folder=elsewhere), 1)
    settled(driftd("apply", *config, "--approve", "drop-column", folder=elsewhere), 0)
    assert list((migrated / "bak").rglob("backup_*.db"))
    assert [path.name for path in elsewhere.iterdir()] == [".cache"]  # of its HOME; nothing of the target


def test_stdout_is_one_document_and_nothing_else(migrated: Path) -> None:
    """Every command that reports gives exactly one JSON object of version 1."""
    url = ("--url", "sqlite:///app.db")
    for words in (
        ("check", *BARE),
        ("plan", *BARE),
        ("apply", *BARE),
        ("history", *url),
        ("history", "verify", *url),
        ("backup", "create", *url),
        ("backup", "list", *url),
        ("backup", "verify", *url),
        ("backup", "prune", *url),
        ("config", "show", *url),
        ("explain",),
    ):
        done = driftd(*words, "--json", folder=migrated)
        assert json.loads(done.out)["schema_version"] == 1, words
        assert done.err == "", words


@pytest.mark.parametrize(
    ("outcome", "waiting", "code"),
    [
        ("up_to_date", [], 0),
        ("migrated", [], 0),
        ("migrated", [{}], 1),
        ("held", [{}], 1),
        ("blocked", [], 1),
        ("deferred", [], 1),
        ("failed", [], 1),
    ],
)
def test_exit_codes_of_apply(outcome: str, waiting: list[object], code: int) -> None:
    """0 only when nothing is left to do; what was done beside it makes no difference."""
    assert exit_code({"outcome": outcome, "held": waiting, "blocked": []}) == code
    assert exit_code({"outcome": outcome, "held": [], "blocked": waiting}) == code


def test_a_script_of_one_remark_says_nothing() -> None:
    """Only a remark that there is nothing to do is nothing; what was left out is something."""
    assert not says_something("-- nothing to do\n")
    assert says_something("-- nothing to do\n-- left out: drop_column\n")
    assert says_something("BEGIN;")
