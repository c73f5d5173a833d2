"""A starting service: its turn, its answer, its deadline, and what it leaves, whoever dies meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from driftd import lock_file
from driftd.locks import Locks
from driftd.server import Handler
from driftd.startup import answers
from driftd.startup.starter import LONGEST, SHORTEST, NoWindow, Starter, pause
from driftengine.errors import BusyError
from support.sockets import answering, serving
from support.window_ends import (
    SILENT,
    STARTER,
    answering_in_files,
    beside_it,
    database_file,
    done,
    eventually,
    go_on,
    never,
    process,
    word,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    Document = dict[str, Any]


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


class TestAlone:
    def test_without_a_daemon_it_is_done_alone(self, database: Path) -> None:
        """While the window is open; the answer has every member, whatever was left out."""
        with Starter(database) as starter:
            answer = starter.answer(lambda one: {"outcome": "migrated", "id": "x", "database": one.database})
            assert set(answer) == set(answers.whole({}, "", "", None))
            assert (answer["outcome"], answer["by"], answer["id"]) == ("migrated", "alone", starter.id)
            assert starter.answer(never) is answer

    def test_who_cannot_do_it_alone_is_told_so(self, database: Path) -> None:
        """Skipped, as nobody has tried; the error says what to do."""
        with Starter(database) as starter:
            answer = starter.answer()
        assert (answer["outcome"], answer["by"], answer["error"]["code"]) == ("skipped", None, "no-daemon")

    def test_a_bug_in_it_does_not_stop_the_service(self, database: Path) -> None:
        """Unknown, with what it was."""
        with Starter(database) as starter:
            answer = starter.answer(lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
        assert (answer["outcome"], answer["error"]["code"]) == ("unknown", "internal")
        assert "ZeroDivisionError" in answer["error"]["why"]

    def test_control_c_ends_it_and_frees_the_lock(self, database: Path) -> None:
        """It is no failure to be swallowed."""

        def interrupted(_starter: Starter) -> Document:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt), Starter(database) as starter:
            starter.answer(interrupted)
        assert lock_file.holder_of(starter.lock_path) is None

    def test_a_window_without_time_is_not_worked_in(self, database: Path) -> None:
        """The time was up in the queue: nothing was changed, and that is known."""
        with Starter(database, began=time.monotonic() - 20) as starter:
            answer = starter.answer(never)
        assert (answer["outcome"], answer["error"]["code"]) == ("deferred", "window-deadline")


class TestOpening:
    def test_a_missing_folder_is_made(self, database: Path) -> None:
        """With its parents, as the service would."""
        with Starter(database.parent / "new" / "er" / "app.db") as starter:
            assert starter.answer(done)["outcome"] == "up_to_date"
        assert [path.name for path in (database.parent / "new" / "er").iterdir()] == ["app.db.startup.lock"]

    @pytest.mark.parametrize(
        "name", ["", ":memory:", "file:app.db?mode=memory", "folder", "pipe", "n\0l", "file/below"]
    )
    def test_what_is_no_file_has_no_window(
        self, database: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The reason is said, and nothing is made."""
        monkeypatch.chdir(database.parent)
        Path("folder").mkdir()
        Path("file").touch()
        os.mkfifo("pipe")
        before = sorted(Path().iterdir())
        starter = Starter(name)
        with pytest.raises(NoWindow) as refused:
            starter.open()
        assert refused.value.error["code"] == "window-unavailable"
        assert refused.value.error["why"]
        answer = starter.answer(never)
        assert (answer["outcome"], answer["error"]) == ("skipped", refused.value.error)
        assert sorted(Path().iterdir()) == before

    @pytest.mark.parametrize("kind", ["symlink", "folder", "pipe"])
    def test_what_stands_in_the_way_of_the_lock_is_left_untouched(self, database: Path, kind: str) -> None:
        """The service starts without a window."""
        path = beside_it(database, ".startup.lock")
        if kind == "symlink":
            path.symlink_to(database)
        elif kind == "folder":
            path.mkdir()
        else:
            os.mkfifo(path)
        answer = Starter(database).answer(never)
        assert (answer["outcome"], answer["error"]["code"]) == ("skipped", "window-unavailable")
        assert database.read_bytes() == b""

    def test_the_lock_says_who_starts_and_is_emptied(self, database: Path) -> None:
        """So that the next one is not taken for this one before it has written; the file stays."""
        with Starter(database) as starter:
            body = lock_file.holder_of(starter.lock_path)
            assert body is not None
            assert (body["id"], body["pid"], body["socket"]) == (starter.id, os.getpid(), True)
            assert body["until_monotonic"] == starter.until
        starter.close()
        assert beside_it(database, ".startup.lock").read_bytes() == b""

    def test_by_a_link_it_is_the_same_lock_and_beside_it_another(self, database: Path) -> None:
        """The real path counts; another database of the folder waits for nobody."""
        link = database.with_name("link.db")
        link.symlink_to(database)
        assert Starter(link).lock_path == Starter(database).lock_path
        with Starter(database), Starter(database.with_name("other.db")) as other:
            assert other.answer(done)["outcome"] == "up_to_date"


