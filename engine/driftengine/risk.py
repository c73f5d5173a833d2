"""How risky is it to resolve a difference, and does it wait for a person? Pure.

safe: nothing can be lost and no row is judged. guarded: done when a query over the rows finds none that stands in the way.
destructive: something may be lost, so it is held. manual: it cannot be expressed or judged, so it is reported only.
The codes are explained in docs/operations.md.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from driftengine.changes import ADD, BOTH, CHANGE, DATABASE, MODELS, REMOVE, RENAME

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftengine.changes import Backfill, Difference, Facts

SAFE, GUARDED, DESTRUCTIVE, MANUAL = "safe", "guarded", "destructive", "manual"
HOLD, ALLOW, IGNORE = "hold", "allow", "ignore"


# What nobody may allow for a whole table: who allows everything in it has not thought of another's change by hand, or of
# a table or a column that may live on under another name.
_BY_NAME_ALONE = frozenset(
    {"changed-in-database", "conflict", "extra-constraint", "rolled-back", "rename-suspected"}
)
_SHOWN = 120  # characters of one version of an object


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done about a difference.

    `hold` says that it waits for approval; `code` names the rule, `rule` the one for its kind where who moved has put
    another in its place. `holds` are the codes of all rules that hold it, where there is more than `code`.
    """

    kind: str
    risk: str
    code: str
    reason: str
    hold: bool = False
    allowed: bool = False
    rule: str = ""
    holds: tuple[str, ...] = ()

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes that say something about it, the shown one first."""
        return tuple(dict.fromkeys(one for one in (self.code, *self.holds, self.rule) if one))


def judge(
    difference: Difference,
    facts: Facts,
    backfill: Backfill | None,
    *,
    relaxes: bool = False,
    max_calls: int | None = None,
) -> Judgement:
    """The judgement on one difference, after the rule for its kind, and who moved; see `under_policy` for what follows.

    `max_calls` is how often a callable of the models may be called for the values of old rows.
    """
    judgement = _by_kind(difference, facts, backfill, relaxes=relaxes)
    judgement = _by_calls(judgement, difference, facts, backfill, max_calls)
    return _by_origin(judgement, difference)


def _by_kind(d: Difference, facts: Facts, backfill: Backfill | None, *, relaxes: bool) -> Judgement:
    if d.change == RENAME:
        return _rename(d)
    if d.object == "column":
        return _column(d, facts, backfill)
    if d.object in {"primary_key", "option"}:
        return _storage(d, facts)
    if d.object in {"unique", "check", "foreign_key"}:
        return _constraint(d, relaxes=relaxes)
    return _object(d)


def _safe(kind: str, reason: str) -> Judgement:
    return Judgement(kind, SAFE, kind.replace("_", "-"), reason)


def _guarded(kind: str, reason: str) -> Judgement:
    return Judgement(kind, GUARDED, kind.replace("_", "-"), reason)


def _held(kind: str, reason: str, *, code: str = "", risk: str = DESTRUCTIVE) -> Judgement:
    return Judgement(kind, risk, code or kind.replace("_", "-"), reason, hold=True)


def _manual(kind: str, reason: str, *, code: str = "") -> Judgement:
    return Judgement(kind, MANUAL, code or kind.replace("_", "-"), reason, hold=True)


def _rename(d: Difference) -> Judgement:
    kind = f"rename_{d.object}"
    if d.aspect == "refused":
        return _manual(kind, f"the database does not rename it: {d.detail}", code="rename-refused")
    if d.aspect == "exchange":
        reason = (
            "both names are in the database, before and after: whether it has been done cannot be seen; "
            "approve it, or take the hints out of the models"
        )
        return _held(kind, reason, code="rename-exchange", risk=SAFE)
    return _safe(kind, "every row and value stays, and what names it follows")


def _column(d: Difference, facts: Facts, backfill: Backfill | None) -> Judgement:
    if d.change == ADD:
        return _new_column(d, facts, backfill)
    if d.change == REMOVE:
        whose = "the models no longer describe it" if d.known else _never(d)
        held = _held("drop_column", f"{whose}; dropping it loses its values")
        # Who allows drops of columns means those that the models drop.
        return held if d.known else replace(held, holds=("drop-column", "extra-constraint"))
    if d.aspect == "type":
        return _type(d)
    if d.aspect == "not_null":
        return _null(d, facts, backfill)
    if d.aspect == "default":
        return _safe("change_default", "existing rows keep their values")
    if d.aspect == "collation":
        return _guarded("change_collation", "values may compare otherwise under it")
    return _generated(d)


def _new_column(d: Difference, facts: Facts, backfill: Backfill | None) -> Judgement:
    column = d.desired
    if backfill is not None:
        return _safe("add_column", f"old rows get {_given(backfill)}")
    if column.generated is not None:
        return _safe("add_column", "its values are computed")
    if not column.not_null or column.default is not None:
        value = f"old rows read its default {column.default.sql}" if column.default else "old rows hold NULL"
        return _safe("add_column", value)
    if facts.rows.get(d.table, 0):
        return _needs_value("add_column", d)
    return _guarded("add_column", "it is NOT NULL without a default, and the table is empty")


def _given(backfill: Backfill) -> str:
    """Where the value comes from; the function behind a callable is nobody's business."""
    return backfill.source if backfill.callable else f"{backfill.expression} ({backfill.source})"


