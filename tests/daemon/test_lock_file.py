"""One lock file: how it is opened and made, and what is read in it."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from driftd import lock_file
from support.processes import beside

if TYPE_CHECKING:
    from collections.abc import Callable

# Locks the file argv[1] as argv[2] says until its input ends.
FLOCKER = """
import fcntl, sys
file = open(sys.argv[1], "rb")
fcntl.flock(file, getattr(fcntl, sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database's file that its group may read."""
    path = tmp_path / "app.db"
    path.touch()
    path.chmod(0o640)
    return path


@pytest.fixture
def lock(database: Path) -> str:
    return f"{database}{lock_file.STARTUP}"


class TestOpening:
    def test_a_lock_is_made_once_with_the_rights_of_the_database(self, database: Path, lock: str) -> None:
        """Whoever may use the database may use its lock; the second opens the same file."""
        first, second = (lock_file.open_lock(lock, str(database)) for _ in range(2))
        try:
            assert stat.S_IMODE(os.fstat(first).st_mode) == 0o640
            assert os.path.samestat(os.fstat(first), os.fstat(second))
            assert not os.get_inheritable(first)
        finally:
            os.close(first)
            os.close(second)

    @pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe", "hard link"])
    def test_what_is_no_plain_file_is_refused_untouched(self, database: Path, lock: str, kind: str) -> None:
        """Nobody can have root write into a file of his choice, and a pipe makes nobody wait."""
        precious = database.with_name("precious")
        precious.write_text("precious")
        make: dict[str, Callable[[], None]] = {
            "symlink": lambda: Path(lock).symlink_to(precious),
            "dangling": lambda: Path(lock).symlink_to(f"{precious}.none"),
            "folder": Path(lock).mkdir,
            "pipe": lambda: os.mkfifo(lock),
            "hard link": lambda: os.link(precious, lock),
        }
        make[kind]()
        with pytest.raises(OSError, match=r".") as refused:
            lock_file.open_lock(lock, str(database))
        assert refused.value.errno is not None
        assert lock_file.holder_of(lock) is None
        assert precious.read_text() == "precious"
        assert not os.path.lexists(f"{precious}.none")

    def test_making_never_takes_a_file_that_is_there(self, database: Path, lock: str) -> None:
        """Not even one of our own: who makes it is the only one."""
        os.close(lock_file.make_file(lock, lock_file.owner_of(str(database))))
        with pytest.raises(FileExistsError):
            lock_file.make_file(lock, lock_file.owner_of(str(database)))

    def test_without_a_database_its_folder_says_for_whom(self, tmp_path: Path) -> None:
        """Without the x bits; where there is no folder either, for nobody else."""
        tmp_path.chmod(0o750)
        assert lock_file.owner_of(str(tmp_path / "none.db"))[0] == 0o640
        assert lock_file.owner_of(str(tmp_path / "none" / "none.db")) == (0o600, None, None)

    def test_a_path_by_links_is_the_path_of_the_file(self, database: Path, tmp_path: Path) -> None:
        """Whoever comes by a link meets the others."""
        link = tmp_path / "link.db"
        link.symlink_to(database.name)
        assert lock_file.real_path(str(link)) == lock_file.real_path(str(database))


class TestLocking:
    def test_it_is_held_by_one_or_shared_by_several(self, database: Path, lock: str) -> None:
        """Exclusively against everybody, shared against who wants it alone."""
        first, second = (lock_file.open_lock(lock, str(database)) for _ in range(2))
        assert lock_file.try_lock(first)
        assert not lock_file.try_lock(second)
        assert lock_file.is_held(second)
        lock_file.free(first)
        assert lock_file.try_lock(first, shared=True)
        assert lock_file.try_lock(second, shared=True)
        assert not lock_file.is_held(second)
        lock_file.unlock(first)
        lock_file.unlock(second)

    def test_unlocking_frees_it_for_a_copy_in_a_child_too(self, database: Path, lock: str) -> None:
        """A descriptor that somebody inherited would otherwise hold it on."""
        first, second = (lock_file.open_lock(lock, str(database)) for _ in range(2))
        copy = os.dup(first)
        assert lock_file.try_lock(first)
        lock_file.unlock(first)
        assert lock_file.try_lock(second)
        os.close(copy)
        lock_file.unlock(second)

    def test_a_deleted_file_is_no_lock(self, database: Path, lock: str) -> None:
        """Neither while nothing stands in its place, nor when another file does."""
        descriptor = lock_file.open_lock(lock, str(database))
        assert lock_file.still_there(descriptor, lock)
        Path(lock).unlink()
        assert not lock_file.still_there(descriptor, lock)
        other = lock_file.open_lock(lock, str(database))
        assert not lock_file.still_there(descriptor, lock)
        assert lock_file.still_there(other, lock)
        os.close(descriptor)
        os.close(other)

    def test_the_holder_is_known_and_asking_makes_no_file(self, database: Path, lock: str) -> None:
        """Only who holds it alone counts; a file that is free has none, whatever is written in it."""
        assert lock_file.holder_of(lock) is None
        assert not os.path.lexists(lock)
        descriptor = lock_file.open_lock(lock, str(database))
        lock_file.write_body(descriptor, {"pid": 1})
        os.close(descriptor)
        assert lock_file.holder_of(lock) is None
        with beside(FLOCKER, Path(lock), "LOCK_EX"):
            assert lock_file.holder_of(lock) == {"pid": 1}
        with beside(FLOCKER, Path(lock), "LOCK_SH"):
            assert lock_file.holder_of(lock) is None


class TestBody:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n",
            '{"id": "a"}',
            '{"id": "a"',
            "[]\n",
            "7\n",
            '{"a": 1}\n{"b": 2}\n',
            "[" * 4095 + "\n",
            "\xff\n",
        ],
    )
    def test_what_is_no_whole_object_is_none(self, lock: str, text: str) -> None:
        """The newline comes last: before it, or with anything else behind, nothing is written yet."""
        Path(lock).write_text(text, encoding="latin-1")
        descriptor = lock_file.open_existing(lock)
        assert lock_file.read_body(descriptor) == {}
        os.close(descriptor)

    def test_a_body_replaces_a_longer_one_and_can_be_cleared(self, database: Path, lock: str) -> None:
        """Nothing of the earlier one is left behind it."""
        descriptor = lock_file.open_lock(lock, str(database))
        for body in ({"id": "a" * 300}, {"id": "b"}, {"id": "c", "more": True}):
            lock_file.write_body(descriptor, body)
            assert lock_file.read_body(descriptor) == body
        lock_file.clear_body(descriptor)
        assert os.fstat(descriptor).st_size == 0
        os.close(descriptor)

    def test_what_may_only_be_read_is_not_written(self, database: Path, lock: str) -> None:
        """Writing says so, clearing lets it be; locking works all the same."""
        os.close(lock_file.open_lock(lock, str(database)))
        descriptor = lock_file.open_existing(lock, os.O_RDONLY)
        with pytest.raises(OSError, match="Bad file descriptor"):
            lock_file.write_body(descriptor, {"id": "a"})
        lock_file.clear_body(descriptor)
        assert lock_file.try_lock(descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
