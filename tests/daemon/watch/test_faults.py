"""What goes wrong in watching: lost events, dead threads, limits, handlers that raise. Somebody always looks."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import watchdog
from watchdog.observers.api import BaseObserver

import unprivileged
from driftd.watch import scheduler, watcher
from driftd.watch.mounts import Mount
from driftd.watch.wishes import Wish
from watching import Recorder, is_watched, recording, until

if TYPE_CHECKING:
    from watching import Project

OWNER = "shop"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


def observer_of(recorder: Recorder) -> Any:
    """Watchdog's observer, with what is private to it."""
    return recorder.watcher._scheduler._observer


def test_a_burst_makes_few_notes(project: Project, recorder: Recorder) -> None:
    """16,000 new modules are one note; a change after them is noted, whether or not events were lost."""
    recorder.watcher.watch(OWNER, project.wishes())
    for number in range(16_000):
        os.close(os.open(project.package / f"m{number}.py", os.O_CREAT | os.O_WRONLY))
    recorder.wait(OWNER)
    recorder.pass_barrier(project.package)
    assert recorder.notes.count(OWNER) == 1
    recorder.take(OWNER)
    project.models.write_text("x = 1\n")
    recorder.wait(OWNER)


@LINUX
def test_an_overflow_is_noted_to_everyone(project: Project, recorder: Recorder) -> None:
    """The kernel drops events while its queue is full: nobody knows whose, so all look, and all is watched anew."""
    quiet = project.root / "quiet"
    quiet.mkdir()
    recorder.watcher.watch(OWNER, project.wishes())
    recorder.watcher.watch("other", [Wish(str(quiet), frozenset({"x.sql"}))])
    before = observer_of(recorder)
    reader, gate = before._inotify_fd, threading.Event()
    read = reader.read_events
    reader.read_events = lambda: gate.wait() and read()
    # The reader takes one more batch before it comes to the gate; two names, for equal neighbours become one event.
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text(encoding="ascii"))
    for number in range(limit + 6000):
        os.close(os.open(project.package / f"{number % 2}.txt", os.O_CREAT | os.O_WRONLY))
    assert recorder.notes == []
    gate.set()
    recorder.wait(OWNER)
    recorder.wait("other")
    until(lambda: observer_of(recorder) is not before and not recorder.watcher._mending)
    for owner, path in ((OWNER, project.models), ("other", quiet / "x.sql")):
        assert is_watched(recorder.watcher, path.parent)
        recorder.take(owner)
        path.write_text("x = 1\n")
        recorder.wait(owner)


def test_a_handler_that_raises_ends_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, logged once, everybody looks, and the next event is heard."""
    recorder = Recorder()
    try:
        recorder.watcher.watch(OWNER, project.wishes())
        recorder.watcher.watch("other", [Wish(str(project.root))])

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a fault")

        with monkeypatch.context() as patch:
            patch.setattr(watcher, "meaning", fail)
            project.models.write_text("x = 1\n")
            recorder.wait(OWNER)
            recorder.wait("other")
            project.models.unlink()
            until(lambda: recorder.watcher.failures >= 2)
        assert caplog.text.count("watching went wrong") == 1
        assert "ZeroDivisionError: a fault" in caplog.text
        recorder.pass_barrier(project.package)
        recorder.take(OWNER)
        project.models.write_text("x = 2\n")
        recorder.wait(OWNER)
    finally:
        recorder.watcher.close()


def test_a_note_that_raises_ends_nothing(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """An event loop that has closed refuses the note; it is tried again with the next event."""
    recorder, refused = Recorder(), threading.Event()
    accept = recorder.watcher._note

    def refuse(_owner: str) -> None:
        refused.set()
        raise RuntimeError("Event loop is closed")

    try:
        recorder.watcher.watch(OWNER, project.wishes())
        recorder.watcher._note = refuse
        project.models.write_text("x = 1\n")
        assert refused.wait(30)
        until(lambda: recorder.watcher.failures == 1)
        recorder.watcher._note = accept
        project.models.write_text("x = 2\n")
        recorder.wait(OWNER)
        assert "Event loop is closed" in caplog.text
    finally:
        recorder.watcher.close()


def test_a_dead_emitter_is_found_by_the_check(project: Project, recorder: Recorder) -> None:
    """One folder's thread has ended; the observer says that it is alive, and nothing is heard of that folder."""
    recorder.watcher.watch(OWNER, project.wishes())
    emitter = recorder.watcher._scheduler.folders[str(project.package)].emitter
    assert emitter is not None
    emitter.stop()
    emitter.join()
    assert observer_of(recorder).is_alive()
    assert recorder.watcher.check() == ()
    assert recorder.notes == [OWNER]
    recorder.take(OWNER)
    project.models.write_text("x = 1\n")
    recorder.wait(OWNER)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("victim", ["dispatcher", pytest.param("reader", marks=LINUX)])
