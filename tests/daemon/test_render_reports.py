"""Documents as people read them: to the letter where the letter matters, and never a name that moves the cursor."""

from __future__ import annotations

import re
from typing import Any

import pytest

from driftd.cli.render.apply import render_apply
from driftd.cli.render.backup import render_list, render_pruned, render_restored, render_verified
from driftd.cli.render.check import render_check
from driftd.cli.render.common import waiting_lines
from driftd.cli.render.history import render_history, render_verification
from driftd.cli.render.plan import render_plan
from driftd.cli.text import Look, cells

HEAD: dict[str, Any] = {"schema_version": 1, "target": "tracker", "database": "/srv/tracker.db"}
EVIL = "x\x1b[2J\u202e[bold]"


def operation(number: int, kind: str, table: str | None, name: str, **more: object) -> dict[str, Any]:
    """An operation as it stands in PLAN."""
    return {
        "id": f"8f3a21c0d4e5-{number}",
        "kind": kind,
        "table": table,
        "name": name,
        "risk": "safe",
        "code": kind.replace("_", "-"),
        "strategy": "native",
        "sql": ["SELECT 1"],
        "guard": None,
        "undo": "",
        "reason": "",
        "detail": "",
        "origin": "models",
        "held": False,
        **more,
    }


OPERATIONS = [
    operation(1, "create_table", "comment", "comment", detail="3 columns", reason="3 columns"),
    operation(
        2, "add_column", "task", "priority", detail="INTEGER NOT NULL", reason="old rows read its default 3"
    ),
    operation(3, "drop_not_null", "task", "assignee", detail="NULL allowed", reason="every row satisfies it"),
    operation(4, "add_check", "task", "task_state", risk="guarded", detail="state <> ''", strategy="rebuild"),
    operation(
        5, "drop_column", "task", "code", risk="destructive", held=True, reason="dropping it loses its values"
    ),
    operation(
        6,
        "add_column",
        "task",
        "owner",
        code="value-needed",
        risk="guarded",
        held=True,
        reason="give a value",
    ),
    operation(
        7,
        "change_table",
        "odd",
        "odd",
        code="unreadable-table",
        risk="manual",
        held=True,
        reason="a collation",
    ),
]


def plan_document(operations: list[dict[str, Any]]) -> dict[str, Any]:
    """`plan --json`."""
    return {**HEAD, "plan": {"id": "8f3a21c0d4e5", "risk": "manual", "operations": operations}}


def test_a_plan_reads_like_a_plan() -> None:
    """Operations by table, what waits apart, a count line, and the commands to type, each ready to paste."""
    text = render_plan(plan_document(OPERATIONS), Look(), flags=" --url sqlite:///t.db")
    assert (
        text
        == """\
tracker  plan 8f3a21c0d4e5  /srv/tracker.db

  comment
    + create table  3 columns
        safe

  task
    + add column priority  INTEGER NOT NULL
        safe: old rows read its default 3
    ~ drop NOT NULL of assignee
        safe: every row satisfies it
    + add check task_state  state <> ''
        guarded: copies the table

  Held until somebody approves:

    - drop column code (task)  [drop-column]
        dropping it loses its values

    + add column owner (task)  [value-needed]
        give a value

    ~ change table odd  [unreadable-table]
        a collation

Plan: 3 to add, 1 to change, 0 to remove; 3 held.

  apply 4 operations, what is held stays as it is:
    driftd apply --url sqlite:///t.db
  approve: drop column code (task):
    driftd apply --url sqlite:///t.db --approve 8f3a21c0d4e5-5
  give task.owner a value for old rows (EXPR is SQL: a text stands in '...'):
    driftd apply --url sqlite:///t.db --backfill task.owner=EXPR"""
    )


def test_an_empty_plan_is_one_line() -> None:
    """Nothing to do is said in a sentence."""
    for plan in (None, {"id": "x", "risk": "safe", "operations": []}):
        assert render_plan({**HEAD, "plan": plan}, Look()).count("\n") == 0


def test_blocked_operations_of_a_plan_show_their_rows() -> None:
    """Where a guard has been asked, the plan says what it found and does not count the operation as going ahead."""
    document = plan_document([OPERATIONS[3]])
    rows = [{"key": number, "value": None if number else "it's"} for number in range(9)]
    document["plan"]["blocked"] = [
        {"operation": "8f3a21c0d4e5-4", "code": "add-check", "reason": "rows", "rows": rows, "count": 12}
    ]
    text = render_plan(document, Look())
    assert "Plan: 0 to add, 0 to change, 0 to remove; 1 blocked." in text
    assert "        12 rows, the first of them (key: value)\n          0: 'it's'\n          1: NULL\n" in text
    assert "          4: NULL" in text
    assert "          5: " not in text


