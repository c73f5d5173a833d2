"""A run that stands still between two system calls, while somebody does something to its files."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil

from support.faultline import CHANGES, Kind, Strike

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.disk_faults import Scene
    from support.faultline.runs import Ran

PATIENCE = 60.0


def halfway(scene: Scene, at: int, act: Callable[[], None], kinds: Kind = CHANGES, **how: Any) -> Ran:
    """The scene's command, stopped right before its point `at`; `act` is done, and it goes on."""
    answers: list[Ran] = []
    template = psutil.Process(scene.runs.pid)
    run = threading.Thread(
        target=lambda: answers.append(scene.run(at=at, strike=Strike.STOP, kinds=kinds, **how))
    )
    run.start()
    try:
        stopped = _stopped(template, run)
        if stopped is not None:
            try:
                act()
            finally:
                stopped.send_signal(signal.SIGCONT)
    finally:
        run.join(PATIENCE)
    assert answers, "it hung"
    return answers[0]


def _stopped(template: psutil.Process, run: threading.Thread) -> psutil.Process | None:
    """The process that stands still; None where it never came to that point."""
    give_up = time.monotonic() + PATIENCE
    while run.is_alive() and time.monotonic() < give_up:
        for child in template.children(recursive=True):
            try:
                if child.status() == psutil.STATUS_STOPPED:
                    return child
            except psutil.NoSuchProcess:
                continue
        time.sleep(0.002)  # nothing announces that a process has been stopped
    return None
