"""Approvals that survive whoever was told of them: lines of the journal, each bound to one plan.

They end with that plan: by a migration, or as soon as a session finds another one. What was approved for the rows that
were shown is not approved for more of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from driftengine import journal
from driftengine.backup_files import journal_of, make_folder, stranger_in
from driftengine.errors import BusyError, HistoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from driftengine.journal import Record

APPROVED, WITHDRAWN = "approved", "withdrawn"


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved an operation, and how many rows it concerned then; None where nobody had counted them."""

    by: str
    count: int | None = None


Given: TypeAlias = "Mapping[str, Mapping[str, Approval]]"  # by plan id, then by an operation's id


def given(folder: Path) -> Given:
    """The approvals that stand, by plan id and an operation's id. Raises HistoryError, BusyError.

    Nothing that came before the last migration, rollback or restore: a plan may come again after one of these (what was
    rolled back is wanted by the models still), and nobody has approved that. Nothing of a plan that was withdrawn since.
    Nothing either from a folder in which a stranger could have approved it: HistoryError (`journal-open`).
    """
    _require_ours(folder)
    found = journal.read(journal_of(folder))
    return standing(found.records, found.breaks)


def given_if_readable(folder: Path) -> Given:
    """As `given`; where the journal cannot be read nothing is approved, and whoever writes to it says why."""
    try:
        return given(folder)
    except (HistoryError, BusyError):
        return {}


def standing(records: Sequence[Record], breaks: Sequence[int] = ()) -> Given:
    """The approvals among the lines of a journal that still hold.

    None from before a line that cannot be read (`breaks`, as in a Journal): it may have withdrawn them.
    """
    found: dict[str, dict[str, Approval]] = {}
    for record in records[max(breaks, default=0) :]:
        if record.event == APPROVED:
            _add(found.setdefault(str(record.detail.get("plan_id")), {}), record.detail)
        elif record.event == WITHDRAWN:
            for plan in record.detail.get("plans", ()):
                found.pop(str(plan), None)
        elif record.event == "restored" or (
            record.detail.get("hash") and record.detail.get("kind") != "meeting"
        ):
            found.clear()
    return found


def _add(found: dict[str, Approval], detail: Mapping[str, Any]) -> None:
    """The first who approved an operation did, until somebody approves it for more rows."""
    counts = detail.get("counts") or {}
    for one in map(str, detail.get("operations", ())):
        count = counts.get(one)
        approval = Approval(str(detail.get("by", "")), count if isinstance(count, int) else None)
        before = found.setdefault(one, approval)
        if approval.count is not None and (before.count is None or approval.count > before.count):
            found[one] = approval


def record(
    folder: Path, database: str, plan_id: str, operations: Sequence[str], by: str, counts: Mapping[str, int]
) -> None:
    """Notes in the journal of `folder` who approved which operations of a plan of the database at that path.

    `counts` are the rows that they concern, by an operation's id, as far as they were shown. Raises BackupError
    (`backup-folder`), HistoryError (`journal-unwritable`), BusyError.
    """
    path = Path(database)
    like = next(place for place in (path, *path.parents) if place.exists()).stat()
    make_folder(folder, like)
    _require_ours(folder)
    detail = {"plan_id": plan_id, "operations": list(operations), "by": by, "counts": dict(counts)}
    _append(folder, APPROVED, detail)


def withdraw(folder: Path, plans: Iterable[str], why: str) -> None:
    """Notes that nothing of these plans is approved any more. Raises HistoryError (`journal-unwritable`), BusyError."""
    _append(folder, WITHDRAWN, {"plans": sorted(plans), "why": why})


class Agreed:
    """The approvals of one target as a process that stays knows them: what has ended does not come back with its plan.

    Args:
        folder: where the journal is.
        warn: is told what could not be read or written.
    """

    def __init__(self, folder: Callable[[], Path], warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._ended: set[str] = set()

    def live(self) -> Given:
        """Those that have not ended; where the journal cannot be read, nothing is approved."""
        return {plan: one for plan, one in self._read().items() if plan not in self._ended}

    def standing(self, plan_id: str, *, writes: bool) -> Mapping[str, Approval]:
        """The approvals of this plan, by an operation's id. With `writes`, those of any other have ended now."""
        found = self._read()
        if writes:
            self._ended |= found.keys() - {plan_id}
        ended = self._ended & found.keys()
        if ended:
            try:
                self._withdraw(ended)
            except (HistoryError, BusyError) as error:
                self._warn(f"that approvals have ended cannot be written down: {error}")
        return {} if plan_id in ended else found.get(plan_id, {})

    def record(
        self, database: str, plan_id: str, operations: Sequence[str], by: str, counts: Mapping[str, int]
    ) -> None:
        """As the function `record`."""
        if plan_id in self._ended:  # what was given for it before must not come back with this
            self._withdraw({plan_id})
        record(self._folder(), database, plan_id, operations, by, counts)

    def _read(self) -> Given:
        try:
            return given(self._folder())
        except (HistoryError, BusyError) as error:
            self._warn(f"approvals cannot be read: {error}")
            return {}

    def _withdraw(self, plans: Collection[str]) -> None:
        withdraw(self._folder(), plans, "the plan was another one")
        self._ended.difference_update(plans)


def _require_ours(folder: Path) -> None:
    if who := stranger_in(folder):
        raise HistoryError(
            f"approvals in {folder} cannot be trusted",
            code="journal-open",
            why=f"{who}, so anybody could have approved anything",
            fix="let only the owner of the database write there (chmod, chown), or set another backup directory",
        )


def _append(folder: Path, event: str, detail: Mapping[str, Any]) -> None:
    line = journal.Record(event, journal.timestamp(datetime.now(UTC)), detail=detail)
    journal.append(journal_of(folder), line)
