"""What a check finds. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from driftengine.errors import DriftError

Severity = Literal["problem", "warning", "note"]

PROBLEM: Severity = "problem"  # something does not work, or will not when it is needed
WARNING: Severity = "warning"  # it works, and a person should know
NOTE: Severity = "note"  # nothing is asked of anybody
_ORDER: tuple[Severity, ...] = (PROBLEM, WARNING, NOTE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One of them.

    Args:
        severity: `problem`, `warning` or `note`.
        code: stable, in kebab case; `driftd explain CODE` tells more.
        what: what is the case, one sentence without a full stop.
        why: the cause, as far as it is known.
        fix: what to do, a command where there is one; "" where nothing is asked of anybody.
        target: the target that it concerns, None for the machine or the daemon.
    """

    severity: Severity
    what: str
    code: str
    why: str = ""
    fix: str = ""
    target: str | None = None

    def of(self, target: str) -> Finding:
        """The same finding of a target."""
        return replace(self, target=target)

    def as_document(self) -> dict[str, str | None]:
        """As it stands in JSON."""
        names = ("severity", "code", "target", "what", "why", "fix")
        return {name: getattr(self, name) for name in names}


def problem(what: str, *, code: str, why: str = "", fix: str = "") -> Finding:
    """Something does not work."""
    return Finding(PROBLEM, what, code, why, fix)


def warning(what: str, *, code: str, why: str = "", fix: str = "") -> Finding:
    """It works, and a person should know."""
    return Finding(WARNING, what, code, why, fix)


def note(what: str, *, code: str, why: str = "", fix: str = "") -> Finding:
    """Nothing is asked of anybody."""
    return Finding(NOTE, what, code, why, fix)


def from_error(error: DriftError, severity: Severity = PROBLEM) -> Finding:
    """What an error of the engine or of the configuration says."""
    return Finding(severity, error.what, error.code, error.why, error.fix)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, each once; of the same severity in the order in which they were found."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda one: _ORDER.index(one.severity))
