"""Staging in a process of its own: low in priority, and killed at once where its outcome is no longer wanted.

The child gets one pickled job on stdin and answers on stdout in frames: progress as JSON, and at last one pickled
outcome. Both ends are this file, started by this process, so pickle reads nothing of others. Killing the child loses
nothing: the backup and the workspace that it leaves are swept then, or by the next daemon where this one was killed too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import signal
import struct
import sys
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from driftengine.backup import STAGE, list_backups, sweep
from driftengine.backup_files import folder_for
from driftengine.dialects.chosen import named
from driftengine.errors import DriftError, RehearsalError
from driftengine.stage import discard, sweep_workspaces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from driftd.worker import Worker
    from driftengine.ahead import Prepared
    from driftengine.desired import Desired
    from driftengine.target import Target

    Progress = Callable[[str, int, int], None]

NICENESS = 10
PROGRESS_EVERY = 0.2  # seconds
READ_AT_ONCE = 1 << 20  # bytes
_HEAD = struct.Struct(">cQ")  # kind, length of what follows
_PROGRESS, _OUTCOME, _ERROR = b"p", b"o", b"e"
# -P: a module in the working directory must not shadow what the child imports.
_COMMAND = (sys.executable, "-P", "-m", "driftd.stager")


async def stage_apart(
    target: Target, desired: Desired, approve: Sequence[str], progress: Progress, worker: Worker
) -> Prepared:
    """What `api.prepare` returns, without the history's rows, made by a child process. Raises DriftError; cancelled, the child and its files are gone.

    `worker` looks at the backup folder, before and behind a failure.
    """
    before = await worker.run(partial(_stages, target))
    try:
        return await _from_child(target, desired, approve, progress)
    except BaseException:
        await asyncio.shield(worker.run(partial(_sweep, target, before)))
        raise


def _stages(target: Target) -> frozenset[str] | None:
    """The ids of the backups that were made for stages; None where they cannot be listed."""
    with contextlib.suppress(OSError):  # the child finds the same, and says it better
        return frozenset(one.id for one in list_backups(_folder(target)) if one.reason == STAGE)
    return None


def _sweep(target: Target, before: frozenset[str] | None) -> None:
    """Removes what a child that was killed has left; as large as the database, it must not wait for the next stage."""
    folder = _folder(target)
    # The next stage sweeps too, and tells what it cannot remove.
    with contextlib.suppress(DriftError, OSError):
        sweep(folder)
        sweep_workspaces(folder)
        made = () if before is None else list_backups(folder)
        for one in made:
            if one.reason == STAGE and one.id not in (before or ()):
                discard(one)


def _folder(target: Target) -> Path:
    return folder_for(target.backup.directory, named(target.url, target.models.directory))


async def _from_child(
    target: Target, desired: Desired, approve: Sequence[str], progress: Progress
) -> Prepared:
    child = await asyncio.create_subprocess_exec(
        *_COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert child.stdin is not None  # noqa: S101  # both are pipes
    assert child.stdout is not None  # noqa: S101
    try:
        job = pickle.dumps((target, desired, tuple(approve)))
        # stdin stays open: its end tells the child that nobody waits for it any more.
        child.stdin.write(_HEAD.pack(_OUTCOME, len(job)) + job)
        with contextlib.suppress(ConnectionError):  # it ended before it read; its status says the rest
            await child.stdin.drain()
        return await _outcome(child.stdout, progress)
    except asyncio.IncompleteReadError:
        raise _ended_early(await child.wait()) from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.stdin.close()
        await asyncio.shield(_gone(child))


async def _gone(child: asyncio.subprocess.Process) -> None:
    """Waits for a child that was killed, and throws away what it had still to say.

    asyncio waits for the ends of its pipes too, and one that is paused over much unread text never sees its end
    (https://github.com/python/cpython/issues/119710): cancelled then, the stage would never end.
    """
    assert child.stdout is not None  # noqa: S101  # it is a pipe
    while await child.stdout.read(READ_AT_ONCE):
        pass
    await child.wait()


async def _outcome(stream: asyncio.StreamReader, progress: Progress) -> Prepared:
    while True:
        kind, length = _HEAD.unpack(await stream.readexactly(_HEAD.size))
        body = await stream.readexactly(length)
        if kind == _PROGRESS:
            progress(*json.loads(body))
        elif kind == _ERROR:
            raise pickle.loads(body)  # noqa: S301  # our own child wrote it
        else:
            prepared: Prepared = pickle.loads(body)  # noqa: S301  # our own child wrote it
            return prepared


def _ended_early(status: int) -> RehearsalError:
    return RehearsalError(
        "the plan could not be staged",
        code="stager-ended",
        why="the process that made the backup and the rehearsal "
        + (f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"),
        fix="see the daemon's log; it is tried again later, and `driftd apply` stages by itself",
    )


# --- the child


def main() -> None:
    """Reads the job, makes the stage, answers."""
    _step_back()
    jobs, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # whatever prints must not get between the frames
    _, length = _HEAD.unpack(jobs.read(_HEAD.size))
    target, desired, approve = pickle.loads(jobs.read(length))  # noqa: S301  # our parent wrote it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from driftengine import api  # here, at low priority
    from driftengine.ahead import without_rows

    try:
        outcome: object = without_rows(
            api.prepare(target, desired, approve=approve, progress=_throttled(answers, time.monotonic))
        )
        kind = _OUTCOME
    except Exception as error:  # noqa: BLE001  # the parent knows what to do about each
        outcome, kind = error, _ERROR
    _send(answers, kind, pickle.dumps(outcome))


def _step_back() -> None:
    """Lets everybody else go first, at the processor and at the disk."""
    with contextlib.suppress(OSError):  # a container may forbid it; then it is only less polite
        os.nice(NICENESS)
    if sys.platform == "linux":
        import psutil

        with contextlib.suppress(psutil.Error, OSError):
            psutil.Process().ionice(psutil.IOPRIO_CLASS_BE, 7)


def _end_with_parent() -> None:
    # Past Python's buffer: a thread that waits inside it would keep the interpreter from ending in order.
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)  # a probe that draws values has a session of its own, and its own time limit


def _throttled(answers: BinaryIO, clock: Callable[[], float]) -> Progress:
    last = -PROGRESS_EVERY

    def progress(phase: str, done: int, total: int) -> None:
        nonlocal last
        if clock() - last >= PROGRESS_EVERY:
            last = clock()
            _send(answers, _PROGRESS, json.dumps([phase, done, total]).encode())

    return progress


def _send(answers: BinaryIO, kind: bytes, body: bytes) -> None:
    answers.write(_HEAD.pack(kind, len(body)) + body)
    answers.flush()


if __name__ == "__main__":
    main()
