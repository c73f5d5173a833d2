"""`status` for people: the verdict first, the targets, what to do last, where it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from driftd.cli.render.common import IF_RENAMED, approval_purpose, by_hand, hints, rename_flag
from driftd.cli.render.entry import (
    age,
    ago,
    day_and_time,
    entry_lines,
    going_of,
    pad,
    progress_text,
    state_style,
    state_word,
    tail,
)
from driftd.cli.render.error import render_error_document
from driftd.cli.text import Look, cells, escape, plural, shell_word, size
from driftd.entry import needs_attention

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    Document = Mapping[str, Any]

_RED = "red"
_NAME_WIDTH = 24
_PATH_WIDTH = 16  # less of a path than this says nothing


class Flags(NamedTuple):
    """The flags of commands to type next, each with a space in front: what was given, given again.

    `reads` is for commands that read the database themselves (`driftd plan`), None where they would not know which;
    `asks` for those that talk to the daemon; `target` is --target for both, where it was given.
    """

    reads: str | None = ""
    asks: str = ""
    target: str = ""

    def which(self, entry: Mapping[str, Any], *, several: bool) -> str:
        """--target where it is needed."""
        return self.target or (f" --target {shell_word(entry['target'])}" if several else "")


def render_status(
    document: Document, look: Look, *, flags: Flags, now: datetime | None, verbose: bool = False
) -> str:
    """Verdict, targets, the daemon, problems, and what to type next.

    Args:
        document: the result of the socket's `status`, with or without `holders`.
        look: how to write.
        flags: for the commands to type.
        now: what ages are counted to, with a zone; None shows times instead.
        verbose: all targets in full, and the daemon's own figures.
    """
    entries = document["targets"]
    lines = [_verdict(document, look)]
    if len(entries) > 1:
        lines += ["", *_table(entries, look, now)]
    several = len(entries) > 1
    for entry in entries:
        if verbose or not several or needs_attention(entry):
            more = _more(entry, flags, several=several)
            lines += ["", *entry_lines(entry, look, now=now, more=more, verbose=verbose)]
            lines += _holders(
                document.get("holders", {}).get(entry["target"]), document["daemon"]["pid"], look
            )
    if verbose:
        lines += ["", *(look.paint(line, "dim") for line in _daemon(document["daemon"], now))]
    lines += _problems(document, look)
    steps = next_steps(entries, flags, verbose=verbose)
    if not entries:
        config = document["daemon"].get("config")
        where = escape(config) if config else "the configuration"
        steps = [(f"driftd reload{flags.asks}", f"add [targets.NAME] to {where}, then")]
    return "\n".join([*lines, *hints(steps, look)])


def render_entries(
    document: Document, look: Look, *, flags: Flags, now: datetime | None, done: str = ""
) -> str:
    """What the daemon answered to a command: what was done, the targets as they stand now, and what to type next."""
    entries = document["targets"]
    several = len(entries) > 1 or (document.get("daemon") or {}).get("serves", 1) > 1
    lines: list[str] = [look.paint(done, "bold", "green"), ""] if done else []
    for entry in entries:
        more = _more(entry, flags, several=several)
        lines += [*entry_lines(entry, look, now=now, more=more), ""]
    lines = lines[:-1] or ["no targets"]
    lines += _problem_lines(entries, look)
    return "\n".join([*lines, *hints(next_steps(entries, flags, several=several), look)])


def render_reloaded(document: Document, look: Look) -> str:
    """What reading the configuration again has changed."""
    lines = []
    for word, style in (("added", "green"), ("changed", "yellow"), ("removed", "red"), ("kept", "dim")):
        names = ", ".join(escape(name) for name in document.get(word, ()))
        if names:
            lines.append(f"  {look.paint(word, style)}: {names}")
    moved = any(document.get(word) for word in ("added", "changed", "removed"))
    head = "Reloaded" if moved else "Reloaded: nothing has changed since it was last read"
    return "\n".join([look.paint(head, "bold", "green"), *lines])


def next_steps(
    entries: Sequence[Document], flags: Flags, *, verbose: bool = False, several: bool = False
) -> list[tuple[str, str]]:
    """What to type next, with its purpose, for all targets that need a person.

    `several`: the daemon serves more targets than these.
    """
    found: list[tuple[str, str]] = []
    for entry in entries:
        which = flags.which(entry, several=several or len(entries) > 1)
        found += _approvals(entry, flags, which)
        found += _remedies(entry, f"{flags.asks}{which}", verbose=verbose)
        if entry["state"] == "drifted" and entry["mode"] == "observe" and flags.reads is not None:
            found.append(
                (
                    f"driftd plan{flags.reads}{which}",
                    "see the plan; in mode observe the daemon writes nothing",
                )
            )
        if entry["state"] == "ready" and flags.reads is not None and (verbose or len(entries) == 1):
            found.append(
                (f"driftd apply{flags.reads}{which}", "apply it now; the service's next start does it too")
            )
    # Two targets may ask for the same.
    return list(dict.fromkeys(found))


def _approvals(entry: Document, flags: Flags, which: str) -> list[tuple[str, str]]:
    """What to type for each held operation; nothing for one that cannot be approved."""
    plan = entry.get("plan")
    operations = {one["id"]: one for one in plan["operations"]} if plan else {}
    found = []
    for item in entry["held"]:
        operation = {**operations.get(item["operation"], {}), **item}
        if (flag := rename_flag(item)) and flags.reads is not None:
            found.append((f"driftd apply{flags.reads}{which} {flag}", IF_RENAMED))
        if item["code"] == "value-needed":
            found.append(_backfill(entry, f"{operation['table']}.{operation['name']}", flags))
        elif operation.get("risk") != "manual" and not operation.get("waits_for"):
            typed = f"driftd approve {escape(item['operation'])}{flags.asks}{which}"
            found.append((typed, approval_purpose(operation)))
    if flags.reads is not None:
        waiting = [operations[item["operation"]] for item in entry["held"] if item["operation"] in operations]
        found += by_hand(waiting, f"{flags.reads}{which}")
    return found


def _backfill(entry: Document, column: str, flags: Flags) -> tuple[str, str]:
    """How to give a column its value for old rows: in the daemon's file, or where it has none, by its flag."""
    if flags.reads is None:
        given = shell_word(f"{column}=EXPR")
        return (f"driftd run ... --backfill {given}", "start the daemon again with a value for old rows")
    name = entry["target"] if "." not in entry["target"] else f'"{entry["target"]}"'  # a bare key has no dot
    line = f'[targets.{name}.backfill] "{column}" = ...'
    return (f"driftd reload{flags.asks}", f"write {escape(line)} into the configuration, then")


