from __future__ import annotations

import fcntl
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import unprivileged
from driftd import locks, processes
from driftd.locks import Locks, is_served, lock_paths, state_folder
from driftengine.errors import BusyError, ConfigurationError, DatabaseError
from support.processes import beside, last_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAEMON = Path(__file__).resolve().parents[2] / "daemon"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs files of two users")

# Another daemon: serves argv[1] with the state folder argv[2] until it is told to stop.
DAEMON_BESIDE = """
import sys
from pathlib import Path
from driftd.locks import Locks
from driftengine.errors import DriftError
registry = Locks()
try:
    registry.serve(Path(sys.argv[1]), state_folder=Path(sys.argv[2]), version="9.9", socket="/run/9.sock")
    print("served", flush=True)
except DriftError as error:
    print(error.code, flush=True)
sys.stdin.read()
"""
# Some other program that has locked the file argv[1] as it is.
FLOCKER = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
# As an unprivileged user; prints what became of it, then who serves the database.
STRANGER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from driftd.locks import Locks, is_served
from driftengine.errors import DriftError
database, state = Path(sys.argv[2]), Path(sys.argv[3])
told = {}
try:
    lock = Locks().serve(database, state_folder=state)
    told = {"path": str(lock.path), "elsewhere": lock.elsewhere}
except DriftError as error:
    told = error.as_document()
print(json.dumps({**told, "served": is_served(database, state)}), flush=True)
"""


@pytest.fixture
def registry() -> Iterator[Locks]:
    """The locks of this process, given up at the end."""
    registry = Locks()
    yield registry
    registry.release_all()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder that an unprivileged user can enter (pytest's own cannot be)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder, not made yet."""
    return tmp_path / "state"


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database's file, in a folder of its own."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "app.db"
    path.write_bytes(b"")
    return path