class TestQueue:
    def test_a_killed_starter_makes_room_at_once(self, database: Path) -> None:
        """The kernel frees its lock, and what it wrote is replaced."""
        with process(STARTER, database, 15) as other:
            threading.Timer(0.02, other.kill).start()
            with Starter(database) as starter:
                body = lock_file.holder_of(starter.lock_path)
        assert body is not None
        assert body["id"] == starter.id

    def test_eight_at_once_go_one_after_the_other(self, database: Path) -> None:
        """No two have their window at the same time, and all get their answer."""
        code = """
import sys
from driftd.startup.starter import Starter
print("ready", flush=True)
sys.stdin.readline()
def alone(starter):
    with open(sys.argv[1] + ".log", "a") as log:
        for what in ("in", "out"):
            log.write(f"{what} {starter.id}\\n")
            log.flush()
    return {"outcome": "up_to_date"}
with Starter(sys.argv[1], timeout=60) as starter:
    print(starter.answer(alone)["outcome"], flush=True)
"""
        command = [sys.executable, "-c", code, str(database)]
        pipe = subprocess.PIPE
        others = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(8)]
        try:
            assert {word(one) for one in others} == {"ready"}
            assert {one.communicate("\n", timeout=60)[0].strip() for one in others} == {"up_to_date"}
        finally:
            for one in others:
                one.kill()
        lines = [line.split() for line in beside_it(database, ".log").read_text().splitlines()]
        assert [what for what, _ in lines] == ["in", "out"] * 8
        assert all(first[1] == second[1] for first, second in zip(lines[::2], lines[1::2], strict=True))

    def test_the_queue_counts(self, database: Path) -> None:
        """At the deadline it starts without a window, and is told who was in it."""
        with process(STARTER, database, 15) as other:
            starter = Starter(database, timeout=0.1)
            with pytest.raises(NoWindow) as refused:
                starter.open()
            assert time.monotonic() >= starter.until
            assert refused.value.error["code"] == "window-deadline"
            assert f"pid {other.pid}" in refused.value.error["why"]
            answer = starter.answer(never)
            assert (answer["outcome"], answer["by"], answer["id"]) == ("deferred", None, starter.id)
            assert go_on(other)["outcome"] == "up_to_date"

    def test_a_lock_that_is_deleted_while_it_is_waited_for(self, database: Path) -> None:
        """Against the rule; the one who waits is not left waiting on a file that nobody sees."""
        with process(STARTER, database, 15):
            threading.Timer(0.02, beside_it(database, ".startup.lock").unlink).start()
            with Starter(database) as starter:
                body = lock_file.holder_of(starter.lock_path)
                assert body is not None
                assert body["id"] == starter.id

    @pytest.mark.parametrize(
        ("waited", "left", "seconds"),
        [
            (0.0, 15.0, SHORTEST),
            (0.2, 14.8, 0.02),
            (3.0, 12.0, LONGEST),
            (10.1, 4.9, SHORTEST),
            (14.9, 0.001, 0.001),
            (20.0, -5.0, 0.0),
        ],
    )
    def test_how_long_it_pauses(self, waited: float, left: float, seconds: float) -> None:
        """Short at first, long in between, short again towards the end, never past it."""
        assert pause(waited, left) == pytest.approx(seconds)


class TestSocket:
    def test_the_daemons_answer_comes_over_the_socket(self, database: Path, locks: Locks) -> None:
        """No file is made for it."""
        path = database.with_name("d.sock")
        asked: list[Document] = []

        async def window(request: Any) -> Document:
            asked.append(request.arguments)
            return {"outcome": "migrated", "by": "daemon"}

        locks.serve(database, state_folder=database.parent / "state", socket=str(path))
        with serving(path, {"window": Handler(window)}), Starter(database) as starter:
            answer = starter.answer(never)
        assert (answer["outcome"], answer["by"], answer["id"]) == ("migrated", "daemon", starter.id)
        assert asked == [{"window": starter.id, "database": os.path.realpath(database)}]
        assert not beside_it(database, ".startup.result").exists()

    @pytest.mark.parametrize("fault", ["nobody", "unknown", "refused", "not allowed", "garbage", "too long"])
    def test_a_socket_that_does_not_help_leads_to_files(self, database: Path, fault: str) -> None:
        """Whatever the reason, the daemon that holds the lock can be asked in another way."""
        path = database.with_name("d.sock")

        async def refuses(_request: Any) -> Document:
            code = "not-allowed" if fault == "not allowed" else "window-closed"
            raise BusyError("no", code=code)

        handler = Handler(answering({"outcome": 7}) if fault == "garbage" else refuses)
        handlers = {"version" if fault == "unknown" else "window": handler}
        told = str(path) + "x" * (300 if fault == "too long" else fault == "nobody")
        with serving(path, handlers), answering_in_files(database, {"outcome": "held"}, socket=told) as ids:
            with Starter(database) as starter:
                answer = starter.answer(never)
            assert (answer["outcome"], answer["by"]) == ("held", "daemon")
            assert ids == [starter.id]


