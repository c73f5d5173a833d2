"""One target of the status for people: where it stands, what is planned, what is staged, what waits."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import operation_text, painted_sign, sign_of, waiting_lines
from driftd.cli.render.plan import count_line
from driftd.cli.text import Look, cells, duration, escape, plural, size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Entry = Mapping[str, Any]

SHOWN_OPERATIONS = 8
# The colour of each state; what is not listed here was made by a newer daemon and is shown in bold.
_STYLES = {
    "starting": "cyan",
    "in_sync": "green",
    "ready": "green",
    "drifted": "yellow",
    "staging": "yellow",
    "applying": "yellow",
    "held": "yellow",
    "paused": "yellow",
    "database_busy": "yellow",
    "blocked": "red",
    "failed": "red",
    "models_unreadable": "red",
    "database_unreadable": "red",
}
_BUSY = {
    "look": "looking",
    "stage": "staging",
    "apply": "applying",
    "window": "a service starts",
    "order": "carrying out what somebody ordered",
}
_PHASES = {
    "backup": "making a backup",
    "rehearsal": "rehearsing on a copy",
    "rebuild": "rebuilding",
    "restore": "restoring",
}


def state_style(entry: Entry) -> str:
    """The colour that its state has."""
    return _STYLES.get(entry["state"], "bold")


def state_word(entry: Entry) -> str:
    """`in sync`, `models unreadable`."""
    return escape(entry["state"].replace("_", " "))


def age(seconds: float) -> str:
    """Seconds as people tell the age of something: `12 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    big, small, units = (whole // 3600, whole % 3600 // 60, "h min")
    if whole >= 86400:
        big, small, units = (whole // 86400, whole % 86400 // 3600, "d h")
    first, second = units.split()
    return f"{big} {first} {small} {second}" if small else f"{big} {first}"


def moment(text: object) -> datetime | None:
    """An ISO time with its zone (UTC where it names none); None for what is no time."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def clock(text: object, zone: tzinfo | None = None) -> str:
    """`12:34:56` in the zone, the machine's own by default, of an ISO time."""
    found = moment(text)
    return found.astimezone(zone).strftime("%H:%M:%S") if found else escape(text)


def day_and_time(text: object, zone: tzinfo | None = None) -> str:
    """`2026-07-12 09:30`, as `clock`, for what may be long ago."""
    found = moment(text)
    return found.astimezone(zone).strftime("%Y-%m-%d %H:%M") if found else escape(text)


def ago(text: object, now: datetime | None) -> str:
    """How long ago an ISO time was, `3 min`; without a `now`, or of what is no time, nothing."""
    found = moment(text)
    return age((now - found).total_seconds()) if found and now else ""


def going_of(entry: Entry) -> list[Mapping[str, Any]]:
    """The operations that go ahead: neither held nor blocked."""
    plan = entry.get("plan")
    waiting = {item["operation"] for item in (*entry["held"], *entry["blocked"])}
    return [one for one in plan["operations"] if one["id"] not in waiting] if plan else []


def entry_lines(
    entry: Entry, look: Look, *, now: datetime | None, more: str, verbose: bool = False
) -> list[str]:
    """The block of one target.

    Args:
        entry: ENTRY of the status document.
        look: how to write.
        now: what ages are counted to; None where the text will stand for long, which then shows times.
        more: the command that shows the operations which there is no room for.
        verbose: all operations, and what is watched.
    """
    lines = [_head(entry, look, now), look.paint(f"    {_where(entry)}", "dim")]
    lines += _plan(entry, look, more, verbose=verbose)
    lines += _stage(entry.get("stage"), look, now)
    lines += _last(entry.get("last_migration"), look, now, verbose=verbose)
    lines += _started(entry.get("last_window"), look, now)
    lines += [look.wrap(f"not supported: {escape(one)}", 4, 6) for one in entry.get("unsupported", ())]
    lines += [look.wrap(f"warning: {escape(one)}", 4, 6) for one in entry.get("warnings", ())]
    if verbose:
        lines += [look.paint(line, "dim") for line in _watching(entry, look, now)]
    lines += waits_lines(entry, look)
    return lines


def waits_lines(entry: Entry, look: Look) -> list[str]:
    """What is held and what is blocked, with their rows."""
    plan = entry.get("plan")
    operations = {one["id"]: one for one in plan["operations"]} if plan else {}
    lines: list[str] = []
    for key, word, style, verbs in (
        ("held", "Held", "yellow", ("operation waits for a person", "operations wait for a person")),
        ("blocked", "Blocked", "red", ("operation cannot be done", "operations cannot be done")),
    ):
        if entry[key]:
            lines += ["", f"    {look.paint(word, 'bold', style)}: {plural(len(entry[key]), *verbs)}:"]
            lines += waiting_lines(entry[key], operations, look)
    return lines


def operation_rows(
    operations: Sequence[Mapping[str, Any]], look: Look, *, indent: int, approved: Sequence[str] = ()
) -> list[str]:
    """A line for each operation, cut to the width of a terminal: `+ add column priority (task)`."""
    rows = []
    for operation in operations:
        mark = "  approved" if operation["id"] in approved else ""
        # Cut before it is painted: escape sequences take no room on the screen.
        plain = look.cut(operation_text(operation, Look()), look.width - indent - len(mark))
        sign = painted_sign(sign_of(operation["kind"]), look)
        rows.append(f"{' ' * indent}{sign}{plain[1:]}{look.paint(mark, 'yellow')}")
    return rows


def progress_text(entry: Entry) -> str:
    """What is under way, `staging: making a backup, 45 %`, or nothing."""
    work = _BUSY.get(entry.get("busy", ""), escape(entry.get("busy", "")))
    told = entry.get("progress")
    if not told:
        return work
    phase = _PHASES.get(told["phase"], escape(told["phase"]))
    share = f", {100 * told['done'] // told['total']} %" if told.get("total") else ""
    return f"{work}: {phase}{share}" if work else f"{phase}{share}"


def _head(entry: Entry, look: Look, now: datetime | None) -> str:
    since = ago(entry.get("since"), now)
    told = (
        f" for {since}" if since else f" since {day_and_time(entry['since'])}" if entry.get("since") else ""
    )
    work = progress_text(entry)
    # A state that says what is done need not say it twice.
    work = work.removeprefix(state_word(entry)).removeprefix(": ")
    word = look.paint(state_word(entry), "bold", state_style(entry))
    name = look.paint(escape(entry["target"]), "bold")
    return f"  {name}  {word}{told}" + (f"  ({work})" if work else "")


def _where(entry: Entry) -> str:
    database = escape(entry["database"]) if entry.get("database") else "not looked at yet"
    return f"{database}  ({escape(entry['mode'])} mode)"


def _plan(entry: Entry, look: Look, more: str, *, verbose: bool) -> list[str]:
    plan = entry.get("plan")
    if not plan or not plan["operations"]:
        count = entry.get("differences") or 0
        return [f"    {plural(count, 'difference')}"] if count and not entry.get("in_sync") else []
    going = going_of(entry)
    counted = count_line(going, len(entry["held"]), len(entry["blocked"])).removeprefix("Plan: ")
    if not going:
        counted = (
            f"nothing goes ahead{counted[counted.find(';') :]}" if ";" in counted else "nothing goes ahead."
        )
    lines = [f"    plan {escape(plan['id'])}: {counted}"]
    # One line more is no longer than the line which says that there is one more.
    shown = going if verbose or len(going) <= SHOWN_OPERATIONS else going[: SHOWN_OPERATIONS - 1]
    lines += operation_rows(shown, look, indent=6, approved=entry.get("approved", ()))
    if len(shown) < len(going):
        lines.append(f"      … and {len(going) - len(shown)} more: {look.paint(more, 'cyan')}")
    return lines


def _stage(stage: Mapping[str, Any] | None, look: Look, now: datetime | None) -> list[str]:
    if not stage:
        return []
    parts = [
        look.paint(escape(stage["freshness"]), "yellow" if stage["freshness"] == "stale" else "green"),
        f"{age(stage['age_s'])} old" if now else f"made at {clock(stage['made_at'])}",
    ]
    if stage.get("apply_ms") is not None:
        parts.append(f"applies in about {duration(stage['apply_ms'])}")
    window = f"the {stage['window_s']:g} s window"
    parts.append(f"fits {window}" if stage["fits_window"] else look.paint(f"does not fit {window}", "yellow"))
    lines = [f"    stage: {', '.join(parts)}"]
    if backup := stage.get("backup"):
        told = f"    backup: {escape(backup['id'])}, {size(backup['size_bytes'])}"
        lines.append(look.paint(told, "dim"))
    return lines


def _last(
    migration: Mapping[str, Any] | None, look: Look, now: datetime | None, *, verbose: bool
) -> list[str]:
    if not migration:
        return []
    since = ago(migration["at"], now)
    when = f"{since} ago" if since else day_and_time(migration["at"])
    told = f"last migration: {when}, {plural(migration['operations'], 'operation')}"
    told += f", {escape(migration['migration_id'])}"
    if verbose and migration.get("allowed_by"):
        by = escape(migration["allowed_by"])
        told += f", {by}" if by.startswith("approved by ") else f", allowed by {by}"
    return [look.paint(look.wrap(told, 4, 6), "dim")]


def _started(window: Mapping[str, Any] | None, look: Look, now: datetime | None) -> list[str]:
    """The last startup window, in full where it did not end well: the service has gone on without what it needs."""
    if not window:
        return []
    since = ago(window["at"], now)
    when = f"{since} ago" if since else day_and_time(window["at"])
    line = look.wrap(f"last start of the service: {when}, {window_text(window)}", 4, 6)
    return [line if window.get("error") else look.paint(line, "dim")]


def window_text(window: Mapping[str, Any]) -> str:
    """`up to date, answered in 0.4 ms`; of one that did not end well also why."""
    outcome = escape(window["outcome"].replace("_", " "))
    error = window.get("error")
    told = f": {escape(error['what'])}; {escape(error['why'])}" if error else ""
    return f"{outcome}, answered in {duration(window['duration_ms'])}{told}"


def _watching(entry: Entry, look: Look, now: datetime | None) -> list[str]:
    watching = entry.get("watching") or {"files": 0, "folders": 0, "polled": []}
    files, folders = plural(watching["files"], "file"), plural(watching["folders"], "folder")
    looked = ago(entry.get("looked_at"), now)
    lines = [f"    watching {files} in {folders}" + (f", looked {looked} ago" if looked else "")]
    lines += [f"    polled, cannot be watched: {escape(folder)}" for folder in watching["polled"]]
    if entry.get("accepted"):
        lines.append(f"    {plural(entry['accepted'], 'difference')} accepted as they are, by driftd adopt")
    if entry.get("unmanaged"):
        lines.append(f"    {plural(entry['unmanaged'], 'unmanaged object')}, left alone")
    if entry.get("approved"):
        lines.append(look.wrap(f"approved: {', '.join(map(escape, entry['approved']))}", 4, 6))
    return lines


def pad(text: str, width: int) -> str:
    """The text with spaces behind it, as wide as `width` columns."""
    return text + " " * (width - cells(text))


def tail(path: str, width: int) -> str:
    """The end of a path, which tells most of it, in at most `width` columns."""
    if cells(path) <= width:
        return path
    kept = path
    while cells(kept) > width - 3:
        kept = kept[1:]
    return f"...{kept}"
