"""What a terminal shows of renames, rollbacks and what was agreed to: exact lines, safe to print, at 80 columns."""

from __future__ import annotations

from typing import Any

import pytest

from driftd.cli.render.common import approval_purpose, described
from driftd.cli.render.history import render_history, undone_by
from driftd.cli.render.moved import render_adopted, render_ignored
from driftd.cli.render.rollback import render_rollback
from driftd.cli.text import Look

OPERATION: dict[str, Any] = {
    "operation": "7a04-1",
    "kind": "add_column",
    "table": "task",
    "name": "code",
    "code": "add-column",
    "risk": "safe",
    "strategy": "native",
    "detail": "TEXT",
    "reason": "its values come back from the backup of m_1; rows written since keep theirs",
}
ROLLBACK: dict[str, Any] = {
    "schema_version": 1,
    "target": "app",
    "database": "/srv/app.db",
    "outcome": "migrated",
    "operations": 1,
    "duration_ms": 12.0,
    "migration_id": "m_2",
    "plan_id": "7a04",
    "backup": {"id": "backup_2", "path": "/srv/backup_2.db", "sha256": "0", "verified": True},
    "applied": [OPERATION],
    "held": [],
    "blocked": [],
    "dry_run": False,
    "warnings": [],
    "error": None,
    "undoes": {"migration_id": "m_1", "operations": [3], "left": [1, 2]},
}
DIFFERENCE = {
    "object": "column",
    "table": "task",
    "name": "note\x1b[2J",
    "change": "remove",
    "origin": "database",
    "detail": "",
    "names": ["task.note\x1b[2J", "task"],
}


def test_a_rollback_says_what_came_back_and_how_to_go_on() -> None:
    """Which migration, as which one, each operation with its reason; what is left, and the way back."""
    assert (
        render_rollback(ROLLBACK, Look(), flags=" --target app")
        == """\
Rolled back: 1 operation of m_1 in 12 ms
  as m_2
  backup backup_2 (verified)
    /srv/backup_2.db
  + add column code (task)
      its values come back from the backup of m_1; rows written since keep
      theirs

  see what of it is still done:
    driftd history m_1 --target app
  take this rollback back:
    driftd rollback m_2 --target app"""
    )


def test_a_dry_run_names_the_migration_and_what_was_asked_for() -> None:
    """What was `the last one` may be another one by the time the command is pasted."""
    dry = {**ROLLBACK, "migration_id": None, "dry_run": True}
    told = render_rollback(dry, Look(), operations=("3",), approve=("drop-column",), dry_run=True)
    assert told.startswith("Dry run: 1 operation of m_1 would be rolled back; nothing was written")
    assert told.endswith("  do it:\n    driftd rollback m_1 --operation 3 --approve drop-column")


def test_what_holds_a_rollback_is_approved_for_it() -> None:
    """The command to type is a rollback, not an apply."""
    held = {
        **OPERATION,
        "kind": "drop_column",
        "risk": "destructive",
        "rows": [{"key": 1, "value": "x"}],
        "count": 1,
    }
    document = {**ROLLBACK, "outcome": "held", "applied": [], "held": [held], "migration_id": None}
    document["undoes"] = {"migration_id": "m_1", "operations": [], "left": [1, 2, 3]}
    told = render_rollback(document, Look(), operations=("3",))
    assert told.startswith("Held: nothing was changed")
    assert "          1: 'x'" in told
    assert "    driftd rollback m_1 --operation 3 --approve 7a04-1" in told


@pytest.mark.parametrize(
    ("code", "purpose"),
    [
        ("drop-column", "approve: add column code (task)"),
        ("rolled-back", "do it again: add column code (task)"),
        ("rename-suspected", "no rename, go on without the hint: add column code (task)"),
        ("changed-in-database", "bring back what the models want: add column code (task)"),
        ("conflict", "let the models have their way: add column code (task)"),
    ],
)
def test_an_approval_says_what_it_means(code: str, purpose: str) -> None:
    """Not every approval lets something be lost."""
    assert approval_purpose({**OPERATION, "code": code}) == purpose


