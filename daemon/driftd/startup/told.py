"""What a startup window came to, as lines for people. Pure; the standard library alone, for a service waits for it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Document = Mapping[str, Any]

_LINE = "\n"
SHOWN = 5  # operations in a line; a log is read, not counted
IN_USE = "in-use"
SHIPPED = (
    "no driftd.toml here: the shipped configuration was used, for the MCP Task Orchestrator; "
    "yours: --config FILE, or start it in its folder"
)


def lines(answer: Document, flags: str = "") -> list[str]:
    """An answer as lines: the outcome, what waits, and the command to type.

    Args:
        answer: as docs/window-protocol.md describes it.
        flags: those that choose the same target, with a space in front.
    """
    told = [_outcome(answer)]
    # An operation that waits for other services is asked for by nobody: it goes ahead at a later start.
    waiting = [one for one in answer["held"] if one.get("code") != IN_USE]
    put_off = [one for one in answer["held"] if one.get("code") == IN_USE]
    if put_off and answer["outcome"] == "migrated":
        told.append(f"{_waiting(len(put_off))} until no other service runs on this schema: {listed(put_off)}")
    if waiting:
        told.append(f"held, {_waiting(len(waiting))}: {listed(waiting)}")
    told += [f"blocked: {phrase(one)}: {one.get('reason') or ''}" for one in answer["blocked"][:SHOWN]]
    if len(answer["blocked"]) > SHOWN:
        told.append(f"blocked: and {len(answer['blocked']) - SHOWN} more")
    if waiting or answer["blocked"]:
        # A daemon has looked already, and shows it without a look of one's own.
        by_daemon = answer.get("by") == "daemon"
        told.append(
            f"see them with their rows: driftd {'status' if by_daemon else f'apply{flags} --dry-run'}"
        )
    told += [_survivors(put_off, flags)] if put_off else _advice(answer)
    told += [f"warning: {text}" for text in answer.get("warnings", ())]
    target = answer.get("target")
    head = f"driftd: {target}" if target else "driftd"
    return [plain(f"{head}: {one}") for one in told if one]


def is_quiet(answer: Document) -> bool:
    """True where a service that starts need not hear anything."""
    return answer["outcome"] == "up_to_date" and not answer.get("warnings")


def plain(text: str) -> str:
    r"""The text on one line of a terminal: names of a database or of models may hold what moves the cursor."""
    shown = "; ".join(text.split("\n"))
    if shown.isprintable():
        return shown
    escaped = (
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode("ascii") for c in shown
    )
    return "".join(escaped)


def shell_word(word: str) -> str:
    r"""A word as it is typed in a shell, which reads just this word again, and safe on a terminal: `x`, `'a b'`, `$'a\033b'`.

    An SQL text stands between double quotes, where `shlex.quote` makes `'"'"'` of its own. Bytes are octal: three digits
    mean the same in bash, zsh, ksh and the sh of POSIX.1-2024.
    """
    import shlex

    if not word.isprintable():
        return f"$'{''.join(map(_octal, word))}'"
    if "'" not in word or any(one in word for one in '"$`\\!'):
        return shlex.quote(word)
    return f'"{word}"'


def _octal(c: str) -> str:
    if c.isprintable() and c not in "'\\!":
        return c
    broken = "surrogateescape" if "\udc80" <= c <= "\udcff" else "surrogatepass"
    return "".join(f"\\{byte:03o}" for byte in c.encode("utf-8", broken))


def _outcome(answer: Document) -> str:
    outcome = answer["outcome"]
    if outcome == "up_to_date":
        return "up to date"
    if outcome == "migrated":
        return f"migrated, {counted(answer['operations'])} in {_took(answer['duration_ms'])}"
    error = answer["error"]
    if error is None:
        # What is held or blocked speaks for itself in the lines that follow.
        return "" if answer["held"] or answer["blocked"] else outcome
    # What follows the first line is for a terminal: the line of a file, and a mark below it.
    why = f": {error['why'].partition(_LINE)[0]}" if error.get("why") else ""
    return f"{_WORDS.get(outcome, outcome)}: {error['what']}{why}"


_WORDS = {"skipped": "no startup window", "unknown": "outcome unknown"}


def _advice(answer: Document) -> list[str]:
    error = answer["error"]
    return [error["fix"]] if error and error.get("fix") else []


def _survivors(operations: Sequence[Document], flags: str) -> str:
    """What to do about operations that wait for other services."""
    ids = [one["operation"] for one in operations if one.get("operation")]
    approving = "".join(f" --approve {one}" for one in ids[:SHOWN] or ["ID"])
    return f"stop those services and start one, or, if their code survives it, approve it: driftd apply{flags}{approving}"


def _took(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _waiting(count: int) -> str:
    return f"{counted(count)} {'waits' if count == 1 else 'wait'}"


# --- words that the daemon's log shares


def counted(count: int) -> str:
    """`1 operation`, `14 operations`."""
    return "1 operation" if count == 1 else f"{count} operations"


def listed(operations: Sequence[Document]) -> str:
    """The first few operations, each as `phrase` has it, and how many more there are."""
    shown = ", ".join(phrase(one) for one in operations[:SHOWN])
    more = len(operations) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def phrase(operation: Document) -> str:
    """`drop column title (task)`, with the number of rows that are concerned where it is known."""
    kind, name, table = operation["kind"].replace("_", " "), operation["name"], operation["table"]
    if table is None or table == name:
        return f"{kind} {name}"
    rows = f", {operation['count']:,} rows" if operation.get("count") else ""
    return f"{kind} {name} ({table}{rows})"
