"""`check` for people: the verdict first."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import (
    by_hand,
    database_of,
    grouped,
    hints,
    painted_sign,
    sign_of,
    table_heading,
)
from driftd.cli.text import Look, duration, escape, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render_check(document: Mapping[str, Any], look: Look, *, flags: str = "", verbose: bool = False) -> str:
    """Verdict, differences by table, unmanaged objects in one line, time, and the next command."""
    lines = [_verdict(document, look), look.paint(f"  {database_of(document)}", "dim")]
    for table, differences in grouped(document["differences"]).items():
        lines += ["", table_heading(table, look)]
        for difference in differences:
            lines += difference_lines(difference, look)
    lines += _unsupported(document.get("unsupported", ()), look)
    lines += _left_out(document.get("accepted", ()), "Accepted as it is", look, verbose=verbose)
    lines += _left_out(document.get("ignored", ()), "Ignored", look, verbose=verbose)
    lines += _unmanaged(document["unmanaged"], look, verbose=verbose)
    if verbose:
        lines += ["", *_timings(document["timings_ms"])]
    if not document["in_sync"]:
        lines += hints(
            [(f"driftd plan{flags}", "see what would be done"), *by_hand(document["differences"], flags)],
            look,
        )
    return "\n".join(lines)


def _left_out(differences: Sequence[Mapping[str, Any]], told: str, look: Look, *, verbose: bool) -> list[str]:
    """Differences that are none, in a line: what was agreed to, what the configuration leaves out."""
    if not differences:
        return []
    count = plural(len(differences), "difference")
    lines = ["", look.paint(f"  {told}: {count}" + ("" if verbose else " (-v lists them)"), "dim")]
    for table, found in grouped(differences).items() if verbose else ():
        block = [table_heading(table, look), *(line for one in found for line in difference_lines(one, look))]
        lines += [f"    {line}" for text in block for line in text.split("\n")]
    return lines


def _verdict(document: Mapping[str, Any], look: Look) -> str:
    name = look.paint(escape(document["target"]), "bold")
    took = duration(total_ms(document["timings_ms"]))
    if document["in_sync"]:
        return f"{name} is {look.paint('in sync', 'bold', 'green')} with its models ({took})"
    count = len(document["differences"])
    state = document["state"] if document["state"] in {"held", "blocked"} else ""
    suffix = f", {state}" if state else ""
    counted = plural(count, "difference")
    return f"{name} has {look.paint('drifted', 'bold', 'yellow')}: {counted}{suffix} ({took})"


def total_ms(timings: object) -> float:
    """The whole time: the entry `total`, else the sum of all; or the number itself."""
    if isinstance(timings, dict):
        numbers = {key: value for key, value in timings.items() if isinstance(value, (int, float))}
        return float(numbers.get("total", sum(numbers.values())))
    return float(timings) if isinstance(timings, (int, float)) else 0.0


def difference_lines(difference: Mapping[str, Any], look: Look) -> list[str]:
    """A difference in a line or two: sign, what, who moved where that were not the models, and the detail."""
    sign = painted_sign(sign_of(difference["change"]), look)
    kind = escape(difference["object"].replace("_", " "))
    name = difference["name"]
    label = f"{kind} {escape(name)}" if name and name != difference["table"] else kind
    origin = "" if difference["origin"] == "models" else f"  (changed in: {escape(difference['origin'])})"
    head = f"    {sign} {label}{look.paint(origin, 'yellow')}"
    detail = escape(difference["detail"])
    if not detail:
        return [head]
    if len(label) + len(origin) + len(detail) + 10 <= look.width:
        return [f"{head}  {look.paint(detail, 'dim')}"]
    return [head, look.paint(look.wrap(detail, 8), "dim")]


def _unsupported(sentences: Sequence[str], look: Look) -> list[str]:
    """Tables of the models that this kind of database cannot have."""
    lines = [look.wrap(f"{look.paint('not supported', 'yellow')}: {escape(one)}", 2, 4) for one in sentences]
    return ["", *lines] if lines else []


def _unmanaged(unmanaged: Sequence[Mapping[str, Any]], look: Look, *, verbose: bool) -> list[str]:
    if not unmanaged:
        return []
    counts = Counter(item["type"] for item in unmanaged)
    summary = ", ".join(
        plural(count, kind, "indexes" if kind == "index" else "") for kind, count in sorted(counts.items())
    )
    lines = ["", f"  Unmanaged, left alone: {summary}" + ("" if verbose else " (-v lists them)")]
    if verbose:
        lines += [f"      {escape(item['type'])} {escape(item['name'])}" for item in unmanaged]
    return [look.paint(line, "dim") for line in lines]


def _timings(timings: object) -> list[str]:
    if not isinstance(timings, dict):
        return []
    return [f"  {escape(name):<12} {duration(value)}" for name, value in timings.items()]
