from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

import unprivileged
from driftd import processes
from support.processes import HOLDER, beside

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
linux = pytest.mark.skipif(not processes.LINUX, reason="/proc is Linux's")

OPENER = """
import os, sys
os.chdir(os.path.dirname(sys.argv[1]))
file = open(os.path.basename(sys.argv[1]), "rb")
print("open", flush=True)
sys.stdin.read()
"""
# Takes a lock, starts a child that inherits the descriptor, and ends at once; the child lives as long as stdin does.
TESTATOR = """
import fcntl, os, subprocess, sys
descriptor = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(descriptor, fcntl.LOCK_EX)
child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=[descriptor])
print(os.getpid(), child.pid, flush=True)
os._exit(0)
"""
LISTENER = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
sys.stdin.read()
"""


def found(*paths: Path) -> dict[tuple[int, str], str]:
    """How each process but this one holds each of the paths, by pid and the path's name."""
    holders = processes.holders(paths)["holders"]
    return {(one["pid"], Path(one["path"]).name): one["how"] for one in holders if one["pid"] != os.getpid()}


def a_file(folder: Path, name: str = "app.db") -> Path:
    path = folder / name
    path.write_bytes(b"")
    return path


class TestOwnFigures:
    def test_they_follow_what_the_process_does(self, tmp_path: Path) -> None:
        """A file, a thread and work that begin are in the next figures."""
        before = processes.own_figures()
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        with a_file(tmp_path).open("rb"):
            sum(range(200_000))
            after = processes.own_figures()
        stop.set()
        thread.join()
        assert after["open_files"] == before["open_files"] + 1
        assert after["threads"] == before["threads"] + 1
        assert after["cpu_s"] > before["cpu_s"]

    def test_they_are_those_that_psutil_sees(self) -> None:
        """Memory is resident bytes, as everybody counts them."""
        theirs = psutil.Process()
        before, ours, after = theirs.num_threads(), processes.own_figures(), theirs.num_threads()
        assert ours["memory"]["rss_bytes"] == pytest.approx(theirs.memory_info().rss, rel=0.1)
        # A thread of another test may be about to end.
        assert min(before, after) <= ours["threads"] <= max(before, after)

    @linux
    def test_asking_costs_no_psutil(self, tmp_path: Path) -> None:
        """An idle daemon does not carry psutil's 4 MB for its own figures, nor for naming who holds a file."""
        code = """
import sys, pathlib
from driftd import processes
processes.own_figures(), processes.holders([pathlib.Path(sys.argv[1])]), processes.identify(1)
print("psutil" in sys.modules)
"""
        done = subprocess.run(
            [sys.executable, "-c", code, a_file(tmp_path)], check=True, capture_output=True, text=True
        )
        assert done.stdout.strip() == "False"


