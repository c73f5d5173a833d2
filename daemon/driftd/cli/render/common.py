"""What several reports share: signs, operations grouped by table, what waits, and the commands to type next."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from driftd.cli.text import Look, escape, plural, shell_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SHOWN_ROWS = 5
_ADDS = ("add", "create")
_REMOVES = ("remove", "drop")
_SIGN_STYLES = {"+": "green", "~": "yellow", "-": "red"}
_RISK_STYLES = {"safe": "green", "guarded": "cyan", "destructive": "red", "manual": "yellow"}
# Kinds whose phrase says all that their detail would.
_SELF_EVIDENT = {"drop_not_null", "set_not_null", "rename_column", "rename_table"}
_PHRASES = {
    "drop_not_null": "drop NOT NULL of",
    "set_not_null": "set NOT NULL on",
    "change_type": "change type of",
    "change_default": "change default of",
    "change_collation": "change collation of",
    "change_generated": "change expression of",
}
# Where a row is named by several columns, or shown by several, the engine gives one text: each value as SQL writes it.
_LITERAL = r"(?:[xX]?'(?:[^']|'')*'|NULL|[-+.\w]+)"
_SEVERAL = re.compile(rf"{_LITERAL}(?:, {_LITERAL})+")
_PASTED = re.compile(r"info=\{.*?\}|--(?:rename|backfill) (?:'[^']*'|\S)+")
_GLUE = "\x00"  # nothing that is escaped holds one
# The engine's sentence of what may be a rename, with the flag as a shell reads it.
_RENAME = re.compile(r" or give (--rename .+?), and it keeps ", re.DOTALL)
_OVER_COLUMNS = {"unique", "index", "foreign_key"}
HELD_RISKS = {"destructive", "manual"}


def sign_of(word: str) -> str:
    """`+`, `~` or `-` for a difference's change or an operation's kind. To allow NULL takes nothing away."""
    first = word.replace("-", "_").partition("_")[0]
    if first in _ADDS:
        return "+"
    return "-" if first in _REMOVES and word != "drop_not_null" else "~"


def painted_sign(sign: str, look: Look) -> str:
    """The sign in its colour."""
    return look.paint(sign, "bold", _SIGN_STYLES[sign])


def risk_word(risk: str, look: Look) -> str:
    """The risk as a word in its colour."""
    return look.paint(risk, _RISK_STYLES.get(risk, "bold"))


def grouped(items: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Differences or operations by table, in the order in which the tables first appear."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault(item["table"] or item["name"], []).append(item)
    return groups


def phrase(operation: Mapping[str, Any]) -> str:
    """What an operation does: `add column priority`; a table's own operation needs no name again."""
    kind = _PHRASES.get(operation["kind"]) or escape(operation["kind"].replace("_", " "))
    name = escape(operation["name"] or "")
    if operation["kind"].startswith("rename_") and operation.get("detail"):
        return f"{kind} {escape(operation['detail'])}"  # both names
    return f"{kind} {name}" if name and operation["name"] != operation["table"] else kind


def operation_lines(operation: Mapping[str, Any], look: Look) -> list[str]:
    """An operation in two lines: sign and what; risk, why, what the guard found, and what costs time."""
    text = phrase(operation)
    head = f"    {painted_sign(sign_of(operation['kind']), look)} {text}"
    detail = "" if operation["kind"] in _SELF_EVIDENT else escape(operation.get("detail") or "")
    reason = escape(operation.get("reason") or "")
    lines = [head]
    if detail and len(text) + len(detail) + 8 <= look.width:
        lines = [f"{head}  {look.paint(detail, 'dim')}"]
    elif detail:
        lines.append(look.paint(look.wrap(detail, 8), "dim"))
    lines.append(_risk_line(operation, "" if reason == detail else reason, look))
    return lines


def _risk_line(operation: Mapping[str, Any], reason: str, look: Look) -> str:
    """`safe: old rows read its default 3; copies the table`."""
    risk = escape(operation["risk"])
    parts = [reason, guard_text(operation.get("guard"))]
    parts.append(_cost(operation))
    said = "; ".join(part for part in parts if part)
    line = look.wrap(f"{risk}: {said}" if said else risk, 8)
    return line.replace(risk, risk_word(risk, look), 1)


def _cost(operation: Mapping[str, Any]) -> str:
    """What takes time is a copy of the table; everything else takes the same milliseconds at any size."""
    if operation.get("strategy") != "rebuild":
        return ""
    rows = operation.get("copies_rows")
    return f"copies the table, {plural(rows, 'row')}" if rows is not None else "copies the table"


def guard_text(guard: object) -> str:
    """What a guard found, where the document tells it. Its question is SQL and stands in --json."""
    if not isinstance(guard, dict) or guard.get("count") is None:
        return ""
    return plural(guard["count"], "offending row") if guard["count"] else "no offending row"


def table_heading(name: str, look: Look) -> str:
    """The line above what concerns a table."""
    return f"  {look.paint(escape(name), 'bold')}"


def waiting_lines(
    items: Sequence[Mapping[str, Any]], operations: Mapping[str, Mapping[str, Any]], look: Look
) -> list[str]:
    """Held or blocked operations: which, why, and the rows (at most five) that stand in the way."""
    lines: list[str] = []
    for item in items:
        operation = {**operations.get(item["operation"], {}), **item}
        lines += ["", f"    {_waiting_label(operation, look)}", _reason(escape(item["reason"]), look)]
        lines += row_lines(operation, look)
    return lines


def _reason(reason: str, look: Look) -> str:
    """The reason, wrapped; a hint or a flag in it stays on one line, so that it can be pasted."""
    whole = _PASTED.sub(lambda found: found[0].replace(" ", _GLUE), reason)
    return look.wrap(whole, 8).replace(_GLUE, " ")


