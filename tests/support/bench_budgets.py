"""What is promised in figures: each budget once, in words and as limits that a measured row is held against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from support.bench_record import Figures, Row

# How a row is held against a limit, always by the first rival beside it.
FASTER = "faster"  # the rival takes at least so many times as long
AT_MOST = "at most"  # the median, in the row's unit
P99 = "p99"  # the 99th percentile, in the row's unit
SHARE = "share"  # at most so many times what the rival takes
OVER = (
    "over"  # at most so much more than what the rival takes, in the row's unit, besides the row's allowance
)

YES, LEAST, NO, NONE = "yes", "by the least", "no", ""


@dataclass(frozen=True, slots=True)
class Budget:
    """One promise: `text` in words, and the limits, each of a kind, in the unit of its rows."""

    text: str
    limits: tuple[tuple[str, float], ...]
    unit: str = "ms"

    @property
    def told(self) -> str:
        """The limits as they are shown."""
        return ", ".join(_TOLD[kind](limit, self.unit) for kind, limit in self.limits)


BUDGETS: Mapping[str, Budget] = {
    "look": Budget(
        "in-sync answer in a running process, nothing changed, 15 to 1,000 tables, over Alembic's compare",
        ((FASTER, 100),),
    ),
    "look-changed": Budget("the same, one table changed, without asking for the models", ((FASTER, 10),)),
    "cold-check": Budget(
        "driftd check, a whole process, models unchanged since last time", ((AT_MOST, 100),)
    ),
    "socket": Budget("status, or a window in sync, over the socket", ((AT_MOST, 1), (P99, 5))),
    "exec": Budget("driftd exec over bare python -c pass, besides the window", ((OVER, 10),)),
    "client": Budget("importing the client, beside importing socket and json", ((SHARE, 1.3),)),
    "window": Budget("a plan of constant time in a window, fresh stage, 1 MB to 5 GB", ((AT_MOST, 50),)),
    "window-growth": Budget("the same beside that at 1 MB", ((SHARE, 2),)),
    "exact": Budget(
        "default, CHECK, foreign key or nullability on a large table, exact stage, over Alembic batch",
        ((FASTER, 100),),
    ),
    "guarded": Budget("tightened with its guard inside the window, over Alembic batch", ((FASTER, 3),)),
    "rebuild": Budget("a table that must be copied: not slower than Alembic batch", ((FASTER, 1),)),
    "idle-memory": Budget("an idle daemon with one target: resident memory", ((AT_MOST, 45),), "MB"),
    "idle-processor": Budget("the same: processor", ((AT_MOST, 0.1),), "%"),
    "idle-wake-ups": Budget("the same: wake-ups, beside what the documented timers make", ((SHARE, 1.1),)),
}

_TOLD: Mapping[str, Callable[[float, str], str]] = {
    FASTER: lambda limit, _: f"≥ {limit:g}x",
    AT_MOST: lambda limit, unit: f"≤ {limit:g} {unit}",
    P99: lambda limit, unit: f"p99 ≤ {limit:g} {unit}",
    SHARE: lambda limit, _: f"≤ {limit:g} of it",
    OVER: lambda limit, unit: f"≤ +{limit:g} {unit}",
}


def limits_of(row: Row) -> str:
    """The row's limits as they are shown; "" without a budget."""
    if not row.budget:
        return ""
    return BUDGETS[row.budget].told


def ratio_of(row: Row) -> str:
    """The row beside its rival: `12x` faster, `1.05 of it`, `+9.1 ms`; "" without one."""
    if row.theirs is None:
        return ""
    kinds = {kind for kind, _ in BUDGETS[row.budget].limits} if row.budget else {FASTER}
    ours, theirs = row.ours.median, row.theirs.median
    if OVER in kinds:
        return f"+{ours - theirs - row.allowance:.1f} {row.unit}"
    if SHARE in kinds or not row.rates:
        return f"{ours / theirs:.2f} of it" if theirs and row.unit else ""
    times = theirs / ours if ours else 0.0
    return f"{times:,.0f}x" if times >= 20 else f"{times:.1f}x"


def verdict(row: Row) -> str:
    """`yes`, `by the least` (of all tries, where the medians miss it: a disturbed machine), `no`, or "" without a budget."""
    if not row.budget:
        return NONE
    limits = BUDGETS[row.budget].limits
    if all(_holds(row, limit, lambda one: one.median) for limit in limits):
        return YES
    return LEAST if all(_holds(row, limit, lambda one: one.least) for limit in limits) else NO


def _holds(row: Row, limit: tuple[str, float], of: Callable[[Figures], float]) -> bool:
    """Whether one limit is kept, by the medians or by the leasts."""
    kind, bound = limit
    ours = of(row.ours)
    if kind == P99:
        return row.ours.p99 <= bound
    if kind == AT_MOST:
        return ours <= bound
    if row.theirs is None:
        return False
    theirs = of(row.theirs)
    if kind == FASTER:
        return theirs >= bound * ours
    return ours <= theirs * bound if kind == SHARE else ours <= theirs + row.allowance + bound
