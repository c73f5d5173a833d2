"""The database's folder: replacing the database is noted, using it is not, and a busy service costs nothing."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from watchdog.events import FileCreatedEvent, FileDeletedEvent

from driftd.watch.folder import DROP, QUIET_EVENTS, WatchedFolder, events_for, meaning
from driftd.watch.wishes import Wish, wishes_for
from small_database import execute, make
from watching import is_watched, recording, until

if TYPE_CHECKING:
    from pathlib import Path

    from watching import Project, Recorder

OWNER = "shop"


def commit(path: Path, times: int) -> None:
    """So many transactions, from one connection of a service."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for _ in range(times):
            connection.execute("INSERT INTO a (filler) VALUES ('x')")


def test_a_database_that_is_made_is_noted(project: Project, recorder: Recorder) -> None:
    """By a service that starts for the first time."""
    recorder.watcher.watch(OWNER, project.wishes())
    make(project.database)
    recorder.wait(OWNER)


def test_a_database_that_is_deleted_is_noted(project: Project, recorder: Recorder) -> None:
    """So that nobody goes on reading the one that is gone."""
    make(project.database)
    recorder.watcher.watch(OWNER, project.wishes())
    project.database.unlink()
    recorder.wait(OWNER)


@pytest.mark.parametrize("same_folder", [True, False])
def test_a_database_that_is_replaced_is_noted(
    project: Project, recorder: Recorder, same_folder: bool
) -> None:
    """A restore renames another file over it."""
    make(project.database)
    other = (project.database.parent if same_folder else project.root) / "restored"
    shutil.copy(project.database, other)
    recorder.watcher.watch(OWNER, project.wishes())
    other.replace(project.database)
    recorder.wait(OWNER)


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_using_the_database_is_not_noted(project: Project, recorder: Recorder, mode: str) -> None:
    """Commits of a service, and our own opening, reading and closing, which makes and deletes files beside it."""
    make(project.database, mode=mode)
    recorder.watcher.watch(OWNER, project.wishes())
    commit(project.database, 20)
    execute(project.database, "SELECT count(*) FROM a")
    with closing(sqlite3.connect(f"file:{project.database}?mode=ro", uri=True)) as connection:
        connection.execute("SELECT count(*) FROM a").fetchall()
    execute(project.database, "VACUUM")
    recorder.pass_barrier(project.database.parent)
    assert OWNER not in recorder.notes


def test_a_database_among_the_sources(project: Project, recorder: Recorder) -> None:
    """One watch serves both: using the database is not noted, saving a source is."""
    database = make(project.package / "shop.db").path
    wishes = wishes_for([str(project.models)], [str(project.package)], None, str(database))
    recorder.watcher.watch(OWNER, wishes)
    commit(database, 20)
    recorder.pass_barrier(project.package)
    assert OWNER not in recorder.notes
    project.models.write_text("x = 1\n")
    recorder.wait(OWNER)
    recorder.pass_barrier(project.package)
    recorder.take(OWNER)
    database.unlink()
    recorder.wait(OWNER)


def test_what_is_written_is_not_even_asked_for() -> None:
    """The kernel says nothing of writing into a folder that only holds a database."""
    quiet = Wish("/data", frozenset({"shop.db"}), quiet=True)
    assert events_for((("a", (quiet,)),)) == QUIET_EVENTS
    assert len(events_for((("a", (quiet,)), ("b", (Wish("/data"),))))) == len(QUIET_EVENTS) + 1


def test_a_busy_service_is_not_listened_to(project: Project) -> None:
    """Beyond the limit the watch is dropped, its owner is told to poll, and the next check listens again."""
    make(project.database)
    folder = project.database.parent
    with recording(clock=lambda: 1.0) as recorder:  # the clock stands, so that only the count decides
        recorder.watcher.watch(OWNER, project.wishes())
        commit(project.database, 150)
        recorder.wait(OWNER)
        until(lambda: recorder.watcher.reasons == {str(folder): "busy"})
        assert recorder.watcher.polled(OWNER) == (str(folder),)
        observer = recorder.watcher._scheduler._observer
        assert observer is not None
        assert str(folder) not in {emitter.watch.path for emitter in observer.emitters}
        until(lambda: not recorder.watcher._mending)
        recorder.take(OWNER)
        assert not recorder.watcher.watch(OWNER, project.wishes()), "a look in between does not begin it anew"
        project.models.write_text("x = 1\n")
        recorder.wait(OWNER)
        recorder.pass_barrier(project.package)
        recorder.take(OWNER)
        assert recorder.watcher.check() == ()
        assert recorder.notes.count(OWNER) == 1
        assert is_watched(recorder.watcher, folder)
        recorder.take(OWNER)
        project.database.unlink()
        recorder.wait(OWNER)


def test_a_service_at_ease_is_listened_to(project: Project) -> None:
    """As many transactions over a longer time change nothing."""
    make(project.database)
    seconds = itertools.count()
    with recording(clock=lambda: float(next(seconds))) as recorder:
        recorder.watcher.watch(OWNER, project.wishes())
        commit(project.database, 150)
        recorder.pass_barrier(project.database.parent)
        assert OWNER not in recorder.notes
        assert recorder.watcher.reasons == {}


def ear(*wishes: Wish) -> WatchedFolder:
    """A folder with one listener, without a watcher."""
    folder = WatchedFolder("/p", lambda *_: None)
    folder.audience = ((OWNER, wishes),)
    return folder


def test_a_burst_of_sources_is_no_flood() -> None:
    """Where sources stand, only the journal of the database beside them counts: a checkout must not deafen us."""
    folder = ear(Wish("/p", sources=True), Wish("/p", frozenset({"shop.db"}), quiet=True))
    for number in range(1000):
        assert not meaning(folder, FileCreatedEvent(f"/p/{number}.txt"), (), 0.0).repairs
        assert not meaning(folder, FileCreatedEvent(f"/p/{number}.db-journal"), (), 0.0).repairs
    heard = [meaning(folder, FileDeletedEvent("/p/shop.db-journal"), (), 0.0) for _ in range(300)]
    assert [bool(each.repairs) for each in heard] == [False] * 200 + [True] * 100
    assert heard[-1].owners == (OWNER,)
    assert heard[-1].repairs == ((DROP, "/p"),)


def test_anything_floods_a_quiet_folder() -> None:
    """Where only a database is watched, every file that comes and goes costs the same."""
    folder = ear(Wish("/p", frozenset({"shop.db"}), quiet=True))
    heard = [meaning(folder, FileCreatedEvent(f"/p/upload-{number}"), (), 0.0) for number in range(300)]
    assert sum(bool(each.repairs) for each in heard) == 100