def _remedies(entry: Document, flags: str, *, verbose: bool) -> list[tuple[str, str]]:
    found = []
    if entry["blocked"]:
        rows = all(item.get("rows") for item in entry["blocked"])
        first = "correct the rows above" if rows else "put that right"
        found.append((f"driftd stage{flags}", f"{first}, then try again"))
    if entry["state"] == "paused":
        found.append((f"driftd resume{flags}", f"let {escape(entry['target'])} go on"))
    if entry["state"] == "database_busy" and not verbose:
        found.append((f"driftd status -v{flags}", "see who holds the database"))
    if entry["state"] == "failed":
        found.append((f"driftd stage{flags}", "try again now"))
    if problem := entry.get("problem"):
        found.append((f"driftd explain {escape(problem['code'])}", "learn more"))
    return found


def _verdict(document: Document, look: Look) -> str:
    entries = document["targets"]
    needy = [entry for entry in entries if needs_attention(entry)]
    if document["daemon"].get("problems") and not needy:
        return look.paint("the daemon needs attention", "bold", _RED)
    if not entries:
        return look.paint("no targets are configured", "bold", "yellow")
    # The exit code goes by the daemon's verdict, and the words must not contradict it.
    if document["verdict"] == "healthy":
        return look.paint("all is well", "bold", "green")
    style = _RED if any(state_style(entry) == _RED or entry.get("problem") for entry in needy) else "yellow"
    if len(entries) == 1:
        return look.paint(f"{escape(entries[0]['target'])} needs attention", "bold", style)
    verb = "needs" if len(needy) == 1 else "need"
    return look.paint(f"{len(needy)} of {len(entries)} targets {verb} attention", "bold", style)