CHECK: dict[str, Any] = {
    **HEAD,
    "state": "drifted",
    "in_sync": False,
    "differences": [
        {
            "object": "column",
            "table": "task",
            "name": "due",
            "change": "add",
            "origin": "models",
            "detail": "DATE",
        },
        {
            "object": "column",
            "table": "task",
            "name": "x",
            "change": "remove",
            "origin": "database",
            "detail": "",
        },
        {
            "object": "table",
            "table": "note",
            "name": "note",
            "change": "add",
            "origin": "both",
            "detail": "2 columns",
        },
    ],
    "plan": None,
    "unmanaged": [
        {"type": "index", "name": "by_hand"},
        {"type": "index", "name": "other"},
        {"type": "view", "name": "v"},
    ],
    "timings_ms": {"probe": 200.0, "total": 250.0},
}


def test_a_check_gives_its_verdict_first() -> None:
    """The first line answers the question; who moved is told where it was not the models; unmanaged is one line."""
    assert (
        render_check(CHECK, Look(), flags=" --target web")
        == """\
tracker has drifted: 3 differences (250 ms)
  /srv/tracker.db

  task
    + column due  DATE
    - column x  (changed in: database)

  note
    + table  (changed in: both)  2 columns

  Unmanaged, left alone: 2 indexes, 1 view (-v lists them)

  see what would be done:
    driftd plan --target web
  agree to what was changed by hand in the database:
    driftd adopt --target web
  or see how it would be undone:
    driftd revert --target web --dry-run"""
    )


def test_a_verbose_check_lists_what_is_unmanaged() -> None:
    """-v has the names and the times."""
    text = render_check(CHECK, Look(), verbose=True)
    assert "      index by_hand\n      index other\n      view v\n" in text
    assert "  probe        200 ms" in text


def test_in_sync_is_two_lines() -> None:
    """Nothing to type, nothing to read."""
    document = {**CHECK, "state": "in_sync", "in_sync": True, "differences": [], "unmanaged": []}
    assert render_check(document, Look()) == "tracker is in sync with its models (250 ms)\n  /srv/tracker.db"


def applied(outcome: str, **more: object) -> dict[str, Any]:
    """`apply --json`."""
    return {
        **HEAD,
        "outcome": outcome,
        "operations": 0,
        "duration_ms": 0.0,
        "migration_id": None,
        "plan_id": None,
        "backup": None,
        "held": [],
        "blocked": [],
        "error": None,
        **more,
    }


def test_a_migration_is_told_in_a_line() -> None:
    """How many operations, how long, under which name; the backup; then each operation."""
    backup = {"id": "backup_1", "path": "/bak/backup_1.db", "sha256": "", "verified": True}
    done = [
        {"kind": "add_column", "table": "task", "name": "due"},
        {"kind": "create_table", "table": "n", "name": "n"},
    ]
    document = applied(
        "migrated", operations=2, duration_ms=12.3, migration_id="m_1", backup=backup, applied=done
    )
    assert (
        render_apply(document, Look())
        == """\
Migrated: 2 operations in 12 ms, as m_1
  backup backup_1 (verified)
    /bak/backup_1.db
  + add column due (task)
  + create table n"""
    )


@pytest.mark.parametrize(
    ("outcome", "first"),
    [
        ("up_to_date", "Up to date: the database is in step with its models"),
        ("held", "Held: nothing was changed"),
        ("blocked", "Blocked: nothing was changed"),
        ("deferred", "Deferred: nothing was changed, the database was in use until the deadline"),
        ("failed", "Failed: nothing was changed"),
    ],
)
def test_every_outcome_has_its_line(outcome: str, first: str) -> None:
    """The first line says what became of the database."""
    assert render_apply(applied(outcome), Look()).splitlines()[0] == first


def test_a_dry_run_says_so() -> None:
    """A rehearsal is never mistaken for a migration, and ends with the command that does exactly this."""
    text = render_apply(applied("migrated", operations=3, plan_id="8f3a"), Look(), dry_run=True)
    assert text.splitlines()[0] == "Dry run: 3 operations would be applied; nothing was written"
    assert text.endswith("    driftd apply --plan 8f3a")


