"""Approvals that survive whoever was told of them: lines of the journal, each bound to one plan."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from driftengine import journal
from driftengine.backup_files import journal_of, make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftengine.journal import Record

APPROVED = "approved"
Given: TypeAlias = "Mapping[str, Mapping[str, str]]"


def given(folder: Path) -> Given:
    """Who approved which operations: by plan id, from an operation's id to a name. Raises HistoryError, BusyError.

    Nothing that came before the last migration, rollback or restore: a plan may come again after one of these (what was
    rolled back is wanted by the models still), and nobody has approved that.
    """
    return standing(journal.read(journal_of(folder)).records)


def standing(records: Sequence[Record]) -> Given:
    """The approvals among the lines of a journal that still hold."""
    found: dict[str, dict[str, str]] = {}
    for record in records:
        if record.event == APPROVED:
            plan = str(record.detail.get("plan_id"))
            given_by = found.setdefault(plan, {})
            for one in record.detail.get("operations", ()):
                given_by.setdefault(str(one), str(record.detail.get("by", "")))
        elif record.event == "restored" or (
            record.detail.get("hash") and record.detail.get("kind") != "meeting"
        ):
            found.clear()
    return found


def record(folder: Path, database: str, plan_id: str, operations: Sequence[str], by: str) -> None:
    """Notes in the journal of `folder` who approved which operations of a plan of the database at that path.

    Raises BackupError (`backup-folder`), HistoryError (`journal-unwritable`), BusyError.
    """
    path = Path(database)
    like = next(place for place in (path, *path.parents) if place.exists()).stat()
    make_folder(folder, like)
    detail = {"plan_id": plan_id, "operations": list(operations), "by": by}
    journal.append(
        journal_of(folder), journal.Record(APPROVED, journal.timestamp(datetime.now(UTC)), detail=detail)
    )