def test_a_rename_shows_both_names() -> None:
    """`telefax → fax`, wherever the operation stands in a line."""
    rename = {"kind": "rename_column", "table": "person", "name": "fax", "detail": "telefax → fax"}
    assert described(rename) == "rename column telefax → fax (person)"


def test_the_history_shows_what_was_taken_back_and_by_whom() -> None:
    """A line says how much of it is undone; the whole entry says which operation, and by which migration."""
    common = {
        "at": "2026-07-12T09:30:15.000Z",
        "operations": 2,
        "allowed_by": "ada",
        "undoes": None,
        "undone": [],
    }
    first = {**common, "id": 1, "kind": "migration", "migration_id": "m_1", "undone": [2]}
    undo = {**common, "id": 2, "kind": "rollback", "migration_id": "m_2", "operations": 1}
    undo["undoes"] = {"migration_id": "m_1", "operations": [2]}
    gone = {**first, "id": 3, "migration_id": "m_3", "undone": [1, 2]}
    again = {**undo, "id": 4, "migration_id": "m_4", "undone": [1], "operations": 1, "undoes": None}
    document = {"target": "app", "database": "/srv/app.db", "migrations": [first, undo, gone, again]}
    kinds = [" ".join(line.split()[4:-1]) for line in render_history(document, Look()).splitlines()[3:7]]
    assert kinds == ["1/2 undone", "rollback", "undone", "undone rollback"]
    assert undone_by(first, [first, undo]) == {2: "m_2"}
    assert undone_by(gone, [first, undo]) == {1: "", 2: ""}
    plan = {"id": "7a04", "operations": [{**OPERATION, "name": name, "sql": ["SELECT 1"]} for name in "ab"]}
    whole = {**first, "plan": plan, "applied": plan["operations"], "evidence": {"applied": [1, 2]}}
    told = render_history({**document, "migrations": [whole]}, Look(), whole=True, others=[first, undo])
    assert "   1  + add column a (task)" in told
    assert "   2  + add column b (task)\n      taken back by m_2" in told
    assert told.endswith("    driftd rollback m_1 --dry-run")


def test_what_was_adopted_or_ignored_is_shown_safely() -> None:
    """A name that would clear the screen is shown, not obeyed."""
    document = {
        "target": "app",
        "database": "/srv/app.db",
        "adopted": [DIFFERENCE],
        "accepted": [DIFFERENCE],
        "left": [DIFFERENCE],
        "in_sync": False,
        "warnings": [],
    }
    told = render_adopted(document, Look())
    assert "\x1b" not in told
    assert "1 other difference made by hand: task.note\\x1b[2J" in told
    ignored = {"target": "app", "file": "/srv/driftd.toml", "added": ["a\x1b[2J"], "already": ["b"]}
    told = render_ignored(ignored, Look())
    assert "\x1b" not in told
    assert told.splitlines()[0] == "b is ignored already, /srv/driftd.toml"


def test_the_history_shows_the_statements_that_were_carried_out() -> None:
    """Where something was left out of a plan, what the plan says of the rest is not what was done."""
    operations = [{**OPERATION, "sql": ["CREATE TABLE new (a, b CHECK (b > 0))"]}]
    evidence = {"applied": [2], "held": [1], "blocked": {"10": "rows", "3": "rows"}}
    migration: dict[str, Any] = {
        "id": 1,
        "kind": "migration",
        "migration_id": "m_1",
        "applied": operations,
        "evidence": {**evidence, "statements": ["CREATE TABLE new (a, b)"]},
    }
    document = {"target": "app", "database": "/srv/app.db", "migrations": [migration]}
    told = render_history(document, Look(), whole=True)
    assert "  not done      1 held; 3, 10 blocked" in told
    assert "   2  + add column code (task)\n\n  The statements as they were carried out:" in told
    assert "      CREATE TABLE new (a, b)\n" in told
    assert "CHECK" not in told
    migration["evidence"] = {**evidence, "statements": operations[0]["sql"]}
    told = render_history(document, Look(), whole=True)
    assert "   2  + add column code (task)\n      CREATE TABLE new (a, b CHECK (b > 0))" in told