def test_a_failure_shows_its_error_and_where_to_read_on() -> None:
    """The error stands with code, why and fix, and `explain` is offered."""
    error = {"code": "statement-failed", "what": "it failed", "why": "UNIQUE", "fix": "look"}
    text = render_apply(applied("failed", error=error, warnings=["no space for long"]), Look())
    assert "  warning: no space for long" in text
    assert "error[statement-failed]: it failed\n  UNIQUE\nfix: look" in text
    assert text.endswith("    driftd explain statement-failed")


MIGRATION: dict[str, Any] = {
    "id": 1,
    "kind": "migration",
    "migration_id": "m_20260712_093015_120_a1b2c3",
    "at": "2026-07-12T09:30:15.120Z",
    "allowed_by": "ada, by driftd apply",
    "operations": 1,
    "plan_id": "8f3a",
    "backup": {"id": "backup_1", "path": "/bak/1.db", "sha256": "ab"},
    "hash": "ff",
}


def test_the_history_is_a_table() -> None:
    """One line each; the kind is a column only where there is more than one."""
    text = render_history({**HEAD, "migrations": [MIGRATION]}, Look())
    assert "MIGRATION                     WHEN (UTC)        OPS  ALLOWED BY" in text
    assert "m_20260712_093015_120_a1b2c3  2026-07-12 09:30    1  ada, by driftd apply" in text
    both = [MIGRATION, {**MIGRATION, "kind": "rollback"}]
    assert "rollback" in render_history({**HEAD, "migrations": both}, Look())
    assert "has not changed" in render_history({**HEAD, "migrations": []}, Look())


def test_one_migration_is_shown_whole() -> None:
    """Who allowed it, its backup, its versions, and each operation with its SQL; hashes stay in --json."""
    whole = {
        **MIGRATION,
        "applied": [
            operation(1, "add_column", "task", "due", sql=['ALTER TABLE "task"\n ADD COLUMN due DATE'])
        ],
        "versions": {"sqlite": "3.45", "python": "3.12"},
        "evidence": {"rows": 3},
    }
    text = render_history({**HEAD, "migrations": [whole]}, Look(), whole=True)
    assert "  allowed by    ada, by driftd apply\n" in text
    assert "  backup        backup_1\n" in text
    assert "  versions      sqlite 3.45, python 3.12\n" in text
    assert '  + add column due (task)\n      ALTER TABLE "task" ADD COLUMN due DATE\n' in text
    assert "ff" not in text


def test_a_broken_history_lists_its_problems() -> None:
    """Whole is one line; broken is a line for each problem."""
    assert render_verification({**HEAD, "ok": True, "problems": []}, Look()).startswith(
        "tracker: the history is whole"
    )
    broken = render_verification(
        {**HEAD, "ok": False, "problems": ["row 2 was altered", "row 3 is gone"]}, Look()
    )
    assert broken.splitlines()[1:] == ["  row 2 was altered", "  row 3 is gone"]


BACKUP: dict[str, Any] = {
    "id": "backup_1",
    "path": "/bak/1.db",
    "sha256": "ab",
    "verified": True,
    "created_at": "2026-07-12T09:30:15Z",
    "size_bytes": 41_000,
    "reason": "migration",
    "pinned": True,
}


def test_backups_are_listed_with_what_matters() -> None:
    """Size, reason, whether a rollback needs it, and a warning where it was never verified."""
    unsure = {**BACKUP, "id": "backup_2", "verified": False, "pinned": False}
    text = render_list({**HEAD, "backups": [BACKUP, unsure]}, Look())
    assert "tracker  2 backups, 82.0 kB" in text
    assert "backup_1  2026-07-12 09:30:15  41.0 kB  pinned        migration" in text
    assert "backup_2  2026-07-12 09:30:15  41.0 kB  NOT verified  migration" in text
    assert "driftd backup create" in render_list({**HEAD, "backups": []}, Look())


def test_what_was_done_to_backups_is_told() -> None:
    """A restore says how to undo it, a pruning what it freed, a check what is broken."""
    safety = {**BACKUP, "id": "backup_9"}
    restored = render_restored({**HEAD, "restored": BACKUP, "safety_backup": safety}, Look())
    assert restored.endswith("    driftd backup restore backup_9")
    pruned = render_pruned({**HEAD, "removed": [BACKUP], "kept": [safety]}, Look())
    assert pruned == "1 backup removed (41.0 kB), 1 kept\n  backup_1"
    found = [{**BACKUP, "problems": []}, {**safety, "problems": ["another hash"]}]
    assert render_verified({**HEAD, "backups": found, "ok": False}, Look()) == (
        "backup_1  sound\nbackup_9  broken\n    another hash"
    )