def _needs_value(kind: str, d: Difference) -> Judgement:
    place = f"{d.table}.{d.name}"
    ways = (
        f"old rows need a value: give a server default, info={{'backfill': 'EXPR'}} on the column, "
        f'"{place}" = "EXPR" under [targets.NAME.backfill], or --backfill {shlex.quote(f"{place}=EXPR")}'
    )
    return _held(kind, ways, code="value-needed", risk=GUARDED)


def values_needed(d: Difference, facts: Facts) -> int:
    """How many old rows need a value for a column that is new and NOT NULL, or becomes NOT NULL."""
    return facts.rows.get(d.table, 0) if d.change == ADD else facts.nulls.get((d.table, d.actual.key), 0)


def _by_calls(
    judgement: Judgement, d: Difference, facts: Facts, backfill: Backfill | None, max_calls: int | None
) -> Judgement:
    """A callable is called once a row, in the models' interpreter; for very many rows SQL has to do it."""
    if backfill is None or not backfill.callable or max_calls is None:
        return judgement
    calls = values_needed(d, facts)
    if calls <= max_calls:
        return judgement
    place = f"{d.table}.{d.name}"
    ways = (
        f"{calls:,} rows need a value, and {backfill.source} is called for at most {max_calls:,}: give SQL that makes "
        f'one for each row, "{place}" = "EXPR" under [targets.NAME.backfill], or --backfill {shlex.quote(f"{place}=EXPR")} '
        "(lower(hex(randomblob(16))) is a random key)"
    )
    return _held(judgement.kind, ways, code="value-needed", risk=GUARDED)


def _type(d: Difference) -> Judgement:
    if d.actual.affinity == d.desired.affinity:
        return _safe("change_type", "both types store every value alike")
    return Judgement(
        "change_type", GUARDED, "convert-column", "done when every value survives the conversion"
    )


def _null(d: Difference, facts: Facts, backfill: Backfill | None) -> Judgement:
    if not d.desired.not_null:
        return _safe("drop_not_null", "every row satisfies it")
    if backfill is not None:
        count = facts.nulls.get((d.table, d.actual.key), 0)
        holding = "1 row holds NULL and gets" if count == 1 else f"{count:,} rows hold NULL and get"
        return _safe("set_not_null", f"{holding} {_given(backfill)}")
    if (d.table, d.actual.key) in facts.nulls:
        return _needs_value("set_not_null", d)
    return _guarded("set_not_null", "done when no row holds NULL")


def _generated(d: Difference) -> Judgement:
    if d.actual.generated is None:
        return _held("change_generated", "the values that are stored would be replaced by computed ones")
    return _safe("change_generated", "computed values are kept or computed again")


def _storage(d: Difference, facts: Facts) -> Judgement:
    if d.aspect == "autoincrement":
        return _safe("change_autoincrement", "every row keeps its key")
    if d.aspect == "strict":
        if d.desired:
            return _guarded("change_strict", "done when every value is of its column's type")
        return _guarded(
            "change_strict", "every value is allowed; done when ANY turns none of them into a number"
        )
    kind = "change_primary_key" if d.object == "primary_key" else "change_storage"
    if facts.rows.get(d.table, 0):
        return _held(kind, "it rewrites the identity of the rows that are there")
    return _guarded(kind, "the table is empty")


def _constraint(d: Difference, *, relaxes: bool) -> Judgement:
    if d.change == REMOVE:
        kind = f"drop_{d.object}"
        if d.known:
            return _safe(kind, "every row satisfies the rest")
        return _held(kind, f"{_never(d)}; somebody may rely on it", code="extra-constraint")
    kind = f"add_{d.object}" if d.change == ADD else f"change_{d.object}"
    if d.change == CHANGE and relaxes:
        return _safe(kind, "every row that satisfied it still does")
    return _guarded(kind, "done when every row satisfies it")


def _object(d: Difference) -> Judgement:
    if d.aspect == "unreadable":
        return _manual("change_table", d.detail, code="unreadable-table")
    if d.aspect == "name taken":
        return _manual(f"create_{d.object}", d.detail, code="name-taken")
    if d.object == "virtual_table" and d.change == CHANGE:
        return _manual("change_virtual_table", "only its module knows how to change it")
    if d.change == ADD:
        kind = f"create_{d.object}"
        return _guarded(kind, "done when no two rows collide") if _is_unique(d) else _safe(kind, d.detail)
    if d.change == CHANGE and d.object == "index" and d.actual.unique and not (d.desired.unique or d.known):
        reason = "it is unique, and the models never said so; somebody may rely on it"
        return _held("change_index", reason, code="extra-constraint")
    if d.change == CHANGE:
        kind = f"change_{d.object}"
        return _guarded(kind, "done when no two rows collide") if _is_unique(d) else _safe(kind, d.detail)
    kind = f"drop_{d.object}"
    if d.object in {"table", "virtual_table"}:
        return _held(kind, "the models no longer describe it; dropping it loses its rows")
    if not d.known:
        return _held(kind, f"{_never(d)}; somebody may rely on it", code="extra-constraint")
    return _safe(kind, "the models no longer describe it, and no row is lost")