def lock_file(database: Path) -> Path:
    return database.with_name("app.db.daemon.lock")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_stranger(database: Path, state: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(unprivileged.run(STRANGER, DAEMON, database, state))
    return told


class TestServing:
    def test_one_daemon_serves_a_database(self, registry: Locks, database: Path, state: Path) -> None:
        """The second is refused, and told the pid and the command of the first."""
        with beside(DAEMON_BESIDE, database, str(state)) as other:
            with pytest.raises(BusyError) as refused:
                registry.serve(database, state_folder=state)
            assert refused.value.code == "target-served"
            assert f"pid {other.pid} ({sys.executable}"[:60] in refused.value.why
            assert str(lock_file(database)) in refused.value.why
        assert registry.serve(database, state_folder=state).elsewhere == ""

    def test_a_killed_daemon_leaves_nothing_behind(
        self, registry: Locks, database: Path, state: Path
    ) -> None:
        """The kernel frees the lock; what the dead one wrote is replaced."""
        with beside(DAEMON_BESIDE, database, str(state)) as other:
            other.kill()
            other.wait()
        assert is_served(database, state) is None
        assert json.loads(lock_file(database).read_text())["version"] == "9.9"
        registry.serve(database, state_folder=state, version="1.0")
        assert json.loads(lock_file(database).read_text())["version"] == "1.0"

    def test_of_many_at_once_one_wins(self, database: Path, state: Path) -> None:
        """Daemons that start in the same moment: exactly one serves."""
        command = [sys.executable, "-c", DAEMON_BESIDE, str(database), str(state)]
        pipe = subprocess.PIPE
        started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
        words = [process.stdout.readline().strip() for process in started if process.stdout]
        for process in started:
            last_word(process)
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        assert sorted(words) == ["served", "target-served", "target-served", "target-served"]

    def test_the_file_says_who_holds_it(self, registry: Locks, database: Path, state: Path) -> None:
        """One line of JSON with what proves that its writer lives; anybody who may read the database may read it."""
        registry.serve(database, state_folder=state, version="1.0", socket="/run/driftd.sock")
        text = lock_file(database).read_text()
        body = json.loads(text)
        assert text.endswith("\n")
        assert set(body) == {"pid", "started", "boot_id", "host", "since", "version", "socket"}
        assert body["pid"] == os.getpid()
        assert processes.alive(body["pid"], body["started"], boot=body["boot_id"], host_name=body["host"])
        assert is_served(database, state) == {**body, "path": str(lock_file(database))}

    def test_a_released_lock_is_free_and_its_file_stays(
        self, registry: Locks, database: Path, state: Path
    ) -> None:
        """Deleting it would let two daemons lock two files of one name. Releasing twice does no harm."""
        lock = registry.serve(database, state_folder=state)
        lock.release()
        lock.release()
        assert lock_file(database).read_text() == ""
        with beside(DAEMON_BESIDE, database, str(state)):
            served = is_served(database, state)
            assert served is not None
            assert served["version"] == "9.9"
        assert registry.serve(database, state_folder=state) is not lock

    def test_a_child_that_inherited_it_does_not_keep_it(
        self, registry: Locks, database: Path, state: Path
    ) -> None:
        """Releasing frees the lock also where a child has a copy of the descriptor."""
        lock = registry.serve(database, state_folder=state)
        command = [sys.executable, "-c", "input()"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[lock.descriptor]
        ):
            lock.release()
            assert is_served(database, state) is None


class TestOneProcess:
    def test_the_same_database_twice_is_a_mistake(
        self, registry: Locks, database: Path, state: Path, tmp_path: Path
    ) -> None:
        """By whatever name: two targets that lead to one file are told, not locked out by each other."""
        registry.serve(database, state_folder=state)
        link = tmp_path / "link.db"
        link.symlink_to(database)
        for path in (database, link, database.parent / ".." / "data" / "app.db"):
            with pytest.raises(BusyError) as refused:
                registry.serve(path, state_folder=state)
            assert refused.value.code == "target-served-here"

    def test_a_second_registry_is_told_the_same(self, registry: Locks, database: Path, state: Path) -> None:
        """The file says that its holder is this very process."""
        registry.serve(database, state_folder=state)
        with pytest.raises(BusyError) as refused:
            Locks().serve(database, state_folder=state)
        assert refused.value.code == "target-served-here"


class TestWhoseFile:
    @pytest.mark.parametrize("rights", [0o600, 0o640, 0o666, 0o755])
    def test_who_may_use_the_database_may_use_its_lock(
        self, registry: Locks, database: Path, state: Path, rights: int
    ) -> None:
        """The mode is the database's, without x bits, whatever the umask."""
        database.chmod(rights)
        before = os.umask(0o077)
        try:
            registry.serve(database, state_folder=state)
        finally:
            os.umask(before)
        assert mode(lock_file(database)) == rights & 0o666

    def test_without_a_database_the_folder_decides(
        self, registry: Locks, database: Path, state: Path
    ) -> None:
        """The mode is then the folder's, without its x bits."""
        database.unlink()
        database.parent.chmod(0o2750)
        registry.serve(database, state_folder=state)
        assert mode(lock_file(database)) == 0o640

    @as_root
    def test_root_gives_it_to_the_owner_of_the_database(
        self, registry: Locks, database: Path, state: Path
    ) -> None:
        """A daemon of root does not lock the owner's daemon out for ever."""
        os.chown(database, unprivileged.NOBODY, unprivileged.NOBODY)
        registry.serve(database, state_folder=state)
        found = lock_file(database).stat()
        assert (found.st_uid, found.st_gid) == (unprivileged.NOBODY, unprivileged.NOBODY)

    @as_root
    def test_who_may_not_write_may_lock(self, database: Path, state: Path) -> None:
        """A file opened for reading can be locked; what an earlier holder wrote there names nobody who has ended."""
        lock_file(database).write_text('{"pid": 4194305, "started": 1.0}\n')
        lock_file(database).chmod(0o444)
        told = as_stranger(database, state)
        assert told["path"] == str(lock_file(database))
        assert told["served"]["path"] == told["path"]
        assert lock_file(database).read_text().startswith('{"pid": 4194305')

    @as_root
    def test_a_file_that_may_not_be_opened_is_no_reason_to_go_elsewhere(
        self, database: Path, state: Path
    ) -> None:
        """It may be locked, and two would serve: so this is an error that says whose file it is to look at."""
        lock_file(database).touch(0o600)
        lock_file(database).chmod(0o600)
        told = as_stranger(database, state)
        assert told["code"] == "lock-unusable"
        assert str(lock_file(database)) in told["what"]
        assert "Permission denied" in told["why"]
        assert told["served"] is None


class TestElsewhere:
    @as_root
    def test_a_folder_that_may_not_be_written(self, database: Path, state: Path) -> None:
        """The lock goes into the state folder, and says so; whoever looks finds it there."""
        state.mkdir(mode=0o777)
        state.chmod(0o777)
        told = as_stranger(database, state)
        assert told["path"] == str(lock_paths(database, state)[1])
        assert str(lock_file(database)) in told["elsewhere"]
        assert "Permission denied" in told["elsewhere"]
        assert told["served"]["path"] == told["path"]
        assert not lock_file(database).exists()

    @as_root
    def test_no_place_at_all(self, database: Path, state: Path) -> None:
        """Neither beside the database nor in the state folder: an error that names both."""
        told = as_stranger(database, state)
        assert told["code"] == "lock-unusable"
        assert str(lock_file(database)) in told["why"]
        assert str(state) in told["fix"]

    def test_a_missing_folder(self, registry: Locks, tmp_path: Path, state: Path) -> None:
        """The daemon does not make the service's folder; it keeps its lock in a state folder for its user alone."""
        database = tmp_path / "none" / "app.db"
        lock = registry.serve(database, state_folder=state)
        assert lock.path == lock_paths(database, state)[1]
        assert lock.path.parent.parent == state
        assert "No such file" in lock.elsewhere
        assert (mode(state), mode(lock.path)) == (0o700, 0o600)
        assert not database.parent.exists()

    def test_a_folder_that_appears_later_lets_nobody_in(
        self, registry: Locks, tmp_path: Path, state: Path
    ) -> None:
        """A second daemon, for which there is a place beside the database, still finds the first."""
        database = tmp_path / "none" / "app.db"
        registry.serve(database, state_folder=state)
        database.parent.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", DAEMON_BESIDE, str(database), str(state)],
            input="",
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "target-served\n"

    def test_a_name_too_long_for_a_suffix(self, registry: Locks, tmp_path: Path, state: Path) -> None:
        """The database's own name may be as long as a name can be."""
        lock = registry.serve(tmp_path / ("x" * 250 + ".db"), state_folder=state)
        assert "too long" in lock.elsewhere


class TestWhatMayStandThere:
    @pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe", "hard link"])
    def test_what_is_no_plain_file_is_refused_untouched(
        self, registry: Locks, database: Path, state: Path, tmp_path: Path, kind: str
    ) -> None:
        """Nobody can have root write into a file of his choice, and a pipe does not make the daemon wait."""
        precious = tmp_path / "precious"
        precious.write_text("precious")
        path = lock_file(database)
        make: dict[str, Callable[[], None]] = {
            "symlink": lambda: path.symlink_to(precious),
            "dangling": lambda: path.symlink_to(tmp_path / "nothing"),
            "folder": path.mkdir,
            "pipe": lambda: os.mkfifo(path),
            "hard link": lambda: os.link(precious, path),
        }
        make[kind]()
        with pytest.raises(DatabaseError) as refused:
            registry.serve(database, state_folder=state)
        assert refused.value.code == "lock-unusable"
        assert is_served(database, state) is None
        assert precious.read_text() == "precious"
        assert not (tmp_path / "nothing").exists()

    @pytest.mark.parametrize(
        "text",
        ["", "[]\n", '{"pid": 1', '{"pid": "1"}\n', '{"pid": 4194305, "host": []}\n', "[" * 4095 + "\n"],
    )
    def test_nothing_that_is_written_there_hides_the_holder(
        self, registry: Locks, database: Path, state: Path, text: str
    ) -> None:
        """An empty, torn or forged body is no body: the system itself is asked who holds the lock."""
        lock_file(database).write_text(text)
        with beside(FLOCKER, lock_file(database)) as other:
            with pytest.raises(BusyError) as refused:
                registry.serve(database, state_folder=state)
            assert refused.value.code == "target-served"
            if processes.LINUX and "host" not in text:
                assert f"pid {other.pid} " in refused.value.why
            assert is_served(database, state) is not None

    def test_a_file_that_is_replaced_while_it_is_locked_is_locked_anew(
        self, registry: Locks, database: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A lock on a file that somebody has deleted keeps nobody out."""
        first: list[int] = []
        lock = locks._flock_until

        def deleted(descriptor: int, until: float) -> bool:
            if not first:
                first.append(descriptor)
                lock_file(database).unlink()
            return lock(descriptor, until)

        monkeypatch.setattr(locks, "_flock_until", deleted)
        held = registry.serve(database, state_folder=state)
        assert os.fstat(held.descriptor).st_ino == lock_file(database).stat().st_ino


class TestIsServed:
    def test_asking_makes_no_file(self, database: Path, state: Path) -> None:
        """A question leaves nothing behind."""
        assert is_served(database, state) is None
        assert list(database.parent.iterdir()) == [database]
        assert not state.exists()

    def test_a_question_does_not_refuse_a_daemon(
        self, registry: Locks, database: Path, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It holds the lock, shared, for microseconds: a daemon that starts in them tries again."""
        lock_file(database).touch()
        asking = os.open(lock_file(database), os.O_RDONLY)
        fcntl.flock(asking, fcntl.LOCK_SH)
        waited = []

        def answered(seconds: float) -> None:
            waited.append(seconds)
            fcntl.flock(asking, fcntl.LOCK_UN)

        monkeypatch.setattr("driftd.locks.time.sleep", answered)
        registry.serve(database, state_folder=state)
        os.close(asking)
        assert waited == [locks.POLL]


class TestStateFolder:
    @pytest.mark.parametrize(
        ("environment", "folder"),
        [
            ({"STATE_DIRECTORY": "/s/a:/s/b", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s/a"),
            ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/driftd"),
            ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/driftd"),
            ({"HOME": "/h"}, "/h/.local/state/driftd"),
        ],
    )
    def test_the_first_that_is_set_wins(self, environment: dict[str, str], folder: str) -> None:
        """The service manager's, the desktop's, the user's, in this order."""
        assert state_folder(environment) == Path(folder)

    def test_root_without_a_home_has_the_system_s(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A service of root has no HOME; everybody else has one in the list of users, or must name a folder."""
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert state_folder({}) == Path("/var/lib/driftd")
        monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 2)
        with pytest.raises(ConfigurationError) as refused:
            state_folder({})
        assert refused.value.code == "state-folder-unknown"
