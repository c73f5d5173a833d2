"""What doctor decides of facts, and how it deals with checks that fail or hang."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

import unprivileged
from driftd.cli.render.doctor import render_doctor
from driftd.cli.text import Look
from driftd.config.locate import shipped_text
from driftd.doctor.daemon import outdated
from driftd.doctor.database import has_wal_reset_bug
from driftd.doctor.examine import Check, TooSlowError, bounded
from driftd.doctor.findings import Finding, note, ordered, problem, warning
from driftd.doctor.holders import Service, elsewhere
from driftd.doctor.place import judge_space
from driftd.doctor.rights import ENTER, READ, WRITE, User, check_rights, grants
from driftd.doctor.subject import Seen, Subject
from driftd.doctor.units import Unit
from driftd.doctor.units import judged as judged_unit
from driftd.doctor.watching import Inotify
from driftd.doctor.watching import judged as judged_limits
from driftengine.api import BackupSettings, Target
from driftengine.desired import ModelSource
from support.sockets import as_nobody, socket_folder

if TYPE_CHECKING:
    from pathlib import Path


def codes(found: list[Finding]) -> list[str]:
    """Severity and code of each."""
    return [f"{one.severity} {one.code}" for one in found]


def test_a_check_that_hangs_is_a_finding() -> None:
    """It is given up after its time, and stops nobody."""
    gate = threading.Event()

    def look() -> list[Finding]:
        gate.wait()
        return []

    check = Check("file-system", look, "app", patience=0.05)
    check.start()
    try:
        found = check.result(time.monotonic())
    finally:
        gate.set()
        assert check.thread
        check.thread.join()
    assert codes(found) == ["warning check-hangs"]
    assert found[0].target == "app"


def test_a_check_that_fails_is_a_finding() -> None:
    """No traceback: what went wrong is told."""

    def look() -> list[Finding]:
        raise PermissionError(13, "Permission denied", "/srv/app.db")

    check = Check("space", look)
    check.start()
    found = check.result(time.monotonic())
    assert codes(found) == ["warning check-failed"]
    assert found[0].why == "PermissionError: Permission denied (/srv/app.db)"


def test_what_hangs_before_any_check_is_given_up() -> None:
    """Reading the configuration may hang as well; what it raises comes through."""
    gate = threading.Event()
    with pytest.raises(TooSlowError, match="configuration"):
        bounded("configuration", gate.wait, patience=0.05)
    gate.set()
    assert bounded("configuration", lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        bounded("configuration", lambda: 1 // 0)


def test_the_worst_comes_first_and_once() -> None:
    """Two checks may find the same."""
    first, second, third = note("a", code="a"), warning("b", code="b"), problem("c", code="c")
    assert ordered([first, second, third, second]) == [third, second, first]


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 6, 23), False),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 53, 0), False),
    ],
)
def test_versions_with_the_wal_reset_bug(version: tuple[int, int, int], has: bool) -> None:
    """All since 3.7.0, but for 3.51.3 and newer and two older lines that were corrected."""
    assert has_wal_reset_bug(version) is has


def test_space_for_a_backup_and_a_rebuild(tmp_path: Path) -> None:
    """Too little for the whole is a warning, too little for a backup alone a problem."""
    assert judge_space(tmp_path, 400, 100, 400) is None
    short, none = judge_space(tmp_path, 399, 100, 400), judge_space(tmp_path, 99, 100, 400)
    assert short
    assert none
    assert (short.severity, none.severity) == ("warning", "problem")


def test_mode_bits_decide_for_another_user(tmp_path: Path) -> None:
    """Of the three sets of bits the first that fits counts alone, as in the kernel."""
    path = tmp_path / "file"
    path.touch()
    path.chmod(0o064)
    found = path.stat()
    owner, other = User(found.st_uid, {found.st_gid}, "owner"), User(12345, (), "other")
    member = User(12345, {found.st_gid}, "member")
    assert grants(found, owner, READ) is (found.st_uid == 0)
    assert grants(found, member, READ | WRITE)
    assert grants(found, other, READ)
    assert not grants(found, other, READ | ENTER)


RIGHTS = """
import sys
from pathlib import Path
from driftd.doctor.rights import check_rights
from driftd.doctor.subject import Seen, Subject
from driftengine.api import BackupSettings, Target
from driftengine.desired import ModelSource
folder = Path(sys.argv[1])
target = Target("app", "sqlite:///app.db", ModelSource((), "python"), BackupSettings(folder / "backups"))
found = check_rights(Subject("app", target, folder / "app.db", Seen(""), folder))
print("\\n".join(sorted(f"{one.code}: {one.what}" for one in found)))
"""


def test_a_folder_that_this_user_may_not_write() -> None:
    """The folder, the database and the backups in it are each told."""
    with socket_folder() as folder:
        (folder / "app.db").write_bytes(b"")
        (folder / "app.db").chmod(0o644)
        told = as_nobody(RIGHTS, folder).splitlines()
    assert f"permission-missing: this user may not make files in {folder}" in told
    assert f"permission-missing: this user may not read and write {folder}/app.db" in told


def test_a_log_that_the_databases_owner_may_not_write() -> None:
    """A shell of root's leaves a -wal that the service cannot use."""
    if os.geteuid() != 0:
        pytest.skip("only root makes files for others")
    with socket_folder() as folder:
        for name, mode in (("app.db", 0o644), ("app.db-wal", 0o644)):
            (folder / name).touch()
            (folder / name).chmod(mode)
        folder.chmod(0o777)
        os.chown(folder / "app.db", unprivileged.NOBODY, unprivileged.NOBODY)
        told = as_nobody(RIGHTS, folder).splitlines()
    assert told == [f"permission-missing: this user may not read and write {folder}/app.db-wal"]


