"""What the commands that change a database by hand share: beside whom they run, how they end, who allowed it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from driftengine.api import Target

SETTLED = {"up_to_date", "migrated"}


@dataclass(frozen=True, slots=True)
class Beside:
    """`in_use`: services run on this schema. `progress` is what the engine calls with (phase, done, total), or None."""

    in_use: bool
    progress: Callable[[str, int, int], None] | None


@contextmanager
def beside_services(target: Target, *, dry_run: bool = False) -> Iterator[Beside]:
    """No service starts on the target's database while the block runs, unless nothing is written anyway.

    Raises BusyError (`service-starting`), DatabaseError.
    """
    from driftd.cli.progress import progress

    if dry_run:
        with progress() as told:
            yield Beside(in_use=False, progress=told)
        return
    from driftd.exclusive import between_starts
    from driftengine.dialects.chosen import named

    database = named(target.url, target.models.directory)
    with between_starts(database, target.window_timeout) as alone, progress() as told:
        yield Beside(in_use=not alone, progress=told)


def exit_code(document: dict[str, Any]) -> int:
    """0 when nothing is left to do, 1 when something waits, was put off or failed."""
    whole = document["outcome"] in SETTLED and not document["held"] and not document["blocked"]
    return 0 if whole else 1


def failed_document(error: dict[str, str]) -> dict[str, Any]:
    """The document of an apply, a rollback or a revert that never got as far as an outcome of its own."""
    return {
        "schema_version": 1,
        "outcome": "failed",
        "operations": 0,
        "duration_ms": 0,
        "migration_id": None,
        "plan_id": None,
        "backup": None,
        "held": [],
        "blocked": [],
        "error": error,
    }


def whoever(command: str) -> str:
    """Who allowed it, for the history: `NAME, by driftd apply`."""
    import getpass

    try:
        return f"{getpass.getuser()}, by driftd {command}"
    except (KeyError, OSError):  # a container's user may have neither a name nor an entry in passwd
        import os

        return f"uid {os.getuid()}, by driftd {command}"
