"""A day with the daemon: models are saved, drift is seen, stages are ready, and what could lose data waits."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

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


def backups(folder: Path) -> list[Path]:
    """Every backup there is."""
    return sorted((folder / "backups").glob("*/backup_*.db"))


def test_a_saved_models_file_is_seen_and_its_plan_is_staged(tmp_path: Path) -> None:
    """$ driftd run; save the models; status says ready, with an exact stage, and the database is untouched."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        assert sidecar.state("in_sync")["differences"] == 0
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        entry = sidecar.state("ready")
        assert [one["kind"] for one in entry["plan"]["operations"]] == ["add_column"]
        assert entry["stage"]["freshness"] == "exact"
        assert entry["stage"]["plan_id"] == entry["plan"]["id"]
        assert entry["stage"]["fits_window"]
        assert [str(path) for path in backups(tmp_path)] == [entry["stage"]["backup"]["path"]]
        assert columns(tmp_path / "app.db") == ["id", "title"]
        assert sidecar.stop() == 0
    assert backups(tmp_path) == [], "a stage does not outlive its daemon"


def test_the_stage_goes_when_the_models_are_saved_back(tmp_path: Path) -> None:
    """What nobody wants any more leaves no backup behind."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        entry = sidecar.until(lambda one: one["state"] == "in_sync" and not one["busy"])
        assert entry["stage"] is None
        sidecar.result("check")  # behind it the worker has done what it was told
        assert backups(tmp_path) == []


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_rows_that_come_later_are_in_a_later_stage(tmp_path: Path, journal: str) -> None:
    """A commit makes the stage usable; soon there is another one, exact, and the former one's backup is gone."""
    make(tmp_path / "app.db", journal=journal)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        first = sidecar.state("ready")["stage"]
        with sidecar.followed() as follower, closing(sqlite3.connect(tmp_path / "app.db")) as connection:
            with connection:
                connection.execute("INSERT INTO task (title) VALUES ('late')")
            entry = follower.until(
                lambda one: (
                    one["state"] == "ready"
                    and not one["busy"]
                    and one["stage"]["made_at"] != first["made_at"]
                    and one["stage"]["freshness"] == "exact"
                )
            )
        assert [str(path) for path in backups(tmp_path)] == [entry["stage"]["backup"]["path"]]
        with closing(sqlite3.connect(entry["stage"]["backup"]["path"])) as copy:
            assert copy.execute("SELECT count(*) FROM task").fetchone() == (2,)


def test_in_dev_the_database_follows_and_a_loss_waits_with_its_rows(tmp_path: Path) -> None:
    """Save a column: it is there. Save its removal: held, with the rows; approved, it goes, and a backup has it."""
    make(tmp_path / "app.db")
    execute(
        tmp_path / "app.db", "UPDATE task SET title = 't0'", "INSERT INTO task (title) VALUES ('t1'), ('t2')"
    )
    with running(house(tmp_path, mode="dev")) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        sidecar.until(lambda one: one["last_migration"] is not None and one["state"] == "in_sync")
        assert columns(tmp_path / "app.db") == ["id", "title", "state"]
        (tmp_path / "models.sql").write_text(NARROWER, encoding="utf-8")
        entry = sidecar.state("held")
        by_name = {one["name"]: one for one in entry["held"]}
        assert by_name["title"]["count"] == 3
        assert by_name["title"]["rows"][0]["value"] == "t0"
        assert columns(tmp_path / "app.db") == ["id", "title", "state"]
        sidecar.result("approve", operations=[one["operation"] for one in entry["held"]])
        sidecar.state("in_sync")
        assert columns(tmp_path / "app.db") == ["id"]
        assert backups(tmp_path)


def test_in_dev_an_index_that_the_models_let_go_is_dropped(tmp_path: Path) -> None:
    """The first meeting is recorded at once, so that the daemon knows later that the index was the models' own."""
    index = "CREATE INDEX by_title ON task (title);\n"
    make(tmp_path / "app.db")
    execute(tmp_path / "app.db", index)
    with running(house(tmp_path, mode="dev", models=MODELS + index)) as sidecar:
        sidecar.until(lambda one: one["state"] == "in_sync" and not one["busy"])
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        sidecar.until(lambda one: one["last_migration"] is not None and one["state"] == "in_sync")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        assert not connection.execute("SELECT * FROM sqlite_schema WHERE name = 'by_title'").fetchall()


def test_observe_tells_and_writes_nothing(tmp_path: Path) -> None:
    """Drift is shown with its plan; nothing is staged, no backup folder appears, and staging is refused."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, mode="observe", models=WIDER)) as sidecar:
        entry = sidecar.state("drifted")
        assert entry["plan"]["operations"]
        assert sidecar.error("stage")["code"] == "mode-observe"
        assert not (tmp_path / "backups").exists()


def test_an_approval_survives_a_restart_and_joins_the_stage(tmp_path: Path) -> None:
    """In mode window what was approved is staged with the rest, also by the next daemon; another plan needs another one."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, models=NARROWER)) as sidecar:
        held = sidecar.state("held")["held"]
        sidecar.result("approve", operations=[held[0]["operation"]])
        entry = sidecar.state("ready")
        assert entry["stage"]["operations"] == 1
        assert sidecar.stop() == 0
    with running(house(tmp_path, models=NARROWER)) as sidecar:
        assert sidecar.state("ready")["approved"] == [held[0]["operation"]]
        assert sidecar.error("approve", operations=["nonsense"])["code"] == "approval-unknown"
        assert columns(tmp_path / "app.db") == ["id", "title"]


