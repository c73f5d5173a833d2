"""A service that runs: it says so, is not in its own way, nests, forks, and shares a database with other users."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

import unprivileged
from driftd import lock_file
from driftd.locks import Locks
from driftd.startup.starter import Starter
from support.processes import beside
from support.sockets import DAEMON
from support.window_ends import beside_it, database_file, done, eventually, never, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Document = dict[str, Any]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs files of two users")


@pytest.fixture
def database() -> Iterator[Path]:
    """A database's file, in a folder with a short path that others may enter."""
    with database_file() as path:
        yield path


@pytest.fixture
def locks() -> Iterator[Locks]:
    locks = Locks()
    yield locks
    locks.release_all()


class TestOneProcess:
    def test_a_nested_window_has_the_outer_ones_answer(self, database: Path) -> None:
        """It would wait for itself otherwise; its end does not end the outer one."""
        with Starter(database) as outer:
            answer = outer.answer(done)
            with Starter(database) as inner:
                assert inner.answer(never) is answer
                assert inner.stay() is not None
            assert lock_file.holder_of(outer.lock_path) is not None
        outer.leave()
        assert lock_file.holder_of(outer.lock_path) is None

    def test_a_window_within_its_own_work_is_skipped(self, database: Path) -> None:
        """There is no answer yet, and there would never be one."""
        inner: list[Document] = []

        def nested(starter: Starter) -> Document:
            inner.append(Starter(starter.database).answer(never))
            return {"outcome": "up_to_date"}

        with Starter(database) as outer:
            assert outer.answer(nested)["outcome"] == "up_to_date"
        assert (inner[0]["outcome"], inner[0]["error"]["code"]) == ("skipped", "window-unavailable")

    def test_another_thread_waits_for_its_turn(self, database: Path) -> None:
        """As another process would: it is another start."""
        order: list[str] = []

        def second() -> None:
            with Starter(database) as starter:
                order.append(str(starter.answer(done)["outcome"]))

        thread = threading.Thread(target=second)
        with Starter(database) as starter:
            thread.start()
            order.append(f"first {starter.answer(done)['outcome']}")
        thread.join(20)
        assert order == ["first up_to_date", "up_to_date"]

    def test_a_forked_child_neither_holds_the_window_nor_closes_it(
        self, database: Path, locks: Locks
    ) -> None:
        """The window is the parent's; that it runs holds for the child, too, as long as that does."""
        code = """
import os, sys
from driftd import lock_file
from driftd.startup.starter import Starter
with Starter(sys.argv[1]) as starter:
    starter.answer(lambda _: {"outcome": "up_to_date"})
    starter.stay()
    ready, told = os.pipe()
    if os.fork() == 0:
        starter.close()
        starter.leave()
        os.write(told, b".")
        sys.stdin.read()
        os._exit(0)
    os.read(ready, 1)
    assert lock_file.holder_of(starter.lock_path)["id"] == starter.id
assert lock_file.holder_of(starter.lock_path) is None
print("closed", flush=True)
os._exit(0)
"""
        with process(code, database) as parent:
            assert parent.wait(20) == 0
            with locks.use_alone(database) as alone:
                assert not alone
            assert parent.stdin is not None
            parent.stdin.close()
            eventually(lambda: nobody_runs(locks, database))

    def test_a_further_window_does_not_free_what_a_forked_child_runs_on(
        self, database: Path, locks: Locks
    ) -> None:
        """The parent opens another window, or leaves: its worker still runs on the schema, and that is seen in the window."""
        code = """
import os, sys
from driftd.startup.starter import Starter
from driftd.startup.startup_locks import use_alone
first = Starter(sys.argv[1])
with first:
    first.answer(lambda _: {"outcome": "up_to_date"})
    first.stay()
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
def others(_):
    with use_alone(sys.argv[1]) as alone:
        return {"outcome": "up_to_date", "operations": 0 if alone else 7}
with Starter(sys.argv[1]) as second:
    assert second.answer(others)["operations"] == 7, "the worker counts"
    second.stay()
first.leave()
second.leave()
print("left", flush=True)
os._exit(0)
"""
        with process(code, database) as parent:
            assert parent.wait(20) == 0
            with locks.use_alone(database) as alone:
                assert not alone
            assert parent.stdin is not None
            parent.stdin.close()
            eventually(lambda: nobody_runs(locks, database))


def nobody_runs(locks: Locks, database: Path) -> bool:
    with locks.use_alone(database) as alone:
        return bool(alone)


