"""Can the models be loaded, by the interpreter that is configured, within the time that a starting service has?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from driftd.doctor.findings import Finding, from_error, note, problem, warning
from driftd.doctor.policies import check_policy
from driftengine.desired import Desired, read_desired
from driftengine.errors import ModelsError

if TYPE_CHECKING:
    from driftd.doctor.subject import Subject

MARGIN_S = 2.0  # what the examination waits beyond the probe's own limit


def limit_of(subject: Subject) -> float:
    """Seconds that loading may take: a starting service would not wait for longer either."""
    return min(subject.target.models.timeout, subject.target.window_timeout)


def check_models(subject: Subject) -> list[Finding]:
    """Loads them by the real probe."""
    limit = limit_of(subject)
    try:
        desired = read_desired(replace(subject.target.models, timeout=limit))
    except ModelsError as error:
        if error.code == "models-timeout" and limit < subject.target.models.timeout:
            return [_slow(limit, error)]
        return [from_error(error)]
    return [*judged(desired, subject), *check_policy(desired, subject)]


def judged(desired: Desired, subject: Subject) -> list[Finding]:
    """What is to be said of models that could be loaded."""
    found = [
        note(f"of the models, one table is left out: {told}", code="table-unsupported")
        for told in desired.unsupported
    ]
    if not any(stored.type == "table" for stored in desired.stored):
        specs = ", ".join(subject.target.models.specs)
        found.append(
            problem(
                f"the models {specs} describe no table",
                code="models-empty",
                why="the modules that define the tables are perhaps not imported by the one that is named",
                fix="name the modules that define them in `models`, or import them in that module",
            )
        )
    return found


def _slow(limit: float, error: ModelsError) -> Finding:
    return warning(
        "the models take longer to load than a starting service waits",
        code="models-slow",
        why=f"after {limit:g} s {error.why}; where they changed just before a start, the migration comes one start later",
        fix="keep what waits or serves out of the import, or raise `window.timeout`",
    )
