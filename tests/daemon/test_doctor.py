"""`driftd doctor`, each thing that it finds brought about for real: files, databases, processes, daemons."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command_line import Finished, driftd
from support.answering import Answering
from support.sidecars import MODELS, NARROWER, PATIENCE, WIDER, Sidecar, execute, house, make, running
from support.statuses import entry, status

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="driftd-") as made:
        yield Path(made)


@pytest.fixture
def project(folder: Path) -> Sidecar:
    """A configured project whose database has what the models describe, and no daemon."""
    sidecar = house(folder)
    make(folder / "app.db")
    return sidecar


def doctor(sidecar: Sidecar, *words: str, **environment: str) -> Finished:
    """Run it in the project's folder."""
    return driftd("doctor", *words, folder=sidecar.folder, **environment)


def findings(done: Finished) -> dict[str, Document]:
    """What was found, by code; every code of it can be explained."""
    assert done.code in {0, 1}, done.err
    found = {one["code"]: one for one in done.document["findings"]}
    assert done.code == int(any(one["severity"] == "problem" for one in found.values()))
    for one in found.values():
        assert one["what"]
    return found


def found_by(sidecar: Sidecar, *words: str, **environment: str) -> dict[str, Document]:
    """The findings of a run in the project."""
    return findings(doctor(sidecar, "--json", *words, **environment))


def configure(sidecar: Sidecar, old: str, new: str) -> None:
    """Change the configuration."""
    path = sidecar.folder / "driftd.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@contextmanager
