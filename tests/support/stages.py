"""Staging ahead in tests: as the daemon does it, what is prepared passes through pickle."""

from __future__ import annotations

import pickle
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from driftengine import ahead, api
from driftengine.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from driftengine.ahead import Prepared
    from support.migrations import House


@contextmanager
def session_of(house: House, **settings: Any) -> Iterator[Session]:
    """A session of the house's target, closed at the end."""
    session = Session(house.target(**settings))
    try:
        yield session
    finally:
        session.close()


def prepared(session: Session) -> Prepared:
    """What a child process would hand back."""
    made = api.prepare(session.target, session.desired, approve=session.approved)
    handed: Prepared = pickle.loads(pickle.dumps(ahead.without_rows(made)))  # noqa: S301  # we wrote it
    return handed


def staged(session: Session) -> dict[str, Any]:
    """Looks, stages and keeps it."""
    session.look()
    taken = session.begin_stage()
    made = prepared(session)
    session.end_stage()
    return session.keep(made, taken)


def reasons(house: House) -> list[tuple[str, str]]:
    """The backups: id and reason."""
    return [(one["id"], one["reason"]) for one in api.backup_list(house.target())["backups"]]