def test_a_folder_that_the_daemons_user_may_not_write(tmp_path: Path) -> None:
    """What that user may do is told by the mode bits, since nobody can be asked."""
    (tmp_path / "app.db").touch()
    target = Target(
        "app", "sqlite:///app.db", ModelSource((), "python"), BackupSettings(tmp_path / "backups")
    )
    daemon = Seen("", uid=unprivileged.NOBODY)
    told = [one.what for one in check_rights(Subject("app", target, tmp_path / "app.db", daemon, tmp_path))]
    assert told
    assert all(what.startswith("the daemon's user (") for what in told)


def test_a_daemon_of_another_release() -> None:
    """Another version is a warning; sources that changed after its start are told as well."""
    seen = Seen("s", status={"daemon": {"version": "1.0"}}, started=100.0)
    assert codes(outdated(seen, "1.1", 50.0)) == ["warning daemon-outdated"]
    assert outdated(seen, "1.0", 50.0) == []
    assert codes(outdated(seen, "1.0", 150.0)) == ["note daemon-outdated"]


def test_inotify_limits() -> None:
    """What is nearly used up is told with the command that raises it."""
    roomy = Inotify(watches=8192, instances=128, watches_used=10, instances_used=1)
    assert judged_limits(roomy, running=False) == []
    full = Inotify(watches=8192, instances=128, watches_used=8190, instances_used=127)
    assert [one.fix for one in judged_limits(full, running=False)] == [
        "raise it: sysctl fs.inotify.max_user_instances=1152",
        "raise it: sysctl fs.inotify.max_user_watches=16384",
    ]
    assert len(judged_limits(full, running=True)) == 1


def test_the_place_of_a_running_orchestrators_tasks(tmp_path: Path) -> None:
    """Its variable, else its working directory, tells which database it opens."""
    command = "python -m mcp_task_orchestrator.server"
    here = Service(1, command, directory=str(tmp_path))
    database = tmp_path.resolve() / ".task_orchestrator" / "task_orchestrator.db"
    assert elsewhere(here, database) == []
    given = Service(1, command, (), str(tmp_path), {"MCP_TASK_ORCHESTRATOR_DB_PATH": "/srv/t.db"})
    assert "uses /srv/t.db," in elsewhere(given, database)[0].why
    assert codes(elsewhere(given, database)) == ["warning other-database"]
    assert codes(elsewhere(replace(given, sure=True), database)) == ["problem other-database"]
    assert elsewhere(Service(1, "python -m other", directory="/"), database) == []


def test_a_unit_that_is_not_what_would_be_written(tmp_path: Path) -> None:
    """A setting that the shipped unit has and this one lacks is named; what is another on each machine does not count."""
    text = "[Service]\nExecStart=/bin/true run --config %h/driftd.toml\nType=notify\n"
    unit = Unit(tmp_path / "driftd.service", text)
    assert judged_unit(unit, "[Service]\nExecStart=/bin/false\n# Nothing=1\nType=notify\nUser=driftd\n") == []
    (finding,) = judged_unit(unit, "[Service]\nType=notify\nNoNewPrivileges=true\n")
    assert (finding.code, "NoNewPrivileges=true" in finding.why) == ("unit-differs", True)
    rendered = shipped_text("systemd/driftd.service").replace("/etc/driftd", "%h")
    assert judged_unit(Unit(unit.path, rendered), shipped_text("systemd/driftd.service")) == []
    assert codes(judged_unit(Unit(unit.path, "[Unit]\n"))) == ["problem unit-stale"]


def test_colour_marks_what_it_is() -> None:
    """Without colour the text is the same."""
    document = {
        "findings": [problem("it is broken", code="broken", why="a cause", fix="mend it").as_document()],
        "targets": ["app"],
        "daemon": None,
    }
    plain = render_doctor(document, Look())
    coloured = render_doctor(document, Look(colour=True))
    assert plain == (
        "1 problem: 1 target, no daemon\n\nproblem[broken]: it is broken\n  a cause\n  fix: mend it"
    )
    assert "\x1b[1;31mproblem[broken]\x1b[0m: it is broken" in coloured
