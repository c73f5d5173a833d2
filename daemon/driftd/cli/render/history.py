"""`history` for people: a table, one whole entry, or a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import database_of, hints, operation_text
from driftd.cli.text import Look, escape, plural, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    "undoes",
    "undone",
}


def render_history(
    document: Mapping[str, Any],
    look: Look,
    *,
    whole: bool = False,
    flags: str = "",
    others: Sequence[Mapping[str, Any]] = (),
) -> str:
    """All migrations in a table, or one with everything that is known of it.

    `others` are all migrations where only one is shown: a later one may have taken operations of it back.
    """
    name = look.paint(escape(document["target"]), "bold")
    migrations = document["migrations"]
    if not migrations:
        return f"{name}: driftd has not changed {database_of(document)} yet."
    if whole:
        told = [_entry(migration, look, undone_by(migration, others)) for migration in migrations]
        return "\n".join(["\n\n".join(told), *_way_back(migrations, flags, look)])
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


def undone_by(migration: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """The operations of a migration that were taken back and are still so, each with the last migration that did it."""
    gone = set(migration.get("undone") or ())
    found: dict[int, str] = {}
    for other in others:
        undoes = other.get("undoes") or {}
        if undoes.get("migration_id") == migration.get("migration_id"):
            found |= {number: other["migration_id"] for number in undoes["operations"] if number in gone}
    return {number: found.get(number, "") for number in sorted(gone)}


def _way_back(migrations: Sequence[Mapping[str, Any]], flags: str, look: Look) -> list[str]:
    """What to type to take back what is left of a migration."""
    (entry,) = migrations
    left = len(operations_of(entry)) - len(entry.get("undone") or ())
    if not entry.get("migration_id") or left < 1:
        return []
    typed = f"driftd rollback {escape(entry['migration_id'])}{flags}"
    one = " --operation N" if left > 1 else ""
    told = "take one operation back, with later rows kept" if one else "take it back, with later rows kept"
    return hints([(f"{typed}{one} --dry-run", f"see what it would be to {told}")], look)


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
        _kind(migration),
        escape(migration.get("allowed_by") or ""),
    )


def _kind(migration: Mapping[str, Any]) -> str:
    """`migration`, `rollback`, ...; of one that was taken back `undone`, `1/3 undone`, `undone rollback`."""
    kind, gone = escape(migration.get("kind") or ""), len(migration.get("undone") or ())
    count = operation_count(migration)
    if not gone:
        return kind
    if str(gone) != count:
        return f"{gone}/{count} undone"
    return "undone" if kind == "migration" else f"undone {kind}"


def _entry(migration: Mapping[str, Any], look: Look, undone: Mapping[int, str]) -> str:
    """One entry in full: what a person asks for first, then its operations with their SQL, then the remark."""
    title = migration.get("migration_id") or migration.get("kind") or ""
    lines = [look.paint(escape(title), "bold")]
    for key, value in migration.items():
        if key not in _ELSEWHERE and value not in (None, "", [], {}):
            text = escape(_flat(key, value))
            lines.append(f"  {escape(key.replace('_', ' ')):<13} {look.wrap(text, 16)[16:]}")
    if undoes := migration.get("undoes"):
        numbers = ", ".join(map(str, undoes["operations"]))
        lines.append(f"  {'takes back':<13} {numbers} of {escape(undoes['migration_id'])}")
    if left := _left_undone(migration):
        lines.append(f"  {'not done':<13} {look.wrap(left, 16)[16:]}")
    carried_out = statements_of(migration)
    for number, operation in numbered(migration):
        lines += ["", f"  {number:>2}  {operation_text(operation, look)}"]
        if number in undone:
            by = f" by {escape(undone[number])}" if undone[number] else ""
            lines.append(look.paint(f"      taken back{by}", "yellow"))
        if not carried_out:
            lines += [_sql(sql, look) for sql in operation.get("sql", [])]
    if carried_out:
        lines += ["", "  The statements as they were carried out:"]
        lines += [_sql(sql, look) for sql in carried_out]
    lines += ["", look.paint("  (--json holds everything: evidence, versions of the schema, hashes)", "dim")]
    return "\n".join(lines)


def _sql(text: str, look: Look) -> str:
    return look.paint(look.wrap(escape(" ".join(text.split())), 6), "dim")


def _left_undone(migration: Mapping[str, Any]) -> str:
    """`2, 4 held; 7 blocked`: the numbers of the plan that are missing among the operations."""
    evidence = migration.get("evidence") or {}
    told = (
        (", ".join(map(str, sorted(evidence.get(word) or (), key=int))), word) for word in ("held", "blocked")
    )
    return "; ".join(f"{numbers} {word}" for numbers, word in told if numbers)


def statements_of(migration: Mapping[str, Any]) -> list[str]:
    """What was carried out, where that is not what the plan says of its operations; else nothing.

    A plan tells of each operation as if all went ahead. What shares a copy of a table is told with what was left out of it.
    """
    found = list((migration.get("evidence") or {}).get("statements") or ())
    planned = [sql for operation in operations_of(migration) for sql in operation.get("sql", ())]
    return found if found and not set(planned) <= set(found) else []


def numbered(migration: Mapping[str, Any]) -> list[tuple[int, Mapping[str, Any]]]:
    """The operations that were applied with their numbers in the plan, by which a rollback names them."""
    done = (migration.get("evidence") or {}).get("applied")
    operations = operations_of(migration)
    numbers = list(done) if isinstance(done, list) and len(done) == len(operations) else []
    return list(zip(sorted(numbers) or range(1, len(operations) + 1), operations, strict=True))


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