def _waiting_label(operation: Mapping[str, Any], look: Look) -> str:
    """`- drop column legacy_code (task)  [drop-column]`, or the id where nothing more is known."""
    code = f"  [{escape(operation['code'])}]" if operation.get("code") else ""
    if "kind" not in operation:
        return f"{escape(operation['operation'])}{code}"
    return f"{operation_text(operation, look)}{code}"


def operation_text(operation: Mapping[str, Any], look: Look) -> str:
    """An operation in a line: `- drop column legacy_code (task)`."""
    return f"{painted_sign(sign_of(operation['kind']), look)} {described(operation)}"


def described(operation: Mapping[str, Any]) -> str:
    """An operation away from its table's heading: `drop column legacy_code (task)`, `drop table task`."""
    table, name = operation.get("table"), operation["name"]
    if not table or table == name:
        return phrase({**operation, "table": None})
    return f"{phrase(operation)} ({escape(table)})"


def approvals(
    items: Sequence[Mapping[str, Any]],
    operations: Mapping[str, Mapping[str, Any]],
    flags: str,
    typed: str = "driftd apply",
) -> list[tuple[str, str]]:
    """What to type for each held operation: an approval, or the value that is missing; nothing for what is manual.

    `typed` is the command that held it, and is to be typed again.
    """
    found = []
    for item in items:
        operation = {**operations.get(item["operation"], {}), **item}
        if typed != "driftd rollback" and (flag := rename_flag(item)):
            found.append((f"{typed}{flags} {flag}", IF_RENAMED))
        # An approval would not help here: there would still be no value.
        if item["code"] == "value-needed" and operation.get("table"):
            column = f"{operation['table']}.{operation['name']}"
            given = shell_word(f"{column}=EXPR")
            purpose = f"give {escape(column)} a value for old rows (EXPR is SQL: a text stands in '...')"
            found.append((f"{typed}{flags} --backfill {given}", purpose))
        elif operation.get("waits_for"):
            continue  # it goes with what it needs; its own approval alone would do nothing
        elif operation.get("risk") != "manual" and item["code"] != "value-needed":
            approval = f"{typed}{flags} --approve {escape(item['operation'])}"
            found.append((approval, approval_purpose(operation)))
    return found


IF_RENAMED = "if it is a rename, keep the values"
_PURPOSES = {
    "rolled-back": "do it again",
    "rename-suspected": "no rename, go on without the hint",
    "changed-in-database": "bring back what the models want",
    "conflict": "let the models have their way",
}


def rename_flag(item: Mapping[str, Any]) -> str:
    """`--rename customer.fax=telefax` of what is held because it may be a rename, else nothing."""
    found = _RENAME.search(item["reason"])
    return " ".join(map(shell_word, shlex.split(found[1]))) if found else ""


def by_hand(items: Iterable[Mapping[str, Any]], flags: str) -> list[tuple[str, str]]:
    """What to type where somebody has changed the database itself; `items` are differences or operations."""
    if all(one.get("origin", "models") == "models" for one in items):
        return []
    return [
        (f"driftd adopt{flags}", "agree to what was changed by hand in the database"),
        (f"driftd revert{flags} --dry-run", "or see how it would be undone"),
    ]


def approval_purpose(operation: Mapping[str, Any]) -> str:
    """What an approval of a held operation means: `approve: drop column note (task)`."""
    what = described(operation) if "kind" in operation else escape(operation["code"])
    return f"{_PURPOSES.get(operation.get('code', ''), 'approve')}: {what}"


def row_lines(item: Mapping[str, Any], look: Look) -> list[str]:
    """How many rows, then up to five of them, key and value each."""
    rows = item.get("rows") or []
    if not rows:
        return []
    count = max(item.get("count") or 0, len(rows))
    # A column that is not there yet has no values to show.
    if item.get("kind") == "add_column" and item.get("code") == "value-needed":
        return [look.paint(f"        {plural(count, 'row has', 'rows have')} none", "dim")]
    more = "" if count <= SHOWN_ROWS else ", the first of them"
    lines = [look.paint(f"        {plural(count, 'row')}{more} (key: value)", "dim")]
    kind = item.get("kind") or ""
    texts = (_row(row, kind) for row in rows[:SHOWN_ROWS])
    return [*lines, *(f"          {look.cut(text, look.width - 12)}" for text in texts)]


def _row(row: object, kind: str) -> str:
    if isinstance(row, dict) and {"key", "value"} >= row.keys():
        key, value = row.get("key"), row.get("value")
        listed = kind == "drop_table" or (kind.partition("_")[2] in _OVER_COLUMNS and _is_list(value))
        shown = escape(value) if listed and isinstance(value, str) else _value(value)
        return f"{escape(key) if _is_list(key) else _value(key)}: {shown}"
    if isinstance(row, dict):
        return ", ".join(f"{escape(name)}={_value(value)}" for name, value in row.items())
    if isinstance(row, (list, tuple)):
        return ", ".join(_value(value) for value in row)
    return _value(row)


def _is_list(value: object) -> bool:
    return isinstance(value, str) and _SEVERAL.fullmatch(value) is not None


def _value(value: object) -> str:
    if value is None:
        return "NULL"
    return f"'{escape(value)}'" if isinstance(value, str) else escape(value)


def hints(lines: Sequence[tuple[str, str]], look: Look) -> list[str]:
    """Commands to type next, as `git status` ends, each on a line of its own so that it can be pasted whole."""
    found = [""]
    for typed, purpose in lines:
        found += [f"  {purpose}:", f"    {look.paint(typed, 'cyan')}"]
    return found if lines else []


def database_of(document: Mapping[str, Any]) -> str:
    """The database as a path, safe to print."""
    return escape(document.get("database") or "")
