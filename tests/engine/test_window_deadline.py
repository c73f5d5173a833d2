"""A window ends at a moment, whatever is being done then: committed before it, or rolled back and put off."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from driftengine import ahead
from driftengine.dialects.sqlite import compare, rehearsal
from support.migrations import House
from support.processes import HOLDER, beside
from support.stages import reasons, session_of, staged
from support.windows import (
    AFTER,
    BEFORE,
    COPIED,
    ROWS,
    closed,
    freshness,
    lasting_until_over,
    put_off,
    still_open,
    window,
    windowed,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """Once with each kind of journal."""
    return windowed(tmp_path, request.param)


def test_a_window_that_is_over_changes_nothing(house: House) -> None:
    """Whatever there is to do, and with whatever stage: put off, and the stage is as good as it was."""
    before = house.everything()
    with session_of(house) as session:
        assert put_off(session.start(window(-1), allowed_by="a test"))
        staged(session)
        assert put_off(session.start(window(-1), allowed_by="a test"))
        assert freshness(session) == "exact"
        assert house.everything() == before
        assert session.start(window(), allowed_by="a test")["stage"] == "exact"


@pytest.mark.parametrize("phase", ["backup", "rehearsal", "apply"])
def test_the_deadline_comes_meanwhile(house: House, phase: str) -> None:
    """During backup, rehearsal or statements: ended there, rolled back, and nothing half made is left."""
    before = house.everything()
    house.models(COPIED)
    limited = window(1.0)
    with session_of(house) as session, lasting_until_over(limited, phase) as progress:
        done = session.start(limited, allowed_by="a test", progress=progress)
        assert put_off(done)
        assert reasons(house) == []
        assert house.everything() == before
        assert [path.name for path in house.folder.glob("backups/*/*") if path.name != "journal.jsonl"] == []


def test_the_deadline_comes_while_an_exact_stage_is_applied(house: House) -> None:
    """Rolled back, and the same stage serves the next window."""
    limited = window(1.0)
    with session_of(house) as session, lasting_until_over(limited, "apply") as progress:
        staged(session)
        assert put_off(session.start(limited, allowed_by="a test", progress=progress))
        assert freshness(session) == "exact"
        assert session.start(window(name="w2"), allowed_by="a test")["stage"] == "exact"


def test_statements_that_take_longer_than_the_window_are_not_begun(house: House) -> None:
    """What the rehearsal took does not fit: said at once, without a lock and without a copy for nothing."""
    with session_of(house) as session:
        staged(session)
        done = session.start(window(0.05), allowed_by="a test")
        assert put_off(done)
        assert freshness(session) == "exact"


def test_a_reader_keeps_commit_waiting_until_the_deadline(house: House) -> None:
    """With a rollback journal COMMIT waits for readers: ROLLBACK at the deadline. In WAL mode nobody waits."""
    before = house.everything()
    with session_of(house) as session:
        staged(session)
        with beside(HOLDER, house.database, "BEGIN", "SELECT * FROM t"):
            done = session.start(window(0.6), allowed_by="a test")
        if house.journal == "wal":
            assert done["outcome"] == "migrated"
            return
        assert put_off(done)
        assert house.everything() == before
        assert freshness(session) == "exact"


def test_a_writer_that_does_not_end_puts_it_off(house: House) -> None:
    """BEGIN waits until the deadline and no longer."""
    with session_of(house) as session:
        staged(session)
        with beside(HOLDER, house.database, "BEGIN IMMEDIATE"):
            limited = window(0.6)
            done = session.start(limited, allowed_by="a test")
            assert limited.left_ms() < 100
        assert put_off(done)
        assert freshness(session) == "exact"


def test_a_window_that_was_closed_commits_nothing(house: House) -> None:
    """The starter went away: it is asked right before COMMIT, and then it is ROLLBACK."""
    before = house.everything()
    with session_of(house) as session:
        staged(session)
        assert put_off(session.start(window(require_open=closed), allowed_by="a test"), "window-closed")
        assert house.everything() == before
        assert freshness(session) == "exact"
        asked: list[str] = []
        done = session.start(
            window(name="w2", require_open=lambda: asked.append(house.stored("i"))), allowed_by="a test"
        )
    assert done["outcome"] == "migrated"
    assert asked == [""]


def test_a_window_that_closes_while_commit_waits_commits_nothing(tmp_path: Path) -> None:
    """A reader keeps COMMIT waiting, the starter goes meanwhile: the reader's end does not let it through."""
    house = House(tmp_path, journal="delete")
    house.run(BEFORE + ROWS)
    house.models(AFTER)
    asked: list[int] = []

    def gone_later() -> None:
        asked.append(1)
        (still_open if len(asked) < 5 else closed)()

    with session_of(house) as session:
        staged(session)
        with beside(HOLDER, house.database, "BEGIN", "SELECT * FROM t"):
            done = session.start(window(require_open=gone_later), allowed_by="a test")
    assert put_off(done, "window-closed")
    assert len(asked) == 5


