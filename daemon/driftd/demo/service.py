"""The demo's service: a program that knows its models and nothing of driftd. It opens its database and counts its tasks."""

from __future__ import annotations

import sys

from sqlalchemy import create_engine, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from tracker.models import Task  # type: ignore[import-not-found]  # it runs in the demo's folder


def main() -> int:
    """Serve, for as long as a demo needs."""
    engine = create_engine("sqlite:///tracker.db")
    try:
        with Session(engine) as session:
            tasks = session.scalars(select(Task)).all()
    except OperationalError as error:
        print(f"tracker: cannot serve: {error.orig}")  # noqa: T201  # what a service says
        return 1
    finally:
        engine.dispose()
    print(f"tracker: serving {len(tasks)} tasks")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