def _is_unique(d: Difference) -> bool:
    return d.object == "index" and d.desired.unique


def _never(d: Difference) -> str:
    if d.origin == MODELS:
        return "the models never described it"
    return "somebody made it in the database, and the models never described it"


def _by_origin(judgement: Judgement, d: Difference) -> Judgement:
    """What somebody changed by hand is never silently reverted."""
    if d.origin not in {DATABASE, BOTH}:
        return judgement
    code = "conflict" if d.origin == BOTH else "changed-in-database"
    if judgement.hold:  # what it would lose is said first; that it was done by hand counts beside
        return replace(judgement, holds=(*(judgement.holds or (judgement.code,)), code))
    return replace(judgement, code=code, reason=_who_moved(d), hold=True, rule=judgement.code)


def _who_moved(d: Difference) -> str:
    """Both sides by name, and what it was before."""
    models, database, base = (_short(version) for version in d.versions)
    if d.origin == BOTH:
        was = f", and it was {base}" if base else ""
        return (
            "the models and the database both changed it since driftd last looked: "
            f"the models want {models}, the database has {database}{was}"
        )
    moved = f"from {base} to {database}" if base else f"to {database}"
    still = "what was there" if models == base else models
    return f"somebody changed it in the database, {moved}; the models still want {still}"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def under_policy(judgement: Judgement, d: Difference, policy: Mapping[str, str]) -> Judgement:
    """The configuration's word on the codes and the table; `policy` goes by either, in lower case.

    Where both are named, the more careful word counts: `hold` before `allow` (and `ignore`, see `is_ignored`, before
    both). Each code that holds an operation must be allowed. A table's `allow` does not cover what somebody did by hand.
    What is manual, or lacks a value, cannot be allowed: nobody could do it.
    """
    words = {policy.get(one) for one in (*judgement.codes, d.table) if one}
    if HOLD in words:
        if judgement.hold:
            return judgement
        return replace(judgement, hold=True, reason=f"{judgement.reason} (held by the configuration)")
    if not judgement.hold or judgement.risk == MANUAL or judgement.code == "value-needed":
        return judgement
    of_table = policy.get(d.table) == ALLOW if d.table else False
    holds = dict.fromkeys((judgement.code, *judgement.holds))
    if all(policy.get(one) == ALLOW or (of_table and one not in _BY_NAME_ALONE) for one in holds):
        reason = f"{judgement.reason} (allowed by the configuration)"
        return replace(judgement, hold=False, allowed=True, reason=reason)
    return judgement


def beside_rename(judgement: Judgement, broken: Sequence[str], told: Sequence[str]) -> Judgement:
    """A rename that leaves something broken waits for a person; what else follows from it is only said."""
    reason = "; ".join((judgement.reason, *broken, *told))
    if not broken or judgement.hold:
        return replace(judgement, reason=reason)
    return replace(judgement, code="rename-not-followed", reason=reason, hold=True, rule=judgement.code)


def suspected(judgement: Judgement, reason: str | None) -> Judgement:
    """What may be something else by a new name is not made anew without being asked."""
    if reason is None or judgement.risk == MANUAL:
        return judgement
    if judgement.hold:  # what it lacks is said first
        holds = (*(judgement.holds or (judgement.code,)), "rename-suspected")
        return replace(judgement, reason=f"{judgement.reason}; {reason}", holds=holds)
    return replace(judgement, code="rename-suspected", reason=reason, hold=True, rule=judgement.code)


def drop_suspected(judgement: Judgement) -> Judgement:
    """The drop of what may live on under another name: nobody approves it together with all other drops."""
    holds = (*(judgement.holds or (judgement.code,)), "rename-suspected")
    return replace(judgement, holds=holds) if judgement.hold else judgement


def taken_back_before(judgement: Judgement, told: str | None) -> Judgement:
    """What was rolled back is not done again by itself; `told` says when it was, None that it was not."""
    if told is None or judgement.risk == MANUAL or judgement.code == "value-needed":
        return judgement
    reason = f"{told}, and the models still want it; change them, or approve it"
    holds = judgement.holds or ((judgement.code,) if judgement.hold else ())
    rule = judgement.rule or judgement.code
    return replace(judgement, code="rolled-back", reason=reason, hold=True, rule=rule, holds=holds)


def is_ignored(judgement: Judgement, d: Difference, policy: Mapping[str, str]) -> bool:
    """True when the configuration says to leave this alone: then it is no drift."""
    return any(policy.get(one) == IGNORE for one in (*judgement.codes, d.table) if one)
