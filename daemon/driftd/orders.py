"""What a person orders over the socket: a rollback, an adoption, a way back. Each is a work of its target's, with an answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from driftengine import api
from driftengine.errors import DriftError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from driftengine.target import Target

    Document = dict[str, Any]
    # Called on the target's worker, with in_use= and progress=.
    Job = Callable[..., Document]


class Order:
    """One of them: what is to be done, and where its answer goes. To be used from the loop's thread alone."""

    def __init__(self, job: Job, answer: asyncio.Future[Document]) -> None:
        self.job = job
        self._answer = answer

    def done(self, document: Document) -> None:
        """It was carried out."""
        if not self._answer.done():  # whoever asked may have hung up, or been refused
            self._answer.set_result(document)

    def refuse(self, error: Exception) -> None:
        """It was not, or it failed."""
        if not self._answer.done():
            self._answer.set_exception(error)


def rollback(target: Target, arguments: Mapping[str, Any], by: str) -> Job:
    """Takes a migration back, or some of its operations; `arguments` are those of the socket's command."""
    return partial(
        api.rollback,
        target,
        migration=arguments.get("migration"),
        operations=tuple(arguments.get("operations") or ()),
        approve=tuple(arguments.get("approve") or ()),
        dry_run=bool(arguments.get("dry_run")),
        allowed_by=by,
    )


def revert(target: Target, arguments: Mapping[str, Any], by: str) -> Job:
    """Undoes what somebody changed in the database by hand."""
    return partial(
        api.revert,
        target,
        tuple(arguments.get("words") or ()),
        approve=tuple(arguments.get("approve") or ()),
        dry_run=bool(arguments.get("dry_run")),
        allowed_by=by,
    )


def adopt(target: Target, arguments: Mapping[str, Any], by: str) -> Job:
    """Agrees to what somebody changed in the database by hand. Only the history is written, so nobody need be asked."""
    words = tuple(arguments.get("words") or ())

    def job(*, in_use: bool, progress: object) -> Document:  # noqa: ARG001  # every job is called alike
        return api.adopt(target, words, allowed_by=by)

    return job


def told(command: str, document: Document, by: str) -> str:
    """One line for the log."""
    count = document.get("operations")
    parts = [f"{command} by {by}: {document.get('outcome', 'done')}"]
    if isinstance(count, int) and document.get("migration_id"):
        parts.append(f"{count} operation{'' if count == 1 else 's'} [{document['migration_id']}]")
    if isinstance(undoes := document.get("undoes"), dict):
        parts.append(f"of {undoes['migration_id']}")
    return ", ".join(parts)


def not_begun(target: str, *, observe: bool) -> DriftError:
    """Why an order is not carried out at all."""
    if observe:
        return DriftError(
            f"nothing is changed in {target}",
            code="mode-observe",
            why="its mode is observe: the daemon never writes",
            fix='set mode = "window" and reload, or type the same command without the daemon',
        )
    return DriftError(
        f"nothing is changed in {target}",
        code="target-paused",
        why="the target was paused before it could begin",
        fix=f"driftd resume --target {target}",
    )
