"""Listening to watchdog's own log lines: an overflow of the kernel's queue is told nowhere else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

WATCHDOG = "watchdog"

_log = logging.getLogger(__name__)


class Listener(logging.Handler):
    """Hands watchdog's warnings on, and keeps them out of everybody else's log; ours has them at debug.

    It is called in watchdog's threads, some of them with locks held: `told` must neither wait nor raise.

    Args:
        told: called with True when events were lost, with False for every other warning.
    """

    def __init__(self, told: Callable[[bool], None]) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        """One line of watchdog's."""
        message = record.getMessage()
        self._told("overflow" in message.lower())
        _log.debug("watchdog: %s", message)

    def attach(self) -> None:
        """Begin to listen. Below warning watchdog logs each event, which would cost more than the watching."""
        logger = logging.getLogger(WATCHDOG)
        logger.addHandler(self)
        logger.setLevel(logging.WARNING)
        logger.propagate = False

    def detach(self) -> None:
        """Stop listening; with the last listener gone the logger is as it was."""
        logger = logging.getLogger(WATCHDOG)
        logger.removeHandler(self)
        if not any(isinstance(handler, Listener) for handler in logger.handlers):
            logger.setLevel(logging.NOTSET)
            logger.propagate = True