def process(code: str, *arguments: object) -> Iterator[int]:
    """A process of somebody else's, from when it prints a line until the block ends."""
    command = [sys.executable, "-c", code + "\nprint('ready', flush=True)\ninput()", *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout
            assert started.stdout.readline() == b"ready\n"
            yield started.pid
        finally:
            started.communicate(b"\n", timeout=PATIENCE)


def test_all_is_well_in_one_line(project: Sidecar) -> None:
    """With a running daemon and nothing wrong there is one line, which names it, and the exit code is 0."""
    with running(project):
        project.state("in_sync")
        done = doctor(project)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("all is well: 1 target, daemon 0.")
    assert done.out.count("\n") == 1


def test_nothing_is_written(project: Sidecar) -> None:
    """Before and after there are the same files, with the same content."""
    make(project.folder / "wal.db", journal="wal")
    configure(project, "app.db", "wal.db")
    before = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    found_by(project)
    after = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    assert after == before


def test_no_daemon_is_a_warning(project: Sidecar) -> None:
    """Services start without one, so the exit code is 0; the command that starts one is there."""
    done = doctor(project)
    assert done.code == 0
    assert done.out.startswith("no problem, 1 warning: 1 target, no daemon\n")
    assert "  fix: start one: driftd run" in done.out
    assert found_by(project)["no-daemon"]["severity"] == "warning"


def test_a_killed_daemon_leaves_a_socket(project: Sidecar) -> None:
    """A socket that nobody answers tells of a crash."""
    with running(project):
        project.stop(signal.SIGKILL)
        found = found_by(project)
    assert found["socket-stale"]["severity"] == "problem"
    assert "driftd run" in found["socket-stale"]["fix"]


def test_a_file_in_the_sockets_place(project: Sidecar) -> None:
    """It is not driftd's, so a person must look at it."""
    project.socket.write_text("notes", encoding="utf-8")
    assert "is a file and no socket" in found_by(project)["socket-unusable"]["what"]


def test_who_listens_but_does_not_answer(project: Sidecar) -> None:
    """A process that accepts nothing is told from no process."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(project.socket))
        listening.listen()
        assert found_by(project)["no-answer"]["severity"] == "problem"


def test_a_daemon_that_is_stopped(project: Sidecar) -> None:
    """It is named by its pid, with what lets it go on."""
    with running(project):
        project.state("in_sync")
        assert project.process is not None
        project.tell(signal.SIGSTOP)
        try:
            found = found_by(project)["no-answer"]
        finally:
            project.tell(signal.SIGCONT)
    assert f"pid {project.process.pid} " in found["why"]
    assert found["fix"].endswith(f"kill -CONT {project.process.pid}")


def test_an_older_daemon(project: Sidecar) -> None:
    """What runs and what is installed are two releases."""
    answers = {"status": status(entry(database=str(project.folder / "app.db")), version="0.0.9")}
    with Answering(project.socket, answers):
        found = found_by(project)
    assert "runs driftd 0.0.9" in found["daemon-outdated"]["what"]


def test_a_daemon_with_another_configuration(project: Sidecar) -> None:
    """What this command was told by a variable, the daemon does not know."""
    with running(project):
        project.state("in_sync")
        found = found_by(project, DRIFTD_MODE="observe")
    assert "mode is window, and observe is configured" in found["daemon-configured-otherwise"]["why"]


def test_another_daemon_serves_the_database(project: Sidecar) -> None:
    """Who asks at the wrong socket is told the right one."""
    with running(project):
        project.state("in_sync")
        found = found_by(project, "--socket", "other.sock")
    assert found["target-served"]["fix"].endswith(f"--socket {project.socket}")


def test_operations_that_wait(project: Sidecar) -> None:
    """A held operation is shown with the command that tells more."""
    (project.folder / "models.sql").write_text(NARROWER, encoding="utf-8")
    with running(project):
        project.state("held")
        found = found_by(project)
    assert found["operations-wait"]["severity"] == "warning"
    assert found["operations-wait"]["fix"].endswith("driftd plan")


def test_a_wrong_interpreter(project: Sidecar) -> None:
    """An interpreter that is not there is named."""
    configure(project, '["models.sql"]', '["app.models:Base"]\npython = "/no/such/python"')
    found = found_by(project)
    assert "/no/such/python" in found["models-interpreter"]["what"]


def test_an_interpreter_that_runs_no_python(project: Sidecar) -> None:
    """A program that is something else is told as it ends."""
    configure(project, '["models.sql"]', '["app.models:Base"]\npython = "/bin/false"')
    assert found_by(project)["models-interpreter"]["target"] == "app"


def test_a_missing_module(project: Sidecar) -> None:
    """A module that the models import is missing: the file and the line are told."""
    (project.folder / "app.py").write_text("\nimport nothing_of_the_kind\n", encoding="utf-8")
    configure(project, '["models.sql"]', '["app:Base"]')
    assert f"{project.folder}/app.py:2" in found_by(project)["models-module-missing"]["why"]


def test_models_without_a_table(project: Sidecar) -> None:
    """A Base whose tables nobody imports would have everything removed."""
    text = "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): pass\n"
    (project.folder / "app.py").write_text(text, encoding="utf-8")
    configure(project, '["models.sql"]', '["app:Base"]')
    assert "app:Base" in found_by(project)["models-empty"]["what"]


def test_models_that_load_for_too_long(project: Sidecar) -> None:
    """What takes longer than a starting service waits is a warning."""
    (project.folder / "app.py").write_text("import threading; threading.Event().wait()", encoding="utf-8")
    configure(project, '["models.sql"]', '["app:Base"]\nwindow.timeout = 1')
    assert found_by(project)["models-slow"]["severity"] == "warning"


def test_a_broken_configuration_is_a_finding(project: Sidecar) -> None:
    """The daemon is asked all the same, where its socket is named."""
    configure(project, '"window"', '"windw"')
    found = found_by(project, DRIFTD_SOCKET="d.sock")
    assert "line 7: targets.app.mode" in found["configuration-invalid"]["why"]
    assert "no-daemon" in found


def test_a_configuration_that_is_not_there_is_an_error(project: Sidecar) -> None:
    """What was asked for by name and is missing leaves nothing to look at."""
    done = doctor(project, "--config", "other.toml", "--json")
    assert (done.code, done.document["error"]["code"]) == (2, "configuration-missing")


def test_variables_that_mean_nothing(project: Sidecar) -> None:
    """A misspelt variable is a note, which only -v shows."""
    assert "DRIFTD_MODSE" not in doctor(project, DRIFTD_MODSE="dev").out
    assert "note[environment-unread]: DRIFTD_MODSE" in doctor(project, "-v", DRIFTD_MODSE="dev").out


def test_a_file_that_is_no_database(project: Sidecar) -> None:
    """It is told as the engine tells it."""
    (project.folder / "app.db").write_bytes(b"not a database, but long enough to be looked at" * 40)
    assert found_by(project)["database-not-sqlite"]["severity"] == "problem"


def test_a_damaged_database(project: Sidecar) -> None:
    """A page that was overwritten is found, and the way back is shown."""
    database = project.folder / "app.db"
    execute(database, "CREATE INDEX i ON task (title)", "INSERT INTO task (title) VALUES ('a'), ('b')")
    with closing(sqlite3.connect(database)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'i'").fetchone()[0]
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 100)
    found = found_by(project)["database-corrupt"]
    assert "driftd backup restore" in found["fix"]


def test_a_url_that_names_no_database(project: Sidecar) -> None:
    """The models are looked at all the same."""
    configure(project, "sqlite:///app.db", "sqlite://")
    done = doctor(project, "--json")
    assert "database-memory" in findings(done)
    assert "models" in done.document["checked"]


def test_a_missing_database_is_a_note(project: Sidecar) -> None:
    """The first apply makes it, its folder too."""
    configure(project, "sqlite:///app.db", "sqlite:///new/app.db")
    assert found_by(project)["database-absent"]["severity"] == "note"


def test_a_link_in_a_locks_place(project: Sidecar) -> None:
    """It would not be locked, so nobody would serve."""
    (project.folder / "app.db.startup.lock").symlink_to("elsewhere")
    assert "app.db.startup.lock" in found_by(project)["lock-unusable"]["what"]


def test_a_window_that_does_not_end(project: Sidecar) -> None:
    """A starter that holds the lock beyond its time is named; before that it is a note."""
    path = project.folder / "app.db.startup.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert found_by(project)["window-open"]["severity"] == "note"
        long_ago = time.time() - 3600
        os.utime(path, (long_ago, long_ago))
        assert f"pid {os.getpid()} " in found_by(project)["window-stuck"]["why"]


def test_a_service_that_says_it_runs(project: Sidecar) -> None:
    """Who holds the lock for being in use is named."""
    with (project.folder / "app.db.inuse.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        assert f"pid {os.getpid()} " in found_by(project)["in-use-by"]["what"]


OPENS = "import fcntl, sys; a = open(sys.argv[1], 'w'); fcntl.flock(a, fcntl.LOCK_SH); b = open(sys.argv[2])"


def test_a_service_with_another_database(project: Sidecar, tmp_path: Path) -> None:
    """It says that it uses this database, and has a file of the same name open elsewhere."""
    other = tmp_path / "app.db"
    make(other)
    with process(OPENS, project.folder / "app.db.inuse.lock", other):
        assert f"uses {other}," in found_by(project)["other-database"]["why"]


def test_a_service_with_the_right_database(project: Sidecar) -> None:
    """Who has the watched file open is no finding."""
    with process(OPENS, project.folder / "app.db.inuse.lock", project.folder / "app.db"):
        assert "other-database" not in found_by(project)


def test_a_history_that_was_altered(project: Sidecar) -> None:
    """An entry that somebody has changed breaks the chain."""
    (project.folder / "models.sql").write_text(WIDER, encoding="utf-8")
    assert project.command("apply").code == 0
    assert "history-broken" not in found_by(project)
    execute(project.folder / "app.db", "UPDATE driftd_history SET at = 'then'")
    assert "driftd history verify" in found_by(project)["history-broken"]["fix"]


def test_a_copy_that_has_lost_its_manifest(project: Sidecar) -> None:
    """It is neither restored nor pruned, so a person decides."""
    assert project.command("backup", "create").code == 0
    manifest = next((project.folder / "backups").rglob("backup_*.json"))
    manifest.unlink()
    assert found_by(project)["backup-stray"]["severity"] == "warning"


def test_backups_that_take_too_much(project: Sidecar) -> None:
    """More than `max_total_size` is told with both sizes."""
    assert project.command("backup", "create").code == 0
    configure(project, 'directory = "backups"', 'directory = "backups"\nmax_total_size = 100')
    assert "may take 100 B" in found_by(project)["backups-large"]["what"]


def test_what_an_older_system_left(project: Sidecar) -> None:
    """Its table is a note: driftd leaves it alone."""
    execute(project.folder / "app.db", "CREATE TABLE migration_history (id)")
    assert found_by(project)["migrations-left"]["severity"] == "note"


def test_a_unit_whose_interpreter_is_gone(project: Sidecar) -> None:
    """A unit that cannot start is told with what is missing."""
    units = project.folder / ".config" / "systemd" / "user"
    units.mkdir(parents=True)
    text = "[Service]\nExecStart=/old/venv/bin/python -m driftd run --config=/old/driftd.toml\n"
    (units / "driftd.service").write_text(text, encoding="utf-8")
    why = found_by(project)["unit-stale"]["why"]
    assert why == "/old/venv/bin/python, /old/driftd.toml does not exist any more"


def test_a_database_of_the_future(project: Sidecar) -> None:
    """A clock that was set back is noticed by what was written before."""
    ahead = time.time() + 86400
    os.utime(project.folder / "app.db", (ahead, ahead))
    assert found_by(project)["clock-odd"]["severity"] == "warning"


def test_the_orchestrators_base_folder(project: Sidecar) -> None:
    """With a base folder and no path it keeps its tasks where it was started."""
    configure(project, '["models.sql"]', '["mcp_task_orchestrator.db.models:Base"]')
    found = found_by(project, MCP_TASK_ORCHESTRATOR_BASE_DIR="/srv/base")
    assert found["orchestrator-path"]["fix"].endswith(f"DB_PATH={project.folder}/app.db")


def test_without_a_configuration(folder: Path) -> None:
    """The shipped one is not for every project: the command that makes one is shown."""
    found = findings(driftd("doctor", "--json", folder=folder))
    assert found["configuration-shipped"]["fix"].endswith("driftd init")


def test_findings_of_several_targets_are_told_apart(project: Sidecar) -> None:
    """Each line then names its target."""
    text = f'\n[targets.second]\nurl = "second.db"\nmodels = ["{shutil.which("true")}.sql"]\n'
    configure(project, "[targets.app.backup]", f"{text}\n[targets.app.backup]")
    assert "problem[models-file-missing]: second: " in doctor(project).out
    assert "driftd exec --target app" in found_by(project)["targets-several"]["fix"]
    assert "targets-several" not in found_by(project, "--target", "app")


def test_output_fits_80_columns(project: Sidecar) -> None:
    """Whatever is found, only commands and paths may be longer."""
    (project.folder / "models.sql").write_text(MODELS + "nonsense;", encoding="utf-8")
    out = doctor(project, "-v").out
    assert "problem[models-sql-error]" in out
    assert [
        line for line in out.splitlines() if len(line) > 80 and "fix:" not in line and "/" not in line
    ] == []
