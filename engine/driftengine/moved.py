"""What somebody changed in the database by hand: agreed upon (`adopt`), or taken back (`revert`).

Adopting writes one row of the history and nothing else; reverting is an apply of just these operations.
"""

from __future__ import annotations

import difflib
import time
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from driftengine import accepted, ahead, documents, history, journal
from driftengine.applied import Request
from driftengine.apply import Applier
from driftengine.approvals import Approval, given_if_readable
from driftengine.backup_files import folder_for
from driftengine.changes import MODELS, REMOVE, RENAME, rename_of
from driftengine.choice import UP_TO_DATE, database_id_of
from driftengine.desired import read_desired
from driftengine.dialects.chosen import DIALECT, named, opened
from driftengine.diff.naming import dotted_names, names_of, plain_names
from driftengine.errors import PlanError
from driftengine.packed import Base
from driftengine.recording import Records
from driftengine.renames import concerned
from driftengine.risk import MANUAL
from driftengine.survey import in_their_place, survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftengine.changes import Difference
    from driftengine.desired import Desired
    from driftengine.dialects.base import Database
    from driftengine.dialects.sqlite.database import SqliteDatabase
    from driftengine.documents import Document
    from driftengine.operations import Operation
    from driftengine.stage import Progress
    from driftengine.survey import Survey
    from driftengine.target import Target

ADOPTED = "adopted"
ADOPT = "adopt"  # the kind of its history row
# Who goes back agrees to these; what an operation would lose besides is another thing.
_AGREED = frozenset({"changed-in-database", "conflict", "extra-constraint"})


@dataclass(frozen=True, slots=True)
class Meant:
    """What the words mean: differences as they stand, and those among the accepted that are named too."""

    differences: tuple[Difference, ...]
    accepted: tuple[Difference, ...] = ()


# --- what the words mean


def meant(found: Survey, words: Sequence[str], *, strangers: bool) -> Meant:
    """The differences that the words name, each an operation's id, `table` or `table.name`; none mean all by hand.

    Without words, what nobody knows when it came about counts only with `strangers`. Raises PlanError: `word-unknown` for
    a word that names nothing, `not-by-hand` where it names only what the models have changed.
    """
    if not words:
        wanted = (d for d in found.drift.differences if d.by_hand and (strangers or d.origin != MODELS))
        return Meant(tuple(wanted))
    ids = {found.plan.operation_id(o.number): o.difference for o in found.plan.operations}
    chosen: list[Difference] = []
    agreed: list[Difference] = []
    for word in words:
        if word in ids:
            chosen.append(ids[word])
            continue
        here = [d for d in found.drift.differences if _named(d, word)]
        agreed_here = [d for d in found.drift.accepted if _named(d, word)]
        by_hand = [d for d in here if d.by_hand]
        if not by_hand and not agreed_here:
            raise _not_by_hand(found, word, here) if here else _unknown(found, word, ids)
        chosen += by_hand
        agreed += agreed_here
    return Meant(_once(chosen), _once(agreed))


def _named(d: Difference, word: str) -> bool:
    return word.lower() in {*plain_names(d), *dotted_names(d)}


