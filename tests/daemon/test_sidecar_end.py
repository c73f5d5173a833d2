"""The daemon and its helpers are told to end, or are killed, in the worst moments: nothing is left, nothing is lost."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from support.sidecars import (
    CONFIGURATION,
    MODELS,
    NARROWER,
    PATIENCE,
    WIDER,
    columns,
    execute,
    house,
    make,
    running,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path

    import psutil

    from support.sidecars import Sidecar

# Another affinity: the table is copied.
REBUILT = MODELS.replace("title TEXT", "title BLOB")
HANGS = """\
import pathlib, subprocess, sys, threading
pathlib.Path(__file__).with_name("loading").touch()
threading.Event().wait()
"""


def large(database: Path, megabytes: int) -> None:
    """The service's database with so much in it that copying it takes a while."""
    make(database, journal="wal")
    execute(
        database,
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
        f"{megabytes * 1100}) INSERT INTO task (title) SELECT hex(randomblob(450)) FROM n",
    )


def stager(sidecar: Sidecar) -> psutil.Process:
    """The process that stages, held where it is; it has begun to copy."""
    sidecar.until(lambda one: one["busy"] == "stage" and one["progress"] is not None)
    (child,) = [one for one in sidecar.children() if "driftd.stager" in one.cmdline()]
    child.suspend()
    return child


def left(folder: Path) -> list[str]:
    """What is in the folders of backups, but for the journal; a backup and its manifest by their common name."""
    return sorted({path.stem for path in (folder / "backups").glob("*/*") if path.name != "journal.jsonl"})


def test_sigterm_ends_models_that_hang(tmp_path: Path) -> None:
    """While the only target's models are being loaded for ever: exit code 0, and their process is gone."""
    make(tmp_path / "app.db")
    (tmp_path / "stuck.py").write_text(HANGS, encoding="utf-8")
    with running(house(tmp_path, configuration=CONFIGURATION.replace("models.sql", "stuck:Base"))) as sidecar:
        wait_until((tmp_path / "loading").exists, sidecar)
        probes = sidecar.children()
        assert probes
        assert sidecar.stop() == 0
        assert [one for one in probes if one.is_running()] == []


def test_sigterm_ends_a_stage_that_is_being_made(tmp_path: Path) -> None:
    """While 40 MB are copied: exit code 0 at once; no process, no half backup and no workspace stays."""
    large(tmp_path / "app.db", 40)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        child = stager(sidecar)
        assert sidecar.stop() == 0
        assert not child.is_running()
    assert left(tmp_path) == []
    assert columns(tmp_path / "app.db") == ["id", "title"]


def test_sigterm_waits_for_an_apply_that_has_begun(tmp_path: Path) -> None:
    """In dev a table of 40 MB is copied: told to end meanwhile, the daemon finishes it, records it, and exits with 0."""
    large(tmp_path / "app.db", 40)
    with running(house(tmp_path, mode="dev", models=REBUILT)) as sidecar:
        sidecar.until(lambda one: one["busy"] == "apply" and one["progress"] is not None)
        assert sidecar.stop() == 0
        migrations = sidecar.command("history", "--json").document["migrations"]
        assert [one["operations"] for one in migrations if one["migration_id"]] == [1]
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
            assert ("title", "BLOB") in {row[1:3] for row in connection.execute("PRAGMA table_info(task)")}
            assert connection.execute("SELECT count(*) FROM task").fetchone() == (44_001,)
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert sidecar.command("check").code == 0


def test_a_stager_outlives_its_killed_daemon_by_nothing(tmp_path: Path) -> None:
    """SIGKILL while staging: the stager ends by itself, and the next daemon sweeps what it has left."""
    large(tmp_path / "app.db", 40)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        child = stager(sidecar)
        assert sidecar.stop(signal.SIGKILL) == -signal.SIGKILL
        child.resume()
        child.wait(PATIENCE)
        assert left(tmp_path)
        sidecar.start()
        backup = sidecar.state("ready")["stage"]["backup"]
        assert left(tmp_path) == [backup["id"]]
        assert sidecar.stop() == 0
    assert left(tmp_path) == []


def test_a_stager_that_is_killed_is_told_and_tried_again(tmp_path: Path) -> None:
    """Somebody kills the process that stages: failed, with its signal; a moment later the stage is there."""
    large(tmp_path / "app.db", 10)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        with sidecar.followed() as follower:
            stager(sidecar).kill()
            entry = follower.state("failed")
        assert entry["problem"]["code"] == "stager-ended"
        assert "signal 9" in entry["problem"]["why"]
        assert sidecar.children() == [], "no zombie"
        assert sidecar.command("status").code == 1
        entry = sidecar.state("ready")
        assert entry["problem"] is None
        assert left(tmp_path) == [entry["stage"]["backup"]["id"]]
        assert sidecar.children() == []


def test_a_save_while_a_stage_is_made_ends_it(tmp_path: Path) -> None:
    """The models move on: what is being copied for the old ones is given up, and the new plan is staged."""
    large(tmp_path / "app.db", 10)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        child = stager(sidecar)
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        sidecar.state("in_sync")
        assert not child.is_running()
        assert sidecar.children() == []
        sidecar.result("check")  # behind it the worker has done what it was told
        assert left(tmp_path) == []


def test_a_pause_while_a_stage_is_made_ends_it(tmp_path: Path) -> None:
    """$ driftd pause: copying stops at once, and nothing half made is kept; resumed, it is staged."""
    large(tmp_path / "app.db", 10)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        child = stager(sidecar)
        assert sidecar.command("pause").code == 0
        sidecar.state("paused")
        assert not child.is_running()
        assert left(tmp_path) == []
        assert sidecar.command("resume").code == 0
        sidecar.state("ready")


def test_no_descriptor_and_no_process_is_lost_on_the_way(tmp_path: Path) -> None:
    """Plans are staged and given up, round after round: open files, threads and children stay what they are."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:

        def figures() -> tuple[int, int]:
            told = sidecar.result("status")["daemon"]
            return told["open_files"], told["threads"]

        def go_round() -> None:
            for models, state in [
                (WIDER, "ready"),
                (MODELS, "in_sync"),
                (NARROWER, "held"),
                (MODELS, "in_sync"),
            ]:
                (tmp_path / "models.sql").write_text(models, encoding="utf-8")
                sidecar.state(state)

        go_round()
        first = figures()
        go_round()
        go_round()
        assert sidecar.children() == []
        # A connection may have come, and a thread that waited for a child may have been about to end; what is lost with
        # each round stays, and is more than one by now.
        wait_until(
            lambda: all(now <= before + 1 for now, before in zip(figures(), first, strict=True)), sidecar
        )
