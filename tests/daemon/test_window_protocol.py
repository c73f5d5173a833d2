"""docs/window-protocol.md: its shell script does what the page says, and its tables are those of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from driftd import lock_file
from driftd.locks import Locks
from driftd.startup import answers
from driftd.startup.starter import Starter
from support.window_ends import PATIENCE, SILENT, answering_in_files, process, word

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).resolve().parents[2] / "docs" / "window-protocol.md"
TEXT = PAGE.read_text(encoding="utf-8")

needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="flock of util-linux is not installed")


@pytest.fixture(params=["sh", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    """A shell: the script is for any."""
    if shutil.which(request.param) is None:
        pytest.skip(f"there is no {request.param}")
    return str(request.param)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script as it stands on the page."""
    (source,) = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    path = tmp_path / "start-in-window"
    path.write_text(source)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """In a folder whose name needs quoting."""
    path = tmp_path / "a folder's" / "app.db"
    path.parent.mkdir()
    path.touch(0o600)
    return path


@pytest.fixture
def locks() -> Iterator[Locks]:
    locks = Locks()
    yield locks
    locks.release_all()


def run(shell: str, script: Path, database: Path, *command: str, seconds: int = 10) -> tuple[str, str]:
    """What the script and its command print: the outcome on stderr, and the command's own stdout."""
    done = subprocess.run(
        [shell, str(script), str(database), str(seconds), *command],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    (outcome,) = re.findall(r"^startup window: (.*)$", done.stderr, re.MULTILINE)
    assert done.stderr == f"startup window: {outcome}\n"
    return outcome, done.stdout


def freed(database: Path) -> bool:
    lock = f"{database}{lock_file.STARTUP}"
    return lock_file.holder_of(lock) is None and Path(lock).stat().st_size == 0


@needs_flock
class TestScript:
    def test_it_has_its_answer_and_starts_its_service(self, shell: str, script: Path, database: Path) -> None:
        """What earlier windows left is passed over; the command's arguments arrive as they are."""
        database.with_name("app.db.startup.result").write_text('{"id": "old", "outcome": "failed"}\n')
        wrong = {"id": "other", "outcome": "held"}
        right = {"outcome": "migrated", "error": {"what": 'text "outcome": "blocked"'}}
        with answering_in_files(database, wrong, right) as ids:
            assert run(shell, script, database, "printf", "<%s>", "a b", "*") == ("migrated", "<a b><*>")
        assert len(ids) == 1
        assert re.fullmatch("[0-9a-f]{24}", ids[0])
        assert freed(database)

    def test_without_a_daemon_it_starts_at_once(self, shell: str, script: Path, tmp_path: Path) -> None:
        """Its folder is made, and the locks of it stand there for the next one."""
        database = tmp_path / "new" / "er" / "app.db"
        assert run(shell, script, database, "echo", "started") == ("skipped", "started\n")
        assert freed(database)
        assert run(shell, script, database, "true")[0] == "skipped"

    def test_by_a_link_it_asks_for_the_file(self, shell: str, script: Path, database: Path) -> None:
        """The locks are those of the real path."""
        link = database.with_name("link.db")
        link.symlink_to(database)
        with answering_in_files(database, {"outcome": "up_to_date"}):
            assert run(shell, script, link, "true")[0] == "up_to_date"
        assert not database.with_name("link.db.startup.lock").exists()

    def test_a_daemon_that_dies_is_not_waited_for(self, shell: str, script: Path, database: Path) -> None:
        """Its lock is free."""
        with process(SILENT, database, "") as daemon:

            def kill() -> None:
                assert word(daemon) == "asked"
                daemon.kill()

            thread = threading.Thread(target=kill)
            thread.start()
            assert run(shell, script, database, "true", seconds=60)[0] == "skipped"
            thread.join(PATIENCE)

    def test_at_its_deadline_it_starts(self, shell: str, script: Path, database: Path) -> None:
        """With a daemon that does not answer, and in the queue behind a service that does not start."""
        with process(SILENT, database, ""):
            assert run(shell, script, database, "true", seconds=1)[0] == "unknown"
        with Starter(database):
            assert run(shell, script, database, "true", seconds=1)[0] == "skipped"

    def test_the_command_runs_on_the_schema_until_it_ends(
        self, shell: str, script: Path, database: Path, locks: Locks
    ) -> None:
        """It has inherited the lock that says so."""
        command = [shell, str(script), str(database), "10", "sh", "-c", "echo runs; read -r _"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as service:
            assert word(service) == "runs"
            assert freed(database)
            with locks.use_alone(database) as alone:
                assert not alone
            service.communicate("\n", timeout=PATIENCE)
        with locks.use_alone(database) as alone:
            assert alone

    def test_what_stands_in_the_way_does_not_stop_the_service(
        self, shell: str, script: Path, database: Path
    ) -> None:
        """A folder, a link: no window, and nothing is written through it."""
        for lock in (database.with_name("app.db.startup.lock"), database.with_name("app.db.inuse.lock")):
            lock.symlink_to(database)
        assert run(shell, script, database, "echo", "started") == ("skipped", "started\n")
        database.with_name("app.db.startup.lock").unlink()
        database.with_name("app.db.startup.lock").mkdir()
        assert run(shell, script, database, "echo", "started") == ("skipped", "started\n")
        assert database.read_bytes() == b""


def first_cells(heading: str) -> set[str]:
    """The words in code marks in the first column of the table with that first heading."""
    table = TEXT[TEXT.index(f"| {heading} |") :].split("\n\n")[0]
    return {word for row in table.split("\n")[2:] for word in re.findall(r"`([\w.]+)`", row.split("|")[1])}


def test_the_files_are_those_of_the_code() -> None:
    """Each name, and no other."""
    names = (lock_file.DAEMON, lock_file.STARTUP, lock_file.RESULT, lock_file.INUSE)
    assert first_cells("file") == {f"DB{name}" for name in names}


def test_the_body_is_what_a_starter_writes(database: Path) -> None:
    """Every member is told, and every one that is told is written."""
    with Starter(database) as starter:
        body = lock_file.holder_of(starter.lock_path)
    assert body is not None
    assert first_cells("member") == set(body)


def test_the_members_of_an_answer_are_all_told() -> None:
    """Those of `driftd apply --json`, and the window's own; --dry-run is none of a window's."""
    table = TEXT[TEXT.index("| member | what it says |") :].split("\n\n")[0]
    told = {word for row in table.split("\n")[2:] for word in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert told == answers.whole({}, "", "", None).keys() - {"dry_run"}