def _once(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple({id(d): d for d in differences}.values())


def _not_by_hand(found: Survey, word: str, here: Sequence[Difference]) -> PlanError:
    ids = [found.plan.operation_id(o.number) for o in found.plan.operations if o.difference in here]
    what = ", ".join(f"{d.object.replace('_', ' ')} {d.name}" for d in here[:3])
    return PlanError(
        f"nothing of {word} was changed by hand",
        code="not-by-hand",
        why=f"the models have changed since: {what}",
        fix=f"`driftd apply` takes that forward; to keep the database as it is, name it by its id: {' '.join(ids[:3])}",
    )


def _unknown(found: Survey, word: str, ids: Mapping[str, Difference]) -> PlanError:
    drift = found.drift
    if any(_named(d, word) for d in drift.ignored):
        why = "the configuration ignores it (`ignore` or `policy`)"
        return PlanError(
            f"{word} names no drift", code="word-unknown", why=why, fix="take it out of there first"
        )
    plan, _, number = word.rpartition("-")
    if plan and number.isdigit() and word not in ids:
        why = f"the plan is now {found.plan.id}, with {len(found.plan.operations)} operations"
    else:
        known = {name for d in (*drift.differences, *drift.accepted) if d.by_hand for name in names_of(d)}
        near = difflib.get_close_matches(word.lower(), sorted(known), n=3, cutoff=0.5)
        nothing = (
            "nothing was changed by hand" if not known else "nothing that was changed by hand is called so"
        )
        why = f"the nearest are {', '.join(near)}" if near else nothing
    fix = "`driftd check` shows what was changed by hand; name it as table or table.name"
    return PlanError(f"{word} names nothing that differs", code="word-unknown", why=why, fix=fix)


# --- adopt


def adopt(
    target: Target, words: Sequence[str] = (), *, allowed_by: str = "", desired: Desired | None = None
) -> Document:
    """Agrees to differences as they stand now: until either side moves them again, they are no drift.

    `words` are operation ids, `table` or `table.name`; none mean everything that was changed by hand. Returns the head,
    `outcome` (`adopted`, or `up_to_date` where there was nothing to agree to), `adopted`, `accepted` (all that hold) and
    `left` (what else was changed by hand), each difference with the `names` to type; `in_sync`, `entry` (the row of the
    history) and `warnings`. Raises PlanError (`word-unknown`, `not-by-hand`), and all that a check raises; BusyError where
    somebody keeps the lock.
    """
    desired = desired or read_desired(target.models)
    with closing(opened(target.url, target.models.directory)) as database:
        if database.state() != "present":
            raise PlanError(
                f"there is nothing in {database.name} to agree to",
                code="not-by-hand",
                why="the database is missing or empty",
                fix="`driftd apply` makes it",
            )
        records = Records(DIALECT, target, desired, allowed_by)
        found = survey(DIALECT, database, target, desired)
        asked = meant(found, words, strangers=True)
        entry = None
        if asked.differences:
            with database.transaction(
                deadline_at=None, lock_wait=target.window_timeout, values={}
            ) as transaction:
                # Under the lock: what is agreed to is what stands there now, not what stood there at the first look.
                found = survey(DIALECT, database, target, desired)
                asked = meant(found, words, strangers=True)
                if not asked.differences:
                    return _adopted(target, database, found, asked, None, records.warnings)
                names = {rename_of(d) for d in asked.differences if d.change == RENAME}
                follows = in_their_place(DIALECT, found, target.ignore, names)
                entry = _entry(found, (*asked.differences, *follows), desired, allowed_by)
                entry = history.append(transaction.writer(), entry)
                transaction.commit()
            records.write_journal(database, (*found.entries, entry))
            found = survey(DIALECT, database, target, desired)
        return _adopted(target, database, found, asked, entry, records.warnings)


def _entry(found: Survey, adopted: Sequence[Difference], desired: Desired, allowed_by: str) -> history.Entry:
    left = (o.difference for o in found.plan.operations)
    return history.Entry(
        ADOPT,
        journal.timestamp(datetime.now(UTC)),
        database_id_of(found),
        allowed_by=allowed_by,
        evidence={
            **accepted.remembered(left, found.drift, adopted),
            "adopted": [d.as_document() for d in adopted],
        },
        versions=ahead.versions_of(DIALECT, desired),
        base=Base(found.actual.stored, desired.stored),
    )


def _adopted(
    target: Target,
    database: Database,
    found: Survey,
    asked: Meant,
    entry: history.Entry | None,
    warnings: Sequence[str],
) -> Document:
    return {
        **documents.head(target, database.name),
        "outcome": UP_TO_DATE if entry is None else ADOPTED,
        "adopted": [_told(d, found) for d in asked.differences],
        "accepted": [_told(d, found) for d in found.drift.accepted],
        "left": [_told(d, found) for d in found.drift.differences if d.by_hand],
        "in_sync": found.in_step,
        "entry": entry.id if entry is not None else None,
        "warnings": list(warnings),
    }


def _told(d: Difference, found: Survey) -> Document:
    return {**documents.difference(d, found), "names": list(names_of(d))}


# --- revert


def revert(
    target: Target,
    words: Sequence[str] = (),
    *,
    approve: Sequence[str] = (),
    dry_run: bool = False,
    allowed_by: str = "",
    in_use: bool = False,
    desired: Desired | None = None,
    progress: Progress | None = None,
) -> Document:
    """Takes back what somebody changed in the database by hand: an apply of these operations and no others.

    `words` as in `adopt`; none mean everything that is known to have been changed by hand since driftd last looked. What was
    accepted before may be named too. Whoever reverts agrees to the way back; what would lose values on it is held all the
    same, and done with `approve` (ids or codes). `desired`: what `api.load` has returned. Returns apply's document. Raises all that `adopt` and an apply raise.
    """
    started = time.monotonic()
    desired, name = desired or read_desired(target.models), named(target.url, target.models.directory)
    with closing(opened(target.url, target.models.directory)) as database:
        found = survey(DIALECT, database, target, desired)
        asked = meant(found, words, strangers=False)
        disputed = frozenset(map(accepted.key_of, asked.accepted))
        if disputed:
            found = survey(DIALECT, database, target, desired, disputed=disputed)
        chosen = _operations(found, (*asked.differences, *asked.accepted))
        if not chosen:
            took = round((time.monotonic() - started) * 1000, 3)
            return {**documents.nothing_applied(target, name, UP_TO_DATE, took), "dry_run": dry_run}
        agreed = agreed_to(database, found, chosen)
    plan = found.plan
    folder = folder_for(target.backup.directory, name)
    standing = dict(given_if_readable(folder))
    standing[plan.id] = {
        **{plan.operation_id(number): Approval("revert", 0) for number in agreed},
        **standing.get(plan.id, {}),
    }
    request = Request(
        plan.id, tuple(approve), dry_run, allowed_by,
        standing=standing, in_use=in_use, only=tuple(plan.operation_id(o.number) for o in chosen),
    )  # fmt: skip

    def fresh() -> AbstractContextManager[SqliteDatabase]:
        return closing(
            opened(target.url, target.models.directory, tidy=not dry_run, lock_wait=target.window_timeout)
        )

    applier = Applier(DIALECT, fresh, target, desired, request, progress)
    if disputed:
        applier.look = lambda one: survey(DIALECT, one, target, desired, disputed=disputed)
    done = applier.apply()
    held = documents.held_documents(
        DIALECT,
        lambda: closing(opened(target.url, target.models.directory)),
        done.plan,
        done.held,
        done.blocked,
        done.in_use,
    )
    return documents.applied(target, name, done, held, dry_run=dry_run)


def _operations(found: Survey, wanted: Sequence[Difference]) -> list[Operation]:
    """The operations for these differences, with what they need and was changed by hand as well."""
    keys = set(map(accepted.key_of, wanted))
    numbers = {o.number for o in found.plan.operations if accepted.key_of(o.difference) in keys}
    by_number = {o.number: o for o in found.plan.operations}
    left = list(numbers)
    while left:
        for number in by_number[left.pop()].needs - numbers:
            if by_number[number].difference.by_hand:
                numbers.add(number)
                left.append(number)
    return [by_number[number] for number in sorted(numbers)]


def agreed_to(database: Database, found: Survey, chosen: Sequence[Operation]) -> tuple[int, ...]:
    """The numbers of what goes ahead because somebody wants the way back: held for who moved, or a column without values.

    Raises DatabaseError.
    """
    return tuple(o.number for o in chosen if o.judgement.hold and _is_agreed(database, found, o))


def _is_agreed(database: Database, found: Survey, operation: Operation) -> bool:
    judgement, d = operation.judgement, operation.difference
    holds = {*(judgement.holds or (judgement.code,))} - _AGREED
    if judgement.risk == MANUAL or holds - {"drop-column"}:
        return False
    if not holds:
        return True
    query = concerned(DIALECT, d, found.actual, found.drift.renames) if d.change == REMOVE else None
    return query is not None and database.offending(query).count == 0