def test_a_dead_core_is_found_by_the_check(project: Project, recorder: Recorder, victim: str) -> None:
    """Without the thread that reads, or the one that dispatches, nobody hears anything: all is watched anew."""
    recorder.watcher.watch(OWNER, project.wishes())
    observer = observer_of(recorder)
    if victim == "dispatcher":
        observer.event_queue.put("no event at all")
        observer.join()
    else:
        observer._inotify_fd.stop()
        observer._inotify_fd.join()
        assert observer.is_alive()
    assert recorder.watcher.check() == ()
    assert recorder.notes == [OWNER]
    recorder.take(OWNER)
    project.models.write_text("x = 1\n")
    recorder.wait(OWNER)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "inotify watch limit reached"),
        OSError(errno.EMFILE, "inotify instance limit reached"),
        RuntimeError("can't start new thread"),
    ],
)
def test_at_a_limit_folders_are_polled(
    project: Project,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    """They are named, logged once each, tried again at each check, and heard as soon as the limit allows."""
    wish = Wish(str(project.package), frozenset({"models.py"}))

    def refuse(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(BaseObserver, "schedule", refuse)
        assert recorder.watcher.watch(OWNER, [wish])
        assert not recorder.watcher.watch(OWNER, [wish])
        assert recorder.watcher.polled(OWNER) == (wish.folder,)
        assert recorder.watcher.check() == (wish.folder,)
        assert recorder.watcher.reasons == {wish.folder: "limit"}
    assert caplog.text.count("cannot be watched and is polled") == 1
    assert recorder.notes == []
    assert recorder.watcher.check() == ()
    assert recorder.notes == [OWNER]
    assert recorder.watcher.polled(OWNER) == ()
    recorder.take(OWNER)
    project.models.write_text("x = 1\n")
    recorder.wait(OWNER)


def test_without_any_observer_everything_is_polled(
    project: Project, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of inotify instances is reached already by others."""

    def refuse() -> None:
        raise OSError(errno.EMFILE, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "Observer", refuse)
        recorder.watcher.watch(OWNER, project.wishes())
        folders = {wish.folder for wish in project.wishes()}
        assert set(recorder.watcher.polled(OWNER)) == folders
        recorder.watcher.forget("nobody")
    assert recorder.watcher.check() == ()
    assert is_watched(recorder.watcher, project.package)


def test_a_remote_folder_is_watched_and_polled(
    project: Project, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written from here is heard; what others write there is not, so it is named."""
    recorder.watcher.watch(OWNER, project.wishes())
    monkeypatch.setattr(scheduler, "read_mounts", lambda: (Mount(str(project.package), "nfs4"),))
    assert recorder.watcher.check() == (str(project.package),)
    assert recorder.watcher.polled(OWNER) == (str(project.package),)
    assert recorder.watcher.polled("other") == ()
    assert recorder.watcher.reasons == {str(project.package): "remote"}
    project.models.write_text("x = 1\n")
    recorder.wait(OWNER)


UNREADABLE = """
import sys
sys.path[:0] = sys.argv[2:]
from driftd.watch.watcher import Watcher
from driftd.watch.wishes import Wish
watcher = Watcher(lambda owner: None)
watcher.watch("shop", [Wish(sys.argv[1], frozenset({"models.py"}))])
print(watcher.reasons, watcher.check(), watcher.failures)
watcher.close()
"""


@LINUX
def test_a_folder_that_may_not_be_read_is_polled(tmp_path: Path) -> None:
    """Watchdog would pass over it without a word."""
    folder = tmp_path.resolve() / "secret"
    folder.mkdir(mode=0o311)
    for above in folder.parents:
        if above.stat().st_uid == os.getuid() and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o011)
    daemon = unprivileged.ENGINE.parent / "daemon"
    packages = Path(watchdog.__file__).parent.parent
    told = unprivileged.run(UNREADABLE, folder, daemon, packages)
    assert told == f"{ {str(folder): 'unreadable'} } {(str(folder),)} 0"


def test_watchdogs_log_lines_stay_with_us(project: Project, recorder: Recorder) -> None:
    """A warning of watchdog's makes everybody look, and stands in our own log at debug only."""
    lines = StringIO()
    root, handler = logging.getLogger(), logging.StreamHandler(lines)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    recorder.watcher.watch(OWNER, project.wishes())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        logging.getLogger("watchdog.observers.anything").warning("something %s", "odd")
        logging.getLogger("watchdog.observers.anything").info("something usual")
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
    assert recorder.notes == [OWNER]
    assert lines.getvalue() == "driftd.watch.log DEBUG watchdog: something odd\n"


def descriptors_open() -> set[int]:
    """Of this process."""
    return {number for number in range(1024) if is_open(number)}


def is_open(number: int) -> bool:
    """Is there such a descriptor?"""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def test_closing_leaves_nothing_behind(project: Project) -> None:
    """No thread, no descriptor, watchdog's logger as it was; and a closed watcher does nothing more."""
    logger = logging.getLogger("watchdog")
    before = set(threading.enumerate()), logger.level, logger.propagate, list(logger.handlers)
    descriptors = descriptors_open()
    with recording() as recorder:
        recorder.watcher.watch(OWNER, project.wishes())
    assert (set(threading.enumerate()), logger.level, logger.propagate, list(logger.handlers)) == before
    assert descriptors_open() == descriptors
    assert not recorder.watcher.watch(OWNER, project.wishes())
    assert recorder.watcher.check() == ()
    recorder.watcher.forget(OWNER)
    recorder.watcher.close()
    assert set(threading.enumerate()) == before[0]
