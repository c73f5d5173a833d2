"""Where the socket lies: its permissions, what was there before, and who holds it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from driftd.socket_file import take_socket
from driftengine.errors import DriftError
from support.sockets import as_nobody, socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="gives files to others: run the tests as root")
GROUP = 54321  # a gid that nobody has
HOLD = """
import signal, sys
from pathlib import Path
from driftd.socket_file import take_socket
held = take_socket(Path(sys.argv[1]))
print("held", flush=True)
signal.pause()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with socket_folder() as folder:
        yield folder


@contextmanager
def another_daemon(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that serves the socket until the block ends."""
    command = [sys.executable, "-B", "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def refused(path: Path, code: str, *, group: str = "", readable: bool = False) -> DriftError:
    with pytest.raises(DriftError) as caught:
        take_socket(path, group=group, readable=readable)
    assert caught.value.code == code
    assert caught.value.fix
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_socket_and_its_folder_are_for_one_user(folder: Path) -> None:
    """Nobody else can come near, whatever the umask of the process."""
    path = folder / "run" / "driftd" / "d.sock"
    before = os.umask(0)
    try:
        held = take_socket(path)
        assert os.umask(0) == 0, "the umask is as it was"
    finally:
        os.umask(before)
    assert [mode(one) for one in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert mode(Path(f"{path}.lock")) == 0o600
    held.release()


@needs_root
def test_a_group_may_enter(folder: Path) -> None:
    """The socket and the folder that was made for it belong to the group, and to nobody further."""
    path = folder / "driftd" / "d.sock"
    held = take_socket(path, group=str(GROUP))
    assert held.group == GROUP
    assert (mode(path), mode(path.parent)) == (0o660, 0o750)
    assert path.lstat().st_gid == path.parent.stat().st_gid == GROUP
    held.release()


def test_everybody_may_enter_where_reading_is_open(folder: Path) -> None:
    """Peer credentials decide then, not the permissions."""
    path = folder / "driftd" / "d.sock"
    held = take_socket(path, readable=True)
    assert (mode(path), mode(path.parent)) == (0o666, 0o755)
    held.release()


def test_a_folder_that_was_there_stays_as_it_is(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is not opened for others; the log says why they cannot connect."""
    folder.chmod(0o700)
    take_socket(folder / "d.sock", readable=True).release()
    assert mode(folder) == 0o700
    (record,) = caplog.records
    assert str(folder) in record.getMessage()


def test_releasing_leaves_only_the_lock_file(folder: Path) -> None:
    """A lock file that were deleted could be locked by two at once. Releasing again does nothing."""
    held = take_socket(folder / "d.sock")
    held.release()
    held.release()
    assert [one.name for one in folder.iterdir()] == ["d.sock.lock"]
    take_socket(folder / "d.sock").release()


def test_what_a_killed_daemon_left_behind_is_replaced(folder: Path) -> None:
    """Its socket is still there, and nobody answers it."""
    path = folder / "d.sock"
    with another_daemon(path) as process:
        process.kill()
        process.wait()
        assert stat.S_ISSOCK(path.lstat().st_mode)
        held = take_socket(path)
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))
        held.release()


def test_a_second_daemon_is_refused_and_told_which_is_the_first(folder: Path) -> None:
    """Its pid stands in the error, its socket stays, and it goes on."""
    path = folder / "d.sock"
    with another_daemon(path) as process:
        error = refused(path, "socket-taken")
        assert f"pid {process.pid} " in error.why
        with closing(socket.socket(socket.AF_UNIX)) as client:
            client.connect(str(path))


def test_twice_in_one_process_is_refused_too(folder: Path) -> None:
    """A lock belongs to the open file, not to the process."""
    held = take_socket(folder / "d.sock")
    assert f"pid {os.getpid()} " in refused(folder / "d.sock", "socket-taken").why
    held.release()


def test_a_socket_that_somebody_else_answers_is_left_alone(folder: Path) -> None:
    """A server that knows nothing of our lock is not unseated, also one whose queue is full."""
    path = folder / "d.sock"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(path))
        server.listen(0)
        assert f"pid {os.getpid()} " in refused(path, "socket-taken").why
        # That question still waits to be accepted, and there is room for no other.
        refused(path, "socket-taken")
        assert stat.S_ISSOCK(path.lstat().st_mode)


def test_what_is_no_socket_is_left_alone(folder: Path) -> None:
    """A file, a folder, and a symbolic link with what it points to stay as they are."""
    (folder / "file.sock").write_text("precious", encoding="utf-8")
    (folder / "folder.sock").mkdir()
    (folder / "link.sock").symlink_to(folder / "file.sock")
    (folder / "nowhere.sock").symlink_to(folder / "missing")
    for name in ("file.sock", "folder.sock", "link.sock", "nowhere.sock"):
        assert "left alone" in refused(folder / name, "socket-unusable").why
    assert (folder / "file.sock").read_text(encoding="utf-8") == "precious"
    assert (folder / "link.sock").is_symlink()
    assert not (folder / "missing").exists()