def _table(entries: Sequence[Document], look: Look, now: datetime | None) -> list[str]:
    """A line for each target: name, state, for how long, what there is to tell, and the end of its path."""
    rows = [
        (
            look.cut(escape(entry["target"]), _NAME_WIDTH),
            state_word(entry),
            ago(entry.get("since"), now),
            _note(entry),
        )
        for entry in entries
    ]
    widths = [max(cells(row[column]) for row in rows) for column in range(4)]
    room = look.width - 2 - sum(width + 2 for width in widths if width)
    lines = []
    for entry, row in zip(entries, rows, strict=True):
        name, word, *rest = (pad(text, width) for text, width in zip(row, widths, strict=True) if width)
        parts = [look.paint(name, "bold"), look.paint(word, state_style(entry)), *rest]
        path = escape(entry["database"])
        if look.whole or room >= _PATH_WIDTH:
            parts.append(look.paint(path if look.whole else tail(path, room), "dim"))
        lines.append(f"  {'  '.join(parts)}".rstrip())
    return lines


def _note(entry: Document) -> str:
    """The shortest that tells why: what waits, what goes wrong, what is under way, what is planned."""
    waits = [f"{len(entry[word])} {word}" for word in ("blocked", "held") if entry[word]]
    if waits:
        return ", ".join(waits)
    if problem := entry.get("problem"):
        return escape(problem["code"])
    if entry.get("progress"):
        return progress_text({**entry, "busy": ""})
    going = going_of(entry)
    return plural(len(going), "operation") if going else ""


def _more(entry: Document, flags: Flags, *, several: bool) -> str:
    which = flags.which(entry, several=several)
    if flags.reads is None:
        return f"driftd status -v{flags.asks}{which}"
    return f"driftd plan{flags.reads}{which}"


def _daemon(daemon: Document, now: datetime | None) -> Iterable[str]:
    """The daemon's own figures. Those that move are left out where the text will stand for long."""
    up = f"up {age(daemon['uptime_s'])}" if now else f"up since {day_and_time(daemon['started_at'])}"
    yield f"  driftd {escape(daemon['version'])}, pid {daemon['pid']}, {up}, protocol {daemon['protocol']}"
    memory = (daemon.get("memory") or {}).get("rss_bytes")
    figures = [f"memory {size(memory)}"] if memory is not None else []
    for key, text in (("cpu_s", "CPU {:.1f} s"), ("threads", "{} threads"), ("open_files", "{} open files")):
        if daemon.get(key) is not None:
            figures.append(text.format(daemon[key]))
    if figures and now:
        yield f"    {', '.join(figures)}"
    yield f"    socket {escape(daemon['socket'])}"
    config = daemon.get("config")
    yield f"    configuration {escape(config)}" if config else "    no configuration file"


def _holders(told: Document | None, own: int, look: Look) -> list[str]:
    """Who else has the database open: a line for each process, with how it holds it."""
    if told is None:
        return []
    others: dict[int, list[Document]] = {}
    for holder in told["holders"]:
        if holder["pid"] != own:
            others.setdefault(holder["pid"], []).append(holder)
    lines = ["    who else has the database open:" if others else "    nobody else has the database open"]
    for pid, held in others.items():
        ways = ", ".join(dict.fromkeys(escape(one["how"]) for one in held))
        user = escape(held[0].get("user") or "unknown user")
        lines.append(look.cut(f"      pid {pid}, {user}, {ways}: {escape(held[0]['command'])}", look.width))
    if told.get("unseen"):
        unseen = plural(told["unseen"], "process", "processes")
        lines.append(f"      {unseen} may not be looked at by the daemon's user")
    return [look.paint(line, "dim") for line in lines]


def _problems(document: Document, look: Look) -> list[str]:
    lines: list[str] = []
    for problem in document["daemon"].get("problems", ()):
        lines += ["", f"{look.paint('daemon', 'bold')}: {render_error_document(problem, look)}"]
    return [*lines, *_problem_lines(document["targets"], look)]


def _problem_lines(entries: Sequence[Document], look: Look) -> list[str]:
    lines: list[str] = []
    for entry in entries:
        if entry.get("problem"):
            name = look.paint(escape(entry["target"]), "bold")
            lines += ["", f"{name}: {render_error_document(entry['problem'], look)}"]
    return lines
