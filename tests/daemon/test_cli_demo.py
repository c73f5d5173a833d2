"""`driftd demo`: the whole story, told by the real daemon and the real commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import psutil
import pytest

from command_line import driftd
from driftd.demo import play, sidecar
from driftd.demo.story import ADDED_LINE, DROPPED_LINE
from driftd.demo.surprise import Surprise
from driftd.demo.tracker import Tracker, models_diff, shipped
from driftd.socket_file import LONGEST_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 60.0  # seconds until something that must happen counts as not happening


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tracker]:
    """The demo's folder as it is when the daemon starts, with the first models and no database."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Tracker.make()
    made.build()
    yield made
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    """Every scene goes as told, exit code 0, nothing on stderr, its folder and its daemon are gone.

    Also where the temporary folder has a space, and is too long for a socket.
    """
    folder = tmp_path / f"a {'long' * 20} folder"
    folder.mkdir()
    done = driftd("demo", folder=tmp_path, TMPDIR=str(folder))
    assert (done.code, done.err) == (0, ""), done.out
    scenes = [
        "$ driftd exec -- python serve.py\ndriftd: tracker: migrated, 2 operations",
        "tracker: serving 0 tasks",
        "$ driftd run &",
        "differences are seen",
        "a verified backup, and",
        "ready for",
        "tracker: cannot serve: no such column",
        "$ driftd exec -- python serve.py\ndriftd: tracker: migrated, 6 operations",
        "tracker: serving 300 tasks",
        "$ driftd exec -- python serve.py\ntracker: serving 300 tasks",
        'mode = "dev"',
        "the column is in the database",
        "1: 'L-0001'",
        "$ driftd approve ",
        "in sync for",
        "$ kill ",
        "driftd: stopping",
        "no process of it is left",
        "$ driftd rollback\nRolled back: 1 operation of m_",
        "values of legacy_code are back, and the 2 new tasks",
        "$ driftd history\n",
        "  undone ",
        "  rollback ",
        "$ driftd history verify",
    ]
    found = [done.out.find(scene) for scene in scenes]
    assert -1 not in found, dict(zip(scenes, found, strict=True))
    assert found == sorted(found)
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "nothing is remembered elsewhere"
    assert not psutil.pid_exists(int(_number(r"\[1\] (\d+)", done.out)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_cut_short_takes_its_daemon_with_it(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, a closed terminal or SIGTERM: no daemon and no folder stays, and no traceback is shown."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTD_")}
    with subprocess.Popen(
        [sys.executable, "-m", "driftd", "demo"],
        cwd=tmp_path,
        env={**kept, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        line = next(line for line in demo.stdout if line.startswith("[1] "))
        daemon = psutil.Process(int(line.split()[1]))
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=PATIENCE)
    assert demo.returncode == 128 + number
    assert "Traceback" not in errors
    daemon.wait(PATIENCE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_the_demo_admits_when_something_goes_differently(
    keep: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A scene that ends otherwise than told ends the demo with 1 and says which; the folder goes unless it is kept."""

    def fail(_tracker: Tracker, *_behind: str) -> tuple[int, str]:
        return 5, "nothing\n"

    monkeypatch.setattr(Tracker, "serve", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    told: list[str] = []
    assert play(told.append, keep=keep) == 1
    assert any(
        "The demo went wrong: the service's exit code: 0 was told, 5 was found" in line for line in told
    )
    assert len(list(tmp_path.iterdir())) == int(keep)
    assert not keep or str(next(tmp_path.iterdir())) in told[-1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_daemon_that_cannot_start_is_told_with_its_own_words(tracker: Tracker) -> None:
    """What it has said is part of the message, because the folder with the log will be gone."""
    (tracker.folder / "driftd.toml").write_text("[daemon\n", encoding="utf-8")
    with (
        pytest.raises(Surprise, match=r"the daemon ended at once; .*\n.*configuration-syntax"),
        sidecar.running(tracker),
    ):
        pytest.fail("it cannot have started")


def test_a_daemon_that_dies_or_does_nothing_ends_the_wait(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait ends when its time is up, or with the daemon, and says what it waited for."""
    with sidecar.running(tracker) as daemon:
        with monkeypatch.context() as impatient:
            impatient.setattr(sidecar, "PATIENCE", 0.01)
            with pytest.raises(Surprise, match="the moon rises: that did not happen within"):
                daemon.until(lambda _entry: False, "the moon rises")
        os.kill(daemon.pid, signal.SIGKILL)
        with pytest.raises(Surprise, match="the moon rises: the daemon ended before that"):
            daemon.until(lambda _entry: False, "the moon rises")
    assert tracker.processes() == []


@pytest.mark.parametrize("keep", [False, True])
def test_a_short_place_is_found_for_the_socket(
    keep: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the folder's path is too long for a socket, it lies in another one, which goes also when the folder is kept."""
    folder = tmp_path / ("x" * LONGEST_PATH)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    made = Tracker.make()
    assert made.socket.parent != made.folder
    assert len(os.fsencode(made.socket)) <= LONGEST_PATH
    made.remove(keep=keep)
    assert not made.socket.parent.exists()
    assert made.folder.exists() == keep


def test_the_demos_models_differ_as_told() -> None:
    """The diff that is shown has what the story is about: each kind of change once, and nothing that loses data."""
    after = shipped("models_after.py")
    diff = "\n".join(models_diff(shipped("models_before.py"), after))
    for part in (
        "+class Comment",
        "+    priority",
        "+    due_on",
        "+        CheckConstraint",
        "+        Index",
    ):
        assert part in diff
    assert "+    assignee: Mapped[str | None]" in diff
    assert "legacy_code" not in diff
    edited = after.replace(DROPPED_LINE, ADDED_LINE)
    assert models_diff(after, edited) == [f"-{DROPPED_LINE.rstrip()}", f"+{ADDED_LINE.rstrip()}"]


def _number(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None
    return found[1]