def test_what_is_approved_beside_a_ready_stage_joins_it_and_apply_takes_both(tmp_path: Path) -> None:
    """A stage without the approved operation is not called exact; `driftd apply` honours the approval, and history knows whose."""
    make(tmp_path / "app.db")
    both = "CREATE TABLE task (id INTEGER PRIMARY KEY, state TEXT DEFAULT 'open');\n"
    with running(house(tmp_path, models=both)) as sidecar:
        entry = sidecar.state("ready")
        assert (entry["stage"]["operations"], len(entry["held"])) == (1, 1)
        sidecar.result("approve", operations=["drop-column"])
        entry = sidecar.state("ready")
        assert (entry["stage"]["operations"], entry["held"]) == (2, [])
        assert sidecar.command("apply").code == 0
        sidecar.state("in_sync")
        assert columns(tmp_path / "app.db") == ["id", "state"]
        by = sidecar.result("history")["migrations"][-1]["allowed_by"]
        assert by.startswith("approved by user ")


def test_a_paused_target_is_left_alone_until_it_is_resumed(tmp_path: Path) -> None:
    """While it is paused a saved file changes nothing; resumed, it is looked at."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.result("pause")["targets"][0]["state"] == "paused"
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        assert sidecar.result("status")["verdict"] == "attention"
        sidecar.result("resume")
        sidecar.state("ready")


def test_models_that_cannot_be_read_are_told_and_then_read_again(tmp_path: Path) -> None:
    """A file that is half-written when it is seen is a state, and the next save ends it."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text("CREATE TABLE task (id INTEGER PRIMARY", encoding="utf-8")
        problem = sidecar.state("models_unreadable")["problem"]
        assert problem["code"].startswith("models-")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        assert sidecar.state("ready")["problem"] is None


def test_the_same_bytes_are_no_change(tmp_path: Path) -> None:
    """A formatter that rewrites a file without changing it makes no look at all."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        before = sidecar.state("in_sync")["looked_at"]
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
        (tmp_path / "other.sql").write_text("-- nobody's", encoding="utf-8")
        sidecar.result("check")  # confirms what the hint supposes, now
        assert sidecar.entry()["looked_at"] == before


def test_sigterm_ends_it_and_leaves_nothing_but_locks(tmp_path: Path) -> None:
    """Exit code 0, no socket, nobody's lock held: the next daemon starts."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.stop(signal.SIGTERM) == 0
        assert not sidecar.socket.exists()
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.stop(signal.SIGINT) == 0


def test_a_second_daemon_is_refused_by_name(tmp_path: Path) -> None:
    """Another daemon on the same database, with a socket of its own, is told the pid of the first."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.process is not None
        second = subprocess.run(
            [sys.executable, "-m", "driftd", "run", "--config", "driftd.toml", "--socket", "other.sock"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert second.returncode == 2
        assert "error[target-served]" in second.stderr
        assert str(sidecar.process.pid) in second.stderr
        assert sidecar.entry()["state"] == "in_sync"


def test_sighup_takes_a_good_configuration_over_and_refuses_a_bad_one(tmp_path: Path) -> None:
    """A bad one is told with its mistakes while the old one stays; a good one is served at once."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        (tmp_path / "driftd.toml").write_text("[targets.app]\nurl = 3\nmoddels = []\n", encoding="utf-8")
        sidecar.tell(signal.SIGHUP)
        with sidecar.followed():
            pass
        error = sidecar.error("reload")
        assert error["code"] == "configuration-invalid"
        assert "moddels" in error["why"]
        assert sidecar.entry()["state"] == "ready"
        assert sidecar.result("status")["daemon"]["problems"][0]["code"] == "configuration-invalid"
        (tmp_path / "driftd.toml").write_text(CONFIGURATION.format(mode="dev"), encoding="utf-8")
        sidecar.tell(signal.SIGHUP)
        sidecar.until(lambda one: one["mode"] == "dev" and one["state"] == "in_sync" and not one["busy"])
        assert columns(tmp_path / "app.db") == ["id", "title", "state"]
        assert sidecar.result("status")["verdict"] == "healthy"


def test_a_target_that_hangs_delays_no_other(tmp_path: Path) -> None:
    """While the models of one target never finish loading, the other one sees and stages as ever."""
    make(tmp_path / "app.db")
    (tmp_path / "stuck.py").write_text("import threading\nthreading.Event().wait()\n", encoding="utf-8")
    configuration = (
        CONFIGURATION.format(mode="window")
        + '[targets.stuck]\nurl = "sqlite:///stuck.db"\nmodels = ["stuck:Base"]\n'
    )
    with running(
        house(tmp_path, configuration=configuration.replace("{", "{{").replace("}", "}}"))
    ) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.entry("stuck")["busy"] == "look"
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        sidecar.state("ready")
        assert sidecar.entry("stuck")["state"] == "starting"
        assert sidecar.stop() == 0, "a hanging import does not keep the daemon from ending"


def test_a_killed_daemon_leaves_nothing_that_the_next_one_does_not_clear(tmp_path: Path) -> None:
    """SIGKILL while a stage is kept: its backup is swept by the next daemon, and a new stage is made."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        before = sidecar.state("ready")["stage"]["backup"]["path"]
        assert sidecar.stop(signal.SIGKILL) == -signal.SIGKILL
        assert backups(tmp_path)
    with running(house(tmp_path, models=WIDER)) as sidecar:
        after = sidecar.state("ready")["stage"]["backup"]["path"]
        assert [str(path) for path in backups(tmp_path)] == [after]
        assert before != after


def test_the_services_last_close_leaves_no_log_behind(tmp_path: Path) -> None:
    """The daemon's own connection goes when nobody writes: a plain copy then has every row."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
            connection.execute("INSERT INTO task (title) VALUES ('last')")
        wait_until(lambda: not (tmp_path / "app.db-wal").exists(), sidecar)
        with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
            assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)