def test_a_link_to_a_living_socket_is_not_followed(folder: Path) -> None:
    """Whoever made the link would otherwise choose which socket is removed."""
    with closing(socket.socket(socket.AF_UNIX)) as stale:
        stale.bind(str(folder / "other"))
    (folder / "d.sock").symlink_to(folder / "other")
    refused(folder / "d.sock", "socket-unusable")
    assert (folder / "other").exists()


@pytest.mark.parametrize("trick", ["symlink", "hardlink", "fifo", "folder"])
def test_a_lock_file_that_is_something_else_is_not_written(folder: Path, trick: str) -> None:
    """The pid is never written through a link into a file of somebody's."""
    precious = folder / "precious"
    precious.write_text("precious", encoding="utf-8")
    lock = folder / "d.sock.lock"
    match trick:
        case "symlink":
            lock.symlink_to(precious)
        case "hardlink":
            lock.hardlink_to(precious)
        case "fifo":
            os.mkfifo(lock)
        case _:
            lock.mkdir()
    refused(folder / "d.sock", "socket-unusable")
    assert precious.read_text(encoding="utf-8") == "precious"


def test_a_path_that_is_too_long_says_by_how_much(folder: Path) -> None:
    """103 bytes fit on every system; one more is refused, counted in bytes and not in letters."""
    room = 103 - len(os.fsencode(folder)) - 1
    take_socket(folder / ("x" * room)).release()
    error = refused(folder / ("x" * (room - 1) + "ü"), "socket-path-too-long")
    assert "104 bytes" in error.why
    assert "DRIFTD_SOCKET" in error.fix


def test_a_folder_that_cannot_be_made(folder: Path) -> None:
    """A file stands in its way: the error says where, and what to set."""
    (folder / "file").touch()
    error = refused(folder / "file" / "d.sock", "socket-unusable")
    assert "Not a directory" in error.why
    assert "DRIFTD_SOCKET" in error.fix


def test_a_folder_without_the_right_to_write(folder: Path) -> None:
    """An unprivileged user learns what to set; nothing is left behind."""
    folder.chmod(0o755)
    code = """
from pathlib import Path
from driftd.socket_file import take_socket
from driftengine.errors import DriftError
for name in ("d.sock", "new/d.sock"):
    try:
        take_socket(Path(sys.argv[1]) / name)
    except DriftError as error:
        print(error.code, error.why)
"""
    if not ROOT:
        folder.chmod(0o555)
    answers = as_nobody(code, folder).splitlines()
    assert [answer.split(" ", 1)[0] for answer in answers] == ["socket-unusable"] * 2
    assert all("Permission denied" in answer for answer in answers)
    assert list(folder.iterdir()) == []


def test_a_group_that_there_is_not(folder: Path) -> None:
    """The setting is wrong; nothing is made."""
    error = refused(folder / "d.sock", "socket-unusable", group="no-such-group")
    assert "no such group" in error.why
    assert list(folder.iterdir()) == []


def test_a_group_that_this_user_is_not_in(folder: Path) -> None:
    """Nothing is left behind, and above all no socket with the wrong group."""
    folder.chmod(0o777)
    code = """
from pathlib import Path
from driftd.socket_file import take_socket
from driftengine.errors import DriftError
try:
    take_socket(Path(sys.argv[1]) / "d.sock", group=sys.argv[2])
except DriftError as error:
    print(error.code, error.why)
"""
    assert as_nobody(code, folder, GROUP).startswith("socket-unusable this user is not a member")
    assert not (folder / "d.sock").exists()


def test_a_socket_that_is_no_longer_ours_is_not_removed(folder: Path) -> None:
    """Somebody has put another one in its place meanwhile."""
    path = folder / "d.sock"
    held = take_socket(path)
    # A second name keeps the inode, so that the new socket cannot get the same number.
    (folder / "old").hardlink_to(path)
    path.unlink()
    with closing(socket.socket(socket.AF_UNIX)) as other:
        other.bind(str(path))
        held.release()
        assert path.exists()


def test_the_lock_is_not_inherited(folder: Path) -> None:
    """A child that lives on after the daemon must not keep the next one from starting."""
    held = take_socket(folder / "d.sock")
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as child:
        try:
            held.release()
            take_socket(folder / "d.sock").release()
        finally:
            child.send_signal(signal.SIGKILL)
