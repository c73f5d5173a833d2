"""A window as the daemon sees it: what its starter wrote into the lock file, as a value. Pure.

The rules for clocks, of docs/window-protocol.md. Two clocks are told of: `until_monotonic` is CLOCK_MONOTONIC of the machine
and counts within one boot of it; `since` and `until` are wall clocks, and only their distance counts, from when the window was
first seen. So no jump of the wall clock moves a deadline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 3600.0  # seconds; whoever asks for more has miscounted
_LONGEST_ID = 200  # characters


@dataclass(frozen=True, slots=True)
class Opened:
    """A window that is open: `deadline_at` is its end on our `time.monotonic()`.

    `via_socket`: its starter asks over the socket or does it alone, and reads no answer in the file. `pid` is None where the
    starter did not say.
    """

    id: str
    deadline_at: float
    via_socket: bool
    pid: int | None = None
    host: str = ""


def opened(body: Mapping[str, Any], *, seen: float, wall: float, boot_id: str) -> Opened | None:
    """The window of that body; None where it names no id, or no time that can be read: then it is none yet.

    `seen` (time.monotonic()) and `wall` (time.time()) are when this id was first seen; `boot_id` names this boot of this
    machine, "" where that is not known.
    """
    name = id_of(body)
    deadline = deadline_of(body, seen=seen, wall=wall, boot_id=boot_id)
    if name is None or deadline is None:
        return None
    pid = body.get("pid")
    return Opened(
        name,
        deadline,
        via_socket=body.get("socket") is True,
        pid=pid if isinstance(pid, int) else None,
        host=str(body.get("host") or ""),
    )


def id_of(body: Mapping[str, Any]) -> str | None:
    """The window's id, None where there is none."""
    name = body.get("id")
    return name if isinstance(name, str) and 0 < len(name) <= _LONGEST_ID else None


def deadline_of(body: Mapping[str, Any], *, seen: float, wall: float, boot_id: str) -> float | None:
    """When the window ends, in time.monotonic(), at most an hour from `seen`; None where no time can be read.

    A window that ends before it begins ends when it is seen.
    """
    until, since = seconds(body.get("until")), seconds(body.get("since"))
    span = None if until is None else _within(until - (wall if since is None else since))
    exact = seconds(body.get("until_monotonic")) if boot_id and body.get("boot_id") == boot_id else None
    if exact is None:
        return None if span is None else seen + span
    # More than the whole span cannot be left: this clock is another one after all (a time namespace has its own).
    return seen + min(_within(exact - seen), LONGEST if span is None else span)


def seconds(value: object) -> float | None:
    """A time as seconds: a number (of the epoch), such a number as text, or ISO 8601; None for anything else.

    A time without a zone is UTC.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    except ValueError:
        return _moment(str(value))
    return number if math.isfinite(number) else None


def _moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _within(span: float) -> float:
    return min(max(span, 0.0), LONGEST)
