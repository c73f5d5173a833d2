"""The daemon's view of the startup window: which is open and until when, who is kept out, who runs, the answer."""

from __future__ import annotations

import json
import math
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from driftd import processes
from driftd.locks import Locks, write_answer
from driftd.startup.opened import LONGEST, deadline_of, opened, seconds
from support.processes import beside
from support.starters import in_use, starting
from support.window_ends import STARTER, eventually, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = 1_772_366_400.0  # 2026-03-01T12:00:00Z
SEEN = 500.0  # when it was seen, on the monotonic clock
BOOT = "0c5a"
WALL = {"since": NOON, "until": NOON + 15}
SPAN = {"since": "2026-03-01T12:00:00Z", "until": "2026-03-01T12:00:15.500Z"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    path.touch()
    return path


@pytest.fixture
def locks() -> Iterator[Locks]:
    locks = Locks()
    yield locks
    locks.release_all()


class TestClocks:
    @pytest.mark.parametrize(
        ("body", "wall", "left"),
        [
            ({**WALL}, NOON, 15.0),
            (
                {**WALL},
                NOON + 2,
                15.0,
            ),  # found late: from when it was seen, as nothing tells a jump from a delay
            ({**WALL}, NOON + 86_400, 15.0),  # the wall clock has jumped forward
            ({**WALL}, NOON - 86_400, 15.0),  # and back
            (SPAN, 0.0, 15.5),
            ({"since": str(NOON), "until": "2026-03-01T12:00:15"}, 0.0, 15.0),
            ({"until": NOON + 15}, NOON + 5, 10.0),
            ({"until": NOON + 15}, NOON + 60, 0.0),
            ({"since": NOON + 20, "until": NOON}, NOON, 0.0),
            ({"since": 0, "until": NOON}, NOON, LONGEST),
            ({**WALL, "boot_id": BOOT, "until_monotonic": SEEN + 9}, 0.0, 9.0),
            ({**WALL, "boot_id": BOOT, "until_monotonic": SEEN - 9}, 0.0, 0.0),
            ({**WALL, "boot_id": BOOT, "until_monotonic": SEEN + 1e9}, 0.0, 15.0),  # it is another clock
            ({**WALL, "boot_id": "other", "until_monotonic": SEEN + 9}, 0.0, 15.0),
            ({**WALL, "until_monotonic": SEEN + 9}, 0.0, 15.0),
            ({**WALL, "boot_id": BOOT, "until_monotonic": "soon"}, 0.0, 15.0),
            ({"boot_id": BOOT, "until_monotonic": SEEN + 9}, 0.0, 9.0),
            ({"boot_id": BOOT, "until_monotonic": SEEN + 1e9}, 0.0, LONGEST),
            ({"since": NOON}, NOON, None),
            ({"until": None}, NOON, None),
            ({"until": "in a while"}, NOON, None),
            ({"until": True}, NOON, None),
            ({"until": math.inf}, NOON, None),
            ({"until": 10**400}, NOON, None),
            ({"until": [NOON]}, NOON, None),
        ],
    )
    def test_how_long_a_window_lasts(self, body: dict[str, Any], wall: float, left: float | None) -> None:
        """The monotonic clock of this boot counts; otherwise the span does; no jump of the wall clock and no nonsense."""
        found = deadline_of(body, seen=SEEN, wall=wall, boot_id=BOOT)
        assert (found if found is None else found - SEEN) == left

    def test_a_machine_that_hides_its_boot_trusts_no_monotonic_clock(self) -> None:
        """Two that are unknown are not the same."""
        body = {**WALL, "boot_id": "", "until_monotonic": SEEN + 9}
        assert deadline_of(body, seen=SEEN, wall=0.0, boot_id="") == SEEN + 15

    @pytest.mark.parametrize(
        ("value", "found"),
        [
            (7, 7.0),
            ("7.5", 7.5),
            ("1970-01-01T00:00:07Z", 7.0),
            ("1970-01-01 01:00:07+01:00", 7.0),
            ("", None),
        ],
    )
    def test_times_are_numbers_or_texts(self, value: object, found: float | None) -> None:
        """A shell writes seconds, others ISO 8601."""
        assert seconds(value) == found

    @pytest.mark.parametrize("name", [None, "", 7, "x" * 201])
    def test_without_an_id_there_is_no_window(self, name: object) -> None:
        """There would be no way to answer it."""
        assert opened({**WALL, "id": name}, seen=SEEN, wall=NOON, boot_id=BOOT) is None

    def test_a_minimal_body_is_a_window(self) -> None:
        """Of nobody in particular, to be answered in the file."""
        found = opened({**WALL, "id": "a", "socket": "yes", "pid": "me"}, seen=SEEN, wall=NOON, boot_id=BOOT)
        assert found is not None
        assert (found.id, found.via_socket, found.pid, found.host) == ("a", False, None, "")


class TestStarting:
    def test_a_window_is_seen_while_its_lock_is_held(self, locks: Locks, database: Path) -> None:
        """And not before anything is written, nor when its starter has gone and left what it wrote."""
        assert locks.starting(database) is None
        with starting(database, socket=True) as service:
            found = locks.starting(database)
            assert found is not None
            assert (found.id, found.via_socket, found.pid) == (service.id, True, os.getpid())
            assert locks.starting(database) == found  # the deadline does not move with each look
            assert locks.still_open(database, service.id)
            assert not locks.still_open(database, "another")
            service.release()
            assert locks.starting(database) is None
            assert not locks.still_open(database, service.id)

    def test_what_a_starter_writes_is_understood(self, locks: Locks, database: Path) -> None:
        """Its own process, its clock, within the time that it gave."""
        with process(STARTER, database, 7) as other:
            found = locks.starting(database)
            assert found is not None
            assert (found.pid, found.host, found.via_socket) == (other.pid, processes.host(), True)
            body = json.loads(database.with_name("app.db.startup.lock").read_text())
            assert found.deadline_at == body["until_monotonic"]
            assert body["started"] == processes.started_at(other.pid)
            assert body["boot_id"] == processes.boot_id()
            since, until = seconds(body["since"]), seconds(body["until"])
            assert since is not None
            assert until is not None
            assert until - since == pytest.approx(7, abs=0.01)
            other.kill()
            eventually(lambda: not locks.still_open(database, found.id))
            assert locks.starting(database) is None

    @pytest.mark.parametrize("text", ["", '{"id": "a", "until": 1}', "garbage\n"])
    def test_a_body_that_is_not_whole_is_no_window_yet(self, locks: Locks, database: Path, text: str) -> None:
        """Its starter may be about to write it."""
        with starting(database):
            database.with_name("app.db.startup.lock").write_text(text)
            assert locks.starting(database) is None

    def test_a_lock_file_that_is_replaced_is_looked_at_anew(self, locks: Locks, database: Path) -> None:
        """Somebody deleted it, against the rule; the next service has made another."""
        with starting(database) as first:
            assert locks.starting(database) is not None
            database.with_name("app.db.startup.lock").unlink()
            with starting(database) as second:
                found = locks.starting(database)
                assert found is not None
                assert found.id == second.id != first.id

    def test_giving_a_database_up_closes_its_file(self, locks: Locks, database: Path, tmp_path: Path) -> None:
        """Nothing stays open for it; a window of a database that is not served is not open."""
        held = locks.serve(database, state_folder=tmp_path / "state")
        with starting(database) as service:
            locks.starting(database)
            before = processes.own_figures()["open_files"]
            held.release()
            assert processes.own_figures()["open_files"] == before - 2
            assert not locks.still_open(database, service.id)


class TestKeepingOut:
    def test_nobody_opens_a_window_meanwhile(self, locks: Locks, database: Path) -> None:
        """What an earlier starter wrote is gone, so that nobody takes this lock for its window."""
        with starting(database):
            pass
        with locks.keep_out(database) as kept_out:
            assert kept_out
            assert database.with_name("app.db.startup.lock").read_bytes() == b""
            assert locks.starting(database) is None
            with Locks().keep_out(database) as twice:
                assert not twice
        with starting(database):
            assert locks.starting(database) is not None

    def test_a_service_that_starts_is_let_be(self, locks: Locks, database: Path) -> None:
        """Its window stays as it is."""
        with starting(database) as service:
            with locks.keep_out(database) as kept_out:
                assert not kept_out
            found = locks.starting(database)
            assert found is not None
            assert found.id == service.id

    def test_what_cannot_be_locked_keeps_nobody_from_working(self, locks: Locks, tmp_path: Path) -> None:
        """No folder, or something else at that path: SQLite's own lock is there still."""
        (tmp_path / "app.db.startup.lock").mkdir()
        for database in (tmp_path / "none" / "app.db", tmp_path / "app.db"):
            with locks.keep_out(database) as kept_out:
                assert kept_out

    def test_somebody_who_only_asks_is_waited_for(
        self, locks: Locks, database: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A question holds the lock for microseconds, which is not a service that starts."""
        with starting(database) as service:
            monkeypatch.setattr("driftd.startup.startup_locks.time.sleep", lambda _: service.release())
            with locks.keep_out(database) as kept_out:
                assert kept_out


class TestUse:
    def test_alone_unless_somebody_runs(self, locks: Locks, database: Path) -> None:
        """No file is made for the question; while nobody runs, nobody begins to."""
        with locks.use_alone(database) as alone:
            assert alone
        assert not database.with_name("app.db.inuse.lock").exists()
        with in_use(database), locks.use_alone(database) as alone:
            assert not alone
            assert alone.warning == ""
        with locks.use_alone(database) as alone:
            assert alone
            with Locks().use_alone(database) as twice:
                assert not twice

    def test_what_cannot_be_told_is_said(self, locks: Locks, database: Path) -> None:
        """Something else stands there: somebody may run, so only what is survived goes ahead, with a warning."""
        database.with_name("app.db.inuse.lock").mkdir()
        with locks.use_alone(database) as alone:
            assert not alone
            assert "app.db.inuse.lock" in alone.warning


class TestAnswer:
    def test_it_is_there_whole_with_the_rights_of_the_database(self, database: Path) -> None:
        """One line; what an ended daemon left unfinished is in nobody's way."""
        result = database.with_name("app.db.startup.result")
        database.chmod(0o640)
        database.with_name("app.db.startup.result.new").symlink_to(database)
        for outcome in ("held", "migrated"):
            write_answer(database, {"id": "a", "outcome": outcome})
            assert json.loads(result.read_text()) == {"id": "a", "outcome": outcome}
        assert stat.S_IMODE(result.stat().st_mode) == 0o640
        assert database.read_bytes() == b""
        assert sorted(path.name for path in database.parent.iterdir()) == ["app.db", result.name]

    def test_what_cannot_be_written_leaves_the_old_one(self, database: Path) -> None:
        """An answer that is no JSON is a bug, and half of it is not seen."""
        write_answer(database, {"id": "a"})
        with pytest.raises(TypeError):
            write_answer(database, {"id": object()})
        assert json.loads(database.with_name("app.db.startup.result").read_text()) == {"id": "a"}
        assert not database.with_name("app.db.startup.result.new").exists()

    def test_a_folder_that_is_gone_is_an_error(self, tmp_path: Path) -> None:
        """Nobody is told that an answer was written."""
        with pytest.raises(FileNotFoundError):
            write_answer(tmp_path / "none" / "app.db", {"id": "a"})


def test_a_service_that_runs_is_seen_from_another_process(locks: Locks, database: Path) -> None:
    """A real one, which holds its lock until it ends."""
    code = """
import sys
from driftd.startup.starter import Starter
with Starter(sys.argv[1]) as starter:
    starter.answer(lambda _: {"outcome": "up_to_date"})
    starter.stay()
print("runs", flush=True)
sys.stdin.read()
"""
    with beside(code, database):
        assert locks.starting(database) is None
        with locks.use_alone(database) as alone:
            assert not alone
    with locks.use_alone(database) as alone:
        assert alone