class TestStaying:
    def test_a_service_that_runs_is_known_until_it_leaves(self, database: Path, locks: Locks) -> None:
        """Its lock outlives the window."""
        with Starter(database) as starter:
            starter.answer(done)
            descriptor = starter.stay()
            assert descriptor is not None
            assert not os.get_inheritable(descriptor)
        with locks.use_alone(database) as alone:
            assert not alone
        starter.leave()
        starter.leave()
        with locks.use_alone(database) as alone:
            assert alone

    def test_what_inherits_it_runs_until_it_ends(self, database: Path, locks: Locks) -> None:
        """As the command of `driftd exec` does."""
        with Starter(database) as starter:
            starter.answer(done)
            descriptor = starter.stay(inheritable=True)
        assert descriptor is not None
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[descriptor]) as child:
            os.close(descriptor)  # as execvp would leave it: only the command has it
            with locks.use_alone(database) as alone:
                assert not alone
            assert child.stdin is not None
            child.stdin.close()
            child.wait()
        with locks.use_alone(database) as alone:
            assert alone
        # The number is gone, so that nothing else of this process may be closed by it.
        held = os.open(database, os.O_RDONLY)
        os.dup2(held, descriptor)
        starter.leave()
        if held != descriptor:
            os.close(held)

    def test_a_process_is_not_in_its_own_way(self, database: Path, locks: Locks) -> None:
        """While it has another window its lock is free; behind it, it is held as before."""
        with Starter(database) as first:
            first.stay()

        def alone_now(_starter: Starter) -> Document:
            with locks.use_alone(database) as alone:
                return {"outcome": "migrated" if alone else "held"}

        with Starter(database) as second:
            assert second.answer(alone_now)["outcome"] == "migrated"
        assert alone_now(second)["outcome"] == "held"
        with Starter(database) as third:
            assert third.answer(alone_now)["outcome"] == "migrated"
            assert third.stay() is not None
        first.leave()
        assert alone_now(third)["outcome"] == "held"
        third.leave()
        assert alone_now(third)["outcome"] == "migrated"

    def test_somebody_else_who_runs_is_in_the_way(self, database: Path, locks: Locks) -> None:
        """Only the process's own lock is freed for its window."""
        with Starter(database) as mine:
            mine.stay()
        code = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_SH); print(1, flush=True); sys.stdin.read()"
        with beside(code, beside_it(database, ".inuse.lock")), Starter(database) as starter:
            with locks.use_alone(database) as alone:
                assert not alone
            starter.answer(done)
        mine.leave()

    def test_a_lock_that_was_deleted_is_made_anew(self, database: Path, locks: Locks) -> None:
        """Against the rule; from the next window on the service is known again, under the same number."""
        with Starter(database) as starter:
            descriptor = starter.stay()
        beside_it(database, ".inuse.lock").unlink()
        with Starter(database) as again:
            assert again.stay() == descriptor
        with locks.use_alone(database) as alone:
            assert not alone
        starter.leave()
        again.leave()

    def test_without_a_window_nobody_stays(self, database: Path) -> None:
        """Who holds no startup lock might begin to run in the middle of a migration."""
        assert Starter(database).stay() is None
        beside_it(database, ".inuse.lock").mkdir()
        with Starter(database) as starter:
            assert starter.stay() is None


# As an unprivileged user: what comes of a window of argv[2]; prints the answer, and whether it can say that it runs.
STRANGER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from driftd.startup.starter import NoWindow, Starter
starter = Starter(sys.argv[2], timeout=float(sys.argv[3]))
answer = starter.answer(lambda _: {"outcome": "migrated"})
print(json.dumps({**answer, "stays": starter.stay() is not None}))
"""


class TestOtherUsers:
    @as_root
    def test_who_may_only_read_the_locks_waits_and_has_no_window(self, database: Path) -> None:
        """It does not start in the middle of a migration; it cannot say who it is, so nobody works for it."""
        beside_it(database, ".startup.lock").touch(0o644)
        beside_it(database, ".inuse.lock").touch(0o644)
        answer = json.loads(unprivileged.run(STRANGER, DAEMON, database, 15))
        assert (answer["outcome"], answer["error"]["code"]) == ("skipped", "window-unavailable")
        assert answer["stays"] is True
        with Starter(database):
            answer = json.loads(unprivileged.run(STRANGER, DAEMON, database, 0.1))
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "window-deadline")

    @as_root
    def test_who_may_write_them_has_a_window_in_a_folder_that_he_may_not(self, database: Path) -> None:
        """The files are there, made by the database's owner with the database's rights."""
        database.chmod(0o666)
        with Starter(database) as starter:
            starter.stay()
        starter.leave()
        answer = json.loads(unprivileged.run(STRANGER, DAEMON, database, 15))
        assert (answer["outcome"], answer["by"], answer["stays"]) == ("migrated", "alone", True)

    @as_root
    def test_where_no_lock_can_be_made_there_is_no_window(self, database: Path) -> None:
        """Nor where the folder itself is missing and may not be made."""
        for path in (database, database.parent / "none" / "app.db"):
            answer = json.loads(unprivileged.run(STRANGER, DAEMON, path, 15))
            assert (answer["outcome"], answer["error"]["code"]) == ("skipped", "window-unavailable")
            assert "Permission denied" in answer["error"]["why"]
            assert answer["stays"] is False
