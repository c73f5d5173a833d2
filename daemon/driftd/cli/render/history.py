"""`history` for people: a table, one whole entry, or a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import database_of, hints, operation_text
from driftd.cli.text import Look, escape, plural, table

if TYPE_CHECKING:
    from collections.abc import Mapping

# The title, the operations, and text for the machine, which stands in --json.
_ELSEWHERE = {
    "id",
    "migration_id",
    "plan",
    "applied",
    "operations",
    "base",
    "undo",
    "hash",
    "previous",
    "evidence",
}


def render_history(document: Mapping[str, Any], look: Look, *, whole: bool = False, flags: str = "") -> str:
    """All migrations in a table, or one with everything that is known of it."""
    name = look.paint(escape(document["target"]), "bold")
    migrations = document["migrations"]
    if not migrations:
        return f"{name}: driftd has not changed {database_of(document)} yet."
    if whole:
        return "\n\n".join(_entry(migration, look) for migration in migrations)
    rows: list[tuple[str, ...]] = [("MIGRATION", "WHEN (UTC)", "OPS", "KIND", "ALLOWED BY")]
    rows += [_row(migration) for migration in migrations]
    # A column that says the same on every line only takes room from those who allowed it.
    if {row[3] for row in rows[1:]} == {"migration"}:
        rows = [row[:3] + row[4:] for row in rows]
    head, *rest = [look.cut(line, look.width) for line in table(rows, right=frozenset({2}))]
    lines = [f"{name}  {database_of(document)}", "", look.paint(head, "bold"), *rest]
    shown = next((one["migration_id"] for one in reversed(migrations) if one.get("migration_id")), "")
    if shown:
        lines += hints([(f"driftd history {escape(shown)}{flags}", "see one in full")], look)
    return "\n".join(lines)


def render_verification(document: Mapping[str, Any], look: Look) -> str:
    """Whole, or each problem on a line of its own."""
    name = look.paint(escape(document["target"]), "bold")
    if document["ok"]:
        return f"{name}: the history is {look.paint('whole', 'bold', 'green')}, {database_of(document)}"
    problems = document["problems"]
    found = plural(len(problems), "problem")
    lines = [
        f"{name}: the history is {look.paint('broken', 'bold', 'red')}, {found}, {database_of(document)}"
    ]
    lines += [look.wrap(escape(problem), 2, 4) for problem in problems]
    return "\n".join(lines)


def when(text: object) -> str:
    """`2026-07-12 09:30:15` of an ISO time."""
    return escape(text or "").replace("T", " ")[:19]


def operation_count(migration: Mapping[str, Any]) -> str:
    """How many operations an entry holds, however it tells them."""
    plan = migration.get("plan")
    found = migration.get("operations", plan.get("operations") if isinstance(plan, dict) else None)
    if isinstance(found, list):
        return str(len(found))
    return "" if found is None else str(found)


def _row(migration: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        escape(migration.get("migration_id") or ""),
        when(migration.get("at"))[:16],
        operation_count(migration),
        escape(migration.get("kind") or ""),
        escape(migration.get("allowed_by") or ""),
    )


def _entry(migration: Mapping[str, Any], look: Look) -> str:
    """One entry in full: what a person asks for first, then its operations with their SQL, then the remark."""
    title = migration.get("migration_id") or migration.get("kind") or ""
    lines = [look.paint(escape(title), "bold")]
    for key, value in migration.items():
        if key not in _ELSEWHERE and value not in (None, "", [], {}):
            text = escape(_flat(key, value))
            lines.append(f"  {escape(key.replace('_', ' ')):<13} {look.wrap(text, 16)[16:]}")
    for operation in operations_of(migration):
        lines += ["", f"  {operation_text(operation, look)}"]
        lines += [
            look.paint(look.wrap(escape(" ".join(sql.split())), 6), "dim") for sql in operation.get("sql", [])
        ]
    lines += ["", look.paint("  (--json holds everything: evidence, versions of the schema, hashes)", "dim")]
    return "\n".join(lines)


def operations_of(migration: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The operations that were applied; those of the whole plan where an entry does not tell them apart."""
    plan = migration.get("plan") or {}
    return list(migration.get("applied") or plan.get("operations", []))


def _flat(key: str, value: object) -> str:
    """A value in a line: of a backup its id, of a small mapping `name value, name value`."""
    if isinstance(value, dict):
        if key == "backup":
            return str(value.get("id", ""))
        return ", ".join(f"{name} {_flat('', one)}" for name, one in value.items())
    if isinstance(value, list):
        return " ".join(_flat("", one) for one in value)
    return str(value)