class TestHolders:
    @linux
    def test_a_lock_says_more_than_an_open_file(self, tmp_path: Path) -> None:
        """A process in a write transaction holds a lock on the database; one that only has it open is told apart."""
        database = tmp_path / "app.db"
        with (
            beside(HOLDER, database, "CREATE TABLE a (n)", "BEGIN IMMEDIATE") as writer,
            beside(HOLDER, database, "SELECT 1 FROM a") as reader,
        ):
            assert found(database) == {(writer.pid, "app.db"): "lock", (reader.pid, "app.db"): "open"}
        assert found(database) == {}

    def test_files_beside_the_database_are_told_apart(self, tmp_path: Path) -> None:
        """Each path that was asked for has an entry of its own."""
        database = tmp_path / "app.db"
        paths = [database, tmp_path / "app.db-wal", tmp_path / "app.db-journal"]
        with beside(
            HOLDER, database, "PRAGMA journal_mode = WAL", "CREATE TABLE a (n)", "SELECT * FROM a"
        ) as holder:
            assert set(found(*paths)) == {(holder.pid, "app.db"), (holder.pid, "app.db-wal")}

    def test_other_names_of_the_file_count(self, tmp_path: Path) -> None:
        """A relative path, a later rename and a hard link lead to the same file."""
        path = a_file(tmp_path, "old.db")
        with beside(OPENER, path) as holder:
            renamed = path.rename(tmp_path / "new.db")
            linked = tmp_path / "linked.db"
            os.link(renamed, linked)
            link = tmp_path / "symbolic.db"
            link.symlink_to(renamed)
            assert list(found(renamed)) == [(holder.pid, "new.db")]
            assert list(found(linked)) == [(holder.pid, "linked.db")]
            assert list(found(link)) == [(holder.pid, "symbolic.db")]

    def test_a_file_of_the_same_name_elsewhere_does_not(self, tmp_path: Path) -> None:
        """Only the file itself counts, never one that is called like it."""
        (tmp_path / "other").mkdir()
        path = a_file(tmp_path)
        with beside(OPENER, a_file(tmp_path / "other")):
            assert found(path) == {}

    @linux
    def test_a_removed_or_replaced_file_is_found_by_its_former_name(self, tmp_path: Path) -> None:
        """Who still has the old file open after a replacement is named, apart from who has the new one."""
        path = a_file(tmp_path)
        with beside(OPENER, path) as old:
            path.unlink()
            assert found(path) == {(old.pid, "app.db (deleted)"): "open"}
            a_file(tmp_path)
            with beside(OPENER, path) as new:
                assert set(found(path)) == {(old.pid, "app.db (deleted)"), (new.pid, "app.db")}

    @linux
    def test_who_inherited_a_lock_is_named_and_not_the_dead(self, tmp_path: Path) -> None:
        """/proc/locks names the process that took the lock, though it has ended; the one that holds it now counts."""
        path = a_file(tmp_path)
        command = [sys.executable, "-c", TESTATOR, str(path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            dead, heir = map(int, process.stdout.readline().split())
            process.wait()
            assert found(path) == {(heir, "app.db"): "lock"}
            assert not processes.alive(dead, None)
            process.stdin.close()
            process.stdout.read()

    def test_who_listens_on_a_socket_is_named(self, tmp_path: Path) -> None:
        """A socket is known by the path that it was bound to."""
        path = tmp_path / "driftd.sock"
        with beside(LISTENER, path) as listener, socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            assert found(path) == {(listener.pid, "driftd.sock"): "socket"}

    def test_a_path_that_is_missing_has_no_holder(self, tmp_path: Path) -> None:
        """Asking for a database that is not there, in a folder that is not there, answers with nobody."""
        assert found(tmp_path / "none" / "app.db", tmp_path / "app.db-wal") == {}

    @linux
    @pytest.mark.skipif(os.geteuid() != 0, reason="the holder has to be another user's")
    def test_processes_of_others_are_counted_and_their_locks_are_found(self) -> None:
        """Who may not look into a process still learns that it holds a lock; the rest is a number, not an error."""
        code = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from driftd import processes
try:
    open(f"/proc/{sys.argv[3]}/environ").read()
except PermissionError:
    print(json.dumps(processes.holders([Path(sys.argv[2])])))
"""
        # A folder that an unprivileged user can enter: pytest's own cannot be.
        with (
            tempfile.TemporaryDirectory() as name,
            beside(HOLDER, Path(name) / "app.db", "CREATE TABLE a (n)", "BEGIN IMMEDIATE") as holder,
        ):
            Path(name).chmod(0o755)
            told: Any = json.loads(unprivileged.run(code, DAEMON, Path(name) / "app.db", holder.pid))
        assert [(one["pid"], one["how"], one["user"]) for one in told["holders"]] == [
            (holder.pid, "lock", "root")
        ]
        assert told["unseen"] >= 1

    def test_psutil_finds_them_where_there_is_no_proc(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The way that other systems go names the same processes, without telling locks."""
        monkeypatch.setattr(processes, "LINUX", False)
        database, path = tmp_path / "app.db", tmp_path / "driftd.sock"
        with (
            beside(HOLDER, database, "CREATE TABLE a (n)", "BEGIN IMMEDIATE") as writer,
            beside(LISTENER, path) as listener,
        ):
            assert found(database, path) == {
                (writer.pid, "app.db"): "open",
                (listener.pid, "driftd.sock"): "socket",
            }


class TestLockEntries:
    def test_only_held_locks_with_a_process_count(self) -> None:
        """Waiting ones, locks of open file descriptions, and those of another pid namespace name nobody."""
        listing = (
            "1: FLOCK  ADVISORY  WRITE 5553 fe:00:2146603 0 EOF\n"
            "1: -> FLOCK  ADVISORY  WRITE 5554 fe:00:2146603 0 EOF\n"
            "2: OFDLCK ADVISORY  READ  -1 08:1a:77 0 EOF\n"
            "3: POSIX  ADVISORY  READ  0 08:1a:77 128 128\n"
            "4: POSIX  ADVISORY  READ  12 08:1a:77 1073741826 1073742335\n"
        )
        assert list(processes.lock_entries(listing)) == [(5553, (0xFE, 0), 2146603), (12, (8, 0x1A), 77)]


class TestAlive:
    def test_a_process_is_known_by_its_start_and_not_by_its_pid_alone(self) -> None:
        """The same pid with another start time is another process."""
        started = processes.started_at(os.getpid())
        assert started is not None
        assert processes.alive(os.getpid(), started)
        assert not processes.alive(os.getpid(), started - 1)

    def test_one_that_has_ended_is_dead_also_before_it_was_waited_for(self) -> None:
        """A zombie is dead, and so is a pid that is gone."""
        with subprocess.Popen([sys.executable, "-c", ""]) as process:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert processes.started_at(process.pid) is None
            assert not processes.alive(process.pid, None)
        assert not processes.alive(process.pid, None)

    def test_a_process_of_an_earlier_boot_is_dead(self) -> None:
        """Pids begin anew with each boot."""
        started = processes.started_at(os.getpid())
        assert processes.alive(os.getpid(), started, boot=processes.boot_id(), host_name=processes.host())
        if processes.LINUX:
            assert not processes.alive(os.getpid(), started, boot="another boot")

    def test_what_cannot_be_known_is_alive(self) -> None:
        """A process of another host proves nothing, whatever its pid and boot are called here."""
        assert processes.alive(2**22 + 1, 1.0, boot="another boot", host_name="another host")
        assert processes.alive(os.getpid(), None)

    def test_no_number_is_taken_for_a_group_of_processes(self) -> None:
        """0 and negative numbers address groups in kill(2), and large ones nothing: none is a process."""
        assert not any(processes.alive(pid, None) for pid in (0, -1, 2**31, 2**80))

    def test_psutil_tells_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no /proc, a start time proves by itself: it is a time of the clock."""
        monkeypatch.setattr(processes, "LINUX", False)
        started = processes.started_at(os.getpid())
        assert started is not None
        assert processes.boot_id() == ""
        assert processes.alive(os.getpid(), started)
        assert not processes.alive(os.getpid(), started - 1)
        assert processes.started_at(2**22 + 1) is None


class TestIdentify:
    def test_a_process_is_named_for_people(self) -> None:
        """Its user, what was typed, and when it began."""
        process = processes.identify(os.getpid())
        assert process["user"] == pwd.getpwuid(os.geteuid()).pw_name
        assert Path(sys.executable).name in process["command"]
        assert process["started_at"] is not None
        assert process["started_at"].endswith("Z")

    def test_psutil_names_it_alike(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Both ways give the same user and command."""
        ours = processes.identify(os.getpid())
        monkeypatch.setattr(processes, "LINUX", False)
        theirs = processes.identify(os.getpid())
        assert (ours["user"], ours["command"]) == (theirs["user"], theirs["command"])
        assert theirs["started_at"] is not None

    def test_a_long_command_is_cut(self, tmp_path: Path) -> None:
        """At most 80 characters, and the cut shows."""
        with beside(OPENER, a_file(tmp_path), "x" * 500) as process:
            command = processes.identify(process.pid)["command"]
        assert len(command) == 80
        assert command.endswith("...")

    @linux
    def test_bytes_that_are_no_text_do_no_harm(self) -> None:
        """A command line may hold any bytes; what is told can always be encoded."""
        command = ["python", "-c", "print(1, flush=True); input()", os.fsdecode(b"\xff\xfe")]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, executable=sys.executable, stdin=pipe, stdout=pipe) as process:
            assert process.stdout is not None
            process.stdout.readline()
            told = processes.identify(process.pid)["command"]
            process.communicate(b"\n")
        assert told == r"python -c print(1, flush=True); input() \xff\xfe"

    def test_nobody_is_described_as_nobody(self) -> None:
        """A process that has ended is no error: what was known of it is its number."""
        gone = processes.identify(2**22 + 1)
        assert gone == {"pid": 2**22 + 1, "user": "", "command": "", "started_at": None}
        assert processes.describe(gone) == "pid 4194305 (ended, or not to be seen from here)"

    def test_a_description_fits_into_a_sentence(self) -> None:
        """pid, command, user."""
        described = processes.describe(
            {"pid": 4711, "user": "ada", "command": "python -m app", "started_at": None}
        )
        assert described == "pid 4711 (python -m app, user ada)"