# --- what ends in the middle


@pytest.mark.parametrize(
    ("place", "step"),
    [(compare, "violations"), (rehearsal, "compiled"), (compare, "unsound"), (compare, "changed_defaults")],
)
def test_a_proof_that_was_interrupted_finds_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, place: ModuleType, step: str
) -> None:
    """The time is over while the copy is looked at: put off, and not blocked by what was only not read to its end."""
    house.models(BEFORE.replace("a TEXT", "a TEXT DEFAULT 'x'"))
    before = house.everything()
    real = getattr(place, step)
    limited = window(1.0)

    def slow(*arguments: Any) -> Any:
        while not limited.over():
            time.sleep(limited.left_ms() / 1000)
        return real(*arguments)

    monkeypatch.setattr(place, step, slow)
    with session_of(house) as session:
        done = session.start(limited, allowed_by="a test")
    assert put_off(done)
    assert done["blocked"] == []
    assert (reasons(house), house.everything()) == ([], before)


def test_a_commit_that_would_take_too_long_is_not_begun(house: House) -> None:
    """COMMIT cannot be interrupted: it is begun only where three times what it took in the rehearsal fits."""
    before = house.everything()
    with session_of(house) as session:
        staged(session)
        kept = session._kept
        assert kept is not None
        stage = kept.prepared.stage
        assert stage is not None
        assert stage.rehearsal.outcome.commit_seconds > 0
        outcome = replace(stage.rehearsal.outcome, commit_seconds=4.0)
        rehearsal = replace(stage.rehearsal, outcome=outcome)
        prepared = replace(kept.prepared, stage=replace(stage, rehearsal=rehearsal))
        session._kept = replace(kept, prepared=prepared)
        done = session.start(window(10), allowed_by="a test")
        assert put_off(done)
        assert "COMMIT" in done["error"]["why"]
        assert house.everything() == before
        assert session.start(window(20, name="w2"), allowed_by="a test")["stage"] == "exact"


@pytest.mark.parametrize(
    ("fresh", "apply_s", "took", "left", "way"),
    [
        ("exact", 0.5, 5_000, 1_000, "exact"),
        ("exact", 0.5, 5_000, 500, None),
        ("usable", 0.1, 100, 60_000, "new"),
        ("usable", 0.1, 101, 60_000, "usable"),
        ("usable", 0.5, 5_000, 60_000, "usable"),
        ("usable", 0.5, 5_000, 500, None),
        ("stale", 0.5, 5_000, 6_600, "new"),
        ("stale", 0.5, 5_000, 6_599, None),
    ],
)
def test_which_way_is_taken(
    house: House, fresh: str, apply_s: float, took: float, left: float, way: str | None
) -> None:
    """Exact where the statements fit; else anew where that is soon done; else usable; else anew where that fits, or not."""
    with session_of(house) as session:
        staged(session)
        assert session._kept is not None
        found = session._kept.prepared
        assert found.stage is not None
        outcome = replace(found.stage.rehearsal.outcome, durations=(apply_s,))
        stage = replace(found.stage, rehearsal=replace(found.stage.rehearsal, outcome=outcome))
        found = replace(found, stage=stage, took_ms=took)
    assert ahead.way_in_window(found, fresh=fresh, left_ms=left) == way
