"""A start without a daemon: the models, one apply within the window, and what is remembered for the next start."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from driftengine import documents, remembered
from driftengine import remembered_answer as answers
from driftengine.applied import Request
from driftengine.apply import Applier
from driftengine.approvals import given_if_readable
from driftengine.backup_files import folder_for
from driftengine.choice import DEFERRED, UP_TO_DATE
from driftengine.dialects.chosen import DIALECT, named, opened
from driftengine.errors import DriftError, ModelsError
from driftengine.loaded import CANCELLED
from driftengine.survey import survey
from driftengine.window import late

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from driftengine.desired import Desired
    from driftengine.dialects.base import Database
    from driftengine.documents import Document
    from driftengine.stage import Progress
    from driftengine.target import Target
    from driftengine.window import Window


LOCK_WAIT = 0.1  # seconds, for what only makes the next start faster


def start(
    target: Target,
    window: Window,
    known: Desired | None,
    memory: Path | None,
    allowed_by: str,
    progress: Progress | None,
) -> Document:
    """See `api.start`; `known` are the models where they need not be loaded again. Raises DriftError."""
    started = time.monotonic()
    name = named(target.url, target.models.directory)
    try:
        desired = known or remembered.load(target.models, memory, cancelled=window.over)
    except ModelsError as error:
        if error.code != CANCELLED:
            raise
        given_up = late("the models were still loading at the deadline")
        took = _milliseconds_since(started)
        return documents.nothing_applied(target, name, DEFERRED, took, given_up)

    def fresh() -> AbstractContextManager[Database]:
        return closing(
            opened(target.url, target.models.directory, tidy=True, lock_wait=window.left_ms() / 1000)
        )

    standing = given_if_readable(folder_for(target.backup.directory, name))
    request = Request(allowed_by=allowed_by, standing=standing, in_use=window.in_use)
    done = Applier(DIALECT, fresh, target, desired, request, progress, window=window).apply()
    if done.outcome == UP_TO_DATE and memory is not None and not done.warnings:
        # The answer is known, and the service waits for it: whatever stands in the way is no reason to wait longer.
        with suppress(DriftError, OSError):
            _remember(target, desired, memory, min(LOCK_WAIT, window.left_ms() / 1000))
    held = documents.waiting_documents(done.plan, done.held, done.blocked, done.in_use)
    document = documents.applied(target, name, done, held, dry_run=False)
    return {**document, "duration_ms": _milliseconds_since(started), "stage": done.stage}


def _remember(target: Target, desired: Desired, memory: Path, lock_wait: float) -> None:
    """So that the next start in which nothing has moved compares nothing."""
    asked = remembered.desired_document(desired)
    question = answers.ask(target, asked)
    if question is None:
        return
    with closing(opened(target.url, target.models.directory, lock_wait=lock_wait)) as database:
        found = survey(DIALECT, database, target, desired)
        name = database.name
    if found.certain and found.recorded and answers.ask(target, asked) == question:
        answers.remember(memory, question, documents.check(target, name, found, {}), recorded=True)


def _milliseconds_since(started: float) -> float:
    return round((time.monotonic() - started) * 1000, 3)