def poisoned(value: Any) -> Any:
    """The document with every free text replaced by one that would do harm."""
    kept = {"kind", "risk", "change", "outcome", "state", "type", "strategy", "at", "created_at"}
    if isinstance(value, dict):
        return {key: one if key in kept else poisoned(one) for key, one in value.items()}
    if isinstance(value, list):
        return [poisoned(one) for one in value]
    return EVIL if isinstance(value, str) else value


@pytest.mark.parametrize("look", [Look(), Look(colour=True)], ids=["plain", "colour"])
def test_no_name_reaches_the_terminal_raw(look: Look) -> None:
    """Whatever stands in a document, escapes of a terminal are ours alone, and markup is never interpreted."""
    held = [
        {"operation": "a-1", "code": "c", "reason": "r", "rows": [{"key": "k", "value": "v"}], "count": 1}
    ]
    held.append({**held[0], "kind": "drop_column", "table": "t", "name": "n"})
    error = {"code": "c", "what": "w", "why": "y", "fix": "f"}
    texts = [
        render_plan(poisoned(plan_document(OPERATIONS)), look),
        render_check(poisoned({**CHECK, "unsupported": ["t"]}), look, verbose=True),
        render_apply(poisoned(applied("failed", held=held, blocked=held, error=error, warnings=["w"])), look),
        render_history(poisoned({**HEAD, "migrations": [MIGRATION]}), look),
        render_history(
            poisoned({**HEAD, "migrations": [{**MIGRATION, "applied": OPERATIONS}]}), look, whole=True
        ),
        render_verification(poisoned({**HEAD, "ok": False, "problems": ["p"]}), look),
        render_list(poisoned({**HEAD, "backups": [BACKUP]}), look),
        render_verified(poisoned({**HEAD, "backups": [{**BACKUP, "problems": ["p"]}], "ok": False}), look),
        render_restored(poisoned({**HEAD, "restored": BACKUP, "safety_backup": BACKUP}), look),
        render_pruned(poisoned({**HEAD, "removed": [BACKUP], "kept": []}), look),
    ]
    for text in texts:
        ours = re.sub(r"\x1b\[[0-9;]+m", "", text) if look.colour else text
        assert "\x1b" not in ours
        assert "\u202e" not in ours
        assert r"\x1b[2J\u202e[bold]" in ours


def test_reports_fit_eighty_columns() -> None:
    """Long reasons wrap and long rows are cut; only what is to be pasted may be longer."""
    reason = "because " * 40
    operations = [{**one, "reason": reason, "detail": "d" * 60} for one in OPERATIONS]
    rows = [{"key": 1, "value": "v" * 300}]
    held = [{"operation": "8f-1", "code": "drop-column", "reason": reason, "rows": rows, "count": 1}]
    for text in (
        render_plan(plan_document(operations), Look()),
        render_apply(applied("held", held=held), Look()),
        render_history({**HEAD, "migrations": [{**MIGRATION, "allowed_by": "a" * 90}]}, Look()),
    ):
        assert all(cells(line) <= 80 for line in text.splitlines() if "driftd " not in line), text


def test_colour_changes_nothing_but_colour() -> None:
    """The same words with and without it."""
    for document, render in ((plan_document(OPERATIONS), render_plan), (CHECK, render_check)):
        painted = render(document, Look(colour=True))
        assert "\x1b[" in painted
        assert re.sub(r"\x1b\[[0-9;]+m", "", painted) == render(document, Look())


@pytest.mark.parametrize(
    ("kind", "row", "shown"),
    [
        ("drop_table", {"key": 1, "value": "'a', 'x'"}, "1: 'a', 'x'"),
        ("drop_table", {"key": "k", "value": "'it''s'"}, "'k': 'it''s'"),
        ("add_unique", {"key": "1, 2", "value": "'a', NULL"}, "1, 2: 'a', NULL"),
        ("add_unique", {"key": "'a', 2", "value": "a"}, "'a', 2: 'a'"),
        ("drop_column", {"key": 1, "value": "'a', 'x'"}, "1: ''a', 'x''"),
        ("drop_column", {"key": "a b, c", "value": None}, "'a b, c': NULL"),
    ],
)
def test_values_of_several_columns_are_not_quoted_again(kind: str, row: dict[str, Any], shown: str) -> None:
    """The engine quotes each of them as SQL does; what is one value is quoted here."""
    item = {
        "operation": "p-1",
        "kind": kind,
        "table": "t",
        "name": "t",
        "code": "c",
        "reason": "r",
        "rows": [row],
    }
    assert waiting_lines([item], {}, Look())[-1].strip() == shown
