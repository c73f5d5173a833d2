"""What driftd has written down: the history in the database, the journal and the backups beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftd.cli.text import plural, size
from driftd.doctor.findings import WARNING, Finding, from_error, problem, warning
from driftengine import api
from driftengine.errors import BusyError, DriftError

if TYPE_CHECKING:
    from driftd.doctor.subject import Document, Subject


def check_records(subject: Subject) -> list[Finding]:
    """The chain of the history, and what lies in the backup folder."""
    if not subject.database.exists() or not subject.database.stat().st_size:
        return []
    try:
        return [
            *_history(api.history_verify(subject.target), subject.flags),
            *judged_backups(
                api.backup_list(subject.target), subject.target.backup.max_total_size, subject.flags
            ),
        ]
    except BusyError as error:
        return [from_error(error, WARNING)]
    except DriftError as error:
        return [from_error(error)]


def _history(document: Document, flags: str) -> list[Finding]:
    if document["ok"]:
        return []
    return [
        problem(
            "the history of the database does not verify",
            code="history-broken",
            why="\n".join(document["problems"]),
            fix=f"see which entries it concerns: driftd history verify{flags}",
        )
    ]


def judged_backups(document: Document, limit: int, flags: str) -> list[Finding]:
    """Copies that cannot be trusted, and backups that take more room than they may."""
    found = [
        warning(
            told,
            code="backup-stray",
            why=f"it lies in {document['folder']}, and is neither restored nor pruned",
            fix="look at it, and remove it if nobody needs it",
        )
        for told in document["problems"]
    ]
    unproved = [one["id"] for one in document["backups"] if not one["verified"]]
    if unproved:
        found.append(
            warning(
                f"{plural(len(unproved), 'backup')} not verified",
                code="backup-not-verified",
                why=", ".join(unproved[:3]),
                fix=f"driftd backup verify{flags}",
            )
        )
    total = sum(one["size_bytes"] for one in document["backups"])
    if total > limit:
        found.append(
            warning(
                f"the backups take {size(total)}, and may take {size(limit)}",
                code="backups-large",
                why="pinned backups and the newest one stay, however large they are",
                fix=f"driftd backup prune{flags}, or raise `backup.max_total_size`",
            )
        )
    return found
