"""`doctor`: one line when all is well, else each finding with its cause and the command that puts it right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.text import Look, cells, escape, plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STYLES = {"problem": ("bold", "red"), "warning": ("bold", "yellow"), "note": ("bold", "blue")}


def render_doctor(document: Mapping[str, Any], look: Look, *, verbose: bool = False) -> str:
    """The verdict, and the findings; notes where they are asked for."""
    findings = document["findings"]
    shown = [one for one in findings if verbose or one["severity"] != "note"]
    several = len(document["targets"]) > 1
    lines = [_verdict(document, look, verbose=verbose)]
    for one in shown:
        lines += ["", *_finding_lines(one, look, several=several)]
    return "\n".join(lines)


def _verdict(document: Mapping[str, Any], look: Look, *, verbose: bool) -> str:
    counts = _counts(document["findings"])
    told = [plural(counts[kind], kind) for kind in ("problem", "warning") if counts[kind]]
    around = [plural(len(document["targets"]), "target"), _daemon(document["daemon"])]
    if counts["note"]:
        around.append(plural(counts["note"], "note") + ("" if verbose else " (-v shows)"))
    head, style = ", ".join(told), "red"
    if not counts["problem"]:
        head, style = (f"no problem, {head}", "yellow") if told else ("all is well", "green")
    return f"{look.paint(head, 'bold', style)}: {', '.join(around)}"


def _counts(findings: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {kind: sum(one["severity"] == kind for one in findings) for kind in _STYLES}


def _daemon(about: Mapping[str, Any] | None) -> str:
    return f"daemon {escape(about['version'])} running" if about else "no daemon"


def _finding_lines(finding: Mapping[str, Any], look: Look, *, several: bool) -> list[str]:
    """`problem[CODE]: what`, then why and the fix, as errors look. A fix is never wrapped: it is there to be pasted."""
    kind = f"{finding['severity']}[{escape(finding['code'])}]"
    of = f"{escape(finding['target'])}: " if several and finding["target"] else ""
    head = look.wrap(f"{kind}: {of}{escape(finding['what'])}", 0, 2)
    lines = [head.replace(kind, look.paint(kind, *_STYLES[finding["severity"]]), 1)]
    lines += [look.wrap(escape(line), 2) for line in finding["why"].splitlines() if line]
    for index, line in enumerate(finding["fix"].splitlines()):
        label = "fix: " if index == 0 else " " * cells("fix: ")
        lines.append(f"  {look.paint(label, 'green') if index == 0 else label}{escape(line)}")
    return lines