class TestFiles:
    def test_the_daemon_answers_in_the_file(self, database: Path) -> None:
        """What lies there from earlier windows, and what is no answer at all, is passed over."""
        right = {"outcome": "migrated", "operations": 2}
        wrong: list[Document] = [{"id": "earlier", "outcome": "held"}, {"outcome": 7}, {}]
        beside_it(database, ".startup.result").write_text('{"id": "old", "outcome": "failed"}\n')
        with answering_in_files(database, *wrong, right), Starter(database) as starter:
            answer = starter.answer(never)
        assert (answer["outcome"], answer["operations"], answer["id"]) == ("migrated", 2, starter.id)

    @pytest.mark.parametrize("text", ["", "{", '{"id": "ID"', "[]", "[" * 100_000, "\xff"])
    def test_a_result_that_cannot_be_read_is_none(self, database: Path, text: str) -> None:
        """Torn, empty or garbage: at the deadline nothing is known."""
        with process(SILENT, database, "") as daemon, Starter(database, timeout=0.4) as starter:
            result = beside_it(database, ".startup.result")

            def forge() -> None:
                if word(daemon) == "asked":
                    result.write_text(text.replace("ID", starter.id), encoding="latin-1")

            thread = threading.Thread(target=forge)
            thread.start()
            answer = starter.answer(never)
            thread.join(20)
        assert (answer["outcome"], answer["error"]["code"]) == ("unknown", "window-unknown")

    def test_it_knocks_behind_its_body(self, database: Path) -> None:
        """The result is made anew, empty, when the window can be read: that is what a daemon hears."""
        result = beside_it(database, ".startup.result")
        result.write_text("old")
        heard: list[bytes] = []

        def listen() -> None:
            eventually(lambda: result.exists() and result.read_bytes() == b"")
            heard.append(beside_it(database, ".startup.lock").read_bytes())
            daemon.kill()

        with process(SILENT, database, "") as daemon, Starter(database) as starter:
            thread = threading.Thread(target=listen)
            thread.start()
            assert starter.answer(done)["by"] == "alone"
            thread.join(20)
        assert json.loads(heard[0])["socket"] is False

    def test_a_folder_at_the_results_place_is_no_answer(self, database: Path) -> None:
        """It can neither be removed nor knocked with; the daemon is waited for all the same."""
        beside_it(database, ".startup.result").mkdir()
        with process(SILENT, database, ""), Starter(database, timeout=0.1) as starter:
            assert starter.answer(never)["outcome"] == "unknown"


class TestDeaths:
    @pytest.mark.parametrize("socket", [True, False], ids=["socket", "files"])
    def test_a_killed_daemon_is_done_without(self, database: Path, socket: bool) -> None:
        """Its lock is free as soon as it is dead, and the work goes on alone, in the same window."""
        with process(SILENT, database, database.with_name("d.sock") if socket else "") as daemon:

            def kill() -> None:
                assert word(daemon) == "asked"
                daemon.kill()

            thread = threading.Thread(target=kill)
            thread.start()
            with Starter(database) as starter:
                answer = starter.answer(done)
                body = lock_file.holder_of(starter.lock_path)
            thread.join(20)
        assert (answer["outcome"], answer["by"]) == ("up_to_date", "alone")
        # A daemon that begins to serve meanwhile leaves this window alone.
        assert body is not None
        assert (body["id"], body["socket"]) == (starter.id, True)

    @pytest.mark.parametrize("socket", [True, False], ids=["socket", "files"])
    def test_a_stopped_daemon_is_waited_for_until_the_deadline(self, database: Path, socket: bool) -> None:
        """Then the outcome is unknown, and the service starts."""
        with process(SILENT, database, database.with_name("d.sock") if socket else "") as daemon:
            daemon.send_signal(signal.SIGSTOP)
            with Starter(database, timeout=0.3) as starter:
                answer = starter.answer(never)
                assert time.monotonic() >= starter.until
            assert (answer["outcome"], answer["by"]) == ("unknown", None)
            assert answer["error"]["code"] == "window-unknown"


def test_a_start_imports_what_it_must_and_nothing_else() -> None:
    """A service that starts pays for each import; the socket's comes with the first daemon that has one."""
    code = "import sys, driftd.startup.starter, driftd.client; print(*sorted(sys.modules))"
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=folder
        )
    heavy = {
        "dataclasses",
        "typing",
        "pathlib",
        "logging",
        "contextlib",
        "subprocess",
        "threading",
        "psutil",
        "driftengine",
    }
    bare = subprocess.run(
        [sys.executable, "-c", "import sys, socket, json; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert heavy.intersection(run.stdout.split()) - set(bare.stdout.split()) == set()
