"""`driftd gate` for scripts: the answer of a startup window as a line, as JSON, and as an exit code."""

from __future__ import annotations

import fcntl
import os
import signal
from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from driftd.startup.launch import gate_code
from driftd.startup.told import is_quiet, lines, plain
from support.sidecars import MODELS, NARROWER, WIDER, columns, execute, house, make, running

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from command_line import Finished


def gate(folder: Path, *words: str, **more: str) -> Finished:
    """`driftd gate WORDS` in a folder, where no daemon of this machine is found."""
    return driftd("gate", *words, folder=folder, **{"DRIFTD_SOCKET": "d.sock", **more})


def told(**given: Any) -> dict[str, Any]:
    """An answer with these members."""
    rest = {
        "outcome": "up_to_date",
        "operations": 0,
        "duration_ms": 0,
        "held": [],
        "blocked": [],
        "error": None,
    }
    return {**rest, "target": "app", "warnings": [], **given}


def operation(name: str, **given: Any) -> dict[str, Any]:
    """An operation that waits."""
    return {
        "kind": "drop_column",
        "table": "task",
        "name": name,
        "code": "drop-column",
        "operation": "1f",
        "reason": "r",
        **given,
    }


def test_it_migrates_and_says_so(tmp_path: Path) -> None:
    """The first run migrates, the second has nothing to do; each is a line on stdout, with the exit code 0."""
    house(tmp_path, models=WIDER)
    make(tmp_path / "app.db")
    first, second = gate(tmp_path, "--strict"), gate(tmp_path, "--strict")
    assert (first.code, first.err, second.code, second.err) == (0, "", 0, "")
    assert first.out.startswith("driftd: app: migrated, 1 operation in ")
    assert second.out == "driftd: app: up to date\n"
    assert columns(tmp_path / "app.db") == ["id", "title", "state"]


def test_a_daemon_answers_it(tmp_path: Path) -> None:
    """Beside a daemon the answer is the daemon's."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        make(tmp_path / "app.db")
        done = gate(tmp_path, "--json", "--strict")
        sidecar.state("in_sync")
    assert (done.code, done.err) == (0, "")
    assert (done.document["outcome"], done.document["by"]) == ("migrated", "daemon")
    assert columns(tmp_path / "app.db") == ["id", "title", "state"]


def test_a_daemon_that_hangs(tmp_path: Path) -> None:
    """A daemon that does not answer is waited for until the deadline; what it does afterwards is not known, and that is 75."""
    with running(house(tmp_path, models=WIDER)) as sidecar:
        make(tmp_path / "app.db")
        sidecar.state("ready")
        sidecar.tell(signal.SIGSTOP)
        try:
            done = gate(tmp_path, "--strict", "--json", "--timeout", "2")
        finally:
            sidecar.tell(signal.SIGCONT)
        sidecar.state("ready")
    assert (done.code, done.document["outcome"], done.document["by"]) == (75, "unknown", None)
    assert sidecar.process is not None
    told_why = done.document["error"]["why"]
    assert told_why.startswith(
        f"pid {sidecar.process.pid}, the daemon that serves it, did not answer within "
    )
    assert told_why.endswith(": it is stopped")
    # It woke up behind a window that had closed.
    assert columns(tmp_path / "app.db") == ["id", "title"]


def test_with_other_variables_it_is_another_database(tmp_path: Path) -> None:
    """A daemon that reads the same file in another environment serves another database: both are named, ours is migrated."""
    sidecar = house(tmp_path, configuration=_by_variable())
    sidecar.environment["APP"] = "theirs"
    with running(sidecar):
        done = gate(tmp_path, "--json", APP="ours")
    assert (done.document["outcome"], done.document["by"]) == ("migrated", "alone")
    assert done.document["database"] == str(tmp_path / "ours.db")
    assert (
        done.err == f"driftd: the daemon serves {tmp_path}/theirs.db, this service opens {tmp_path}/ours.db\n"
    )
    assert not (tmp_path / "theirs.db").exists()


def _by_variable() -> str:
    from support.sidecars import CONFIGURATION

    return CONFIGURATION.replace("sqlite:///app.db", "sqlite:///${{APP}}.db")


@pytest.mark.parametrize("words", [(), ("--strict",)])
def test_what_is_held(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What waits for a person is exit code 1 with --strict only, and stands with the command to type."""
    house(tmp_path, models=NARROWER)
    make(tmp_path / "app.db")
    done = gate(tmp_path, *words)
    assert (done.code, done.err) == (1 if words else 0, "")
    assert done.out.startswith("driftd: app: held, 1 operation waits: drop column title (task")
    assert done.out.endswith("see them with their rows: driftd apply --dry-run\n")


def test_what_is_blocked(tmp_path: Path) -> None:
    """Rows that stand in the way are exit code 1, and named."""
    house(tmp_path, models=MODELS.replace("title TEXT", "title TEXT NOT NULL"))
    make(tmp_path / "app.db")
    execute(tmp_path / "app.db", "INSERT INTO task (id, title) VALUES (2, NULL)")
    done = gate(tmp_path, "--strict")
    assert done.code == 1
    assert "title" in done.out


def test_the_queue_was_too_long(tmp_path: Path) -> None:
    """While another service holds its window until our deadline, the exit code is 75, and nothing is changed."""
    house(tmp_path, models=WIDER)
    make(tmp_path / "app.db")
    lock = os.open(tmp_path / "app.db.startup.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        done = gate(tmp_path, "--strict", "--json", "--timeout", "1500ms")
    finally:
        os.close(lock)
    assert done.code == 75
    assert done.document["error"]["code"] == "window-deadline"
    assert columns(tmp_path / "app.db") == ["id", "title"]


def test_the_models_were_too_slow(tmp_path: Path) -> None:
    """Models that do not load within the window are exit code 75."""
    (tmp_path / "app.py").write_text("import time\ntime.sleep(600)\n", encoding="utf-8")
    done = gate(
        tmp_path, "--strict", "--url", "sqlite:///app.db", "--models", "app:metadata", "--timeout", "2s"
    )
    assert done.code == 75


def test_no_window(tmp_path: Path) -> None:
    """Where no window can be opened the exit code is 1, and without --strict 0."""
    (tmp_path / "driftd.toml").write_text("[targets", encoding="utf-8")
    done = gate(tmp_path, "--strict", "--json")
    assert (done.code, done.document["outcome"], done.document["id"]) == (1, "skipped", None)
    assert done.document["error"]["code"] == "configuration-syntax"
    assert gate(tmp_path).code == 0


@pytest.mark.parametrize(
    "words",
    [("--timeout", "soon"), ("--timeout", "0"), ("--timeout", "inf"), ("--wat",), ("word",), ("--target",)],
)
def test_wrong_usage(tmp_path: Path, words: tuple[str, ...]) -> None:
    """What cannot be understood is exit code 2 with click's complaint, and nothing is opened."""
    done = gate(tmp_path, *words)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err
    assert not list(tmp_path.iterdir())


def test_it_is_understood_by_click_as_well(tmp_path: Path) -> None:
    """With an option of the group in front click reads the same words, and they do the same."""
    house(tmp_path)
    done = driftd(
        "--debug", "gate", "--strict", "--json", "--timeout=9", folder=tmp_path, DRIFTD_SOCKET="none"
    )
    assert (done.code, done.document["outcome"]) == (0, "migrated")
    done = driftd(
        "--debug", "exec", "--timeout", "9", "echo", "--json", folder=tmp_path, DRIFTD_SOCKET="none"
    )
    assert (done.code, done.out, done.err) == (0, "--json\n", "")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (told(), 0),
        (told(outcome="migrated"), 0),
        (told(outcome="migrated", held=[operation("a")]), 1),
        (told(outcome="migrated", blocked=[operation("a")]), 1),
        (told(outcome="held", held=[operation("a")]), 1),
        (told(outcome="deferred", error={"code": "window-deadline"}), 75),
        (told(outcome="unknown", error={"code": "window-unknown"}), 75),
        (told(outcome="deferred", error={"code": "in-use"}), 1),
        (told(outcome="deferred", error={"code": "mode-observe"}), 1),
        (told(outcome="failed", error={"code": "internal"}), 1),
        (told(outcome="skipped", error={"code": "window-unavailable"}), 1),
    ],
)
def test_exit_codes(answer: dict[str, Any], code: int) -> None:
    """With --strict: 0 nothing is left to do, 75 the time was up, 1 anything else."""
    assert gate_code(answer) == code


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (told(), ["up to date"]),
        (told(outcome="migrated", operations=14, duration_ms=38.4), ["migrated, 14 operations in 38 ms"]),
        (told(outcome="migrated", operations=1, duration_ms=2345.6), ["migrated, 1 operation in 2.3 s"]),
        (
            told(outcome="migrated", operations=2, duration_ms=9, held=[operation("a", code="in-use")]),
            [
                "migrated, 2 operations in 9 ms",
                "1 operation waits until no other service runs on this schema: drop column a (task)",
                (
                    "stop those services and start one, or, if their code survives it, approve it: "
                    "driftd apply --target app --approve 1f"
                ),
            ],
        ),
        (
            told(outcome="held", held=[operation("a")], by="daemon"),
            ["held, 1 operation waits: drop column a (task)", "see them with their rows: driftd status"],
        ),
        (
            told(outcome="held", held=[operation(name, count=1200) for name in "abcdefg"]),
            [
                "held, 7 operations wait: "
                + ", ".join(f"drop column {name} (task, 1,200 rows)" for name in "abcde")
                + " and 2 more",
                "see them with their rows: driftd apply --target app --dry-run",
            ],
        ),
        (
            told(
                outcome="skipped", error={"what": "no lock", "why": "read-only\n  here\n  ^", "fix": "a\nb"}
            ),
            ["no startup window: no lock: read-only", "a; b"],
        ),
        (told(outcome="up_to_date", warnings=["w"]), ["up to date", "warning: w"]),
    ],
)
def test_lines_for_people(answer: dict[str, Any], expected: list[str]) -> None:
    """An answer as lines: what came of it, what waits, and what to type."""
    assert lines(answer, " --target app") == [f"driftd: app: {one}" for one in expected]


def test_foreign_names_do_not_move_the_cursor() -> None:
    """A name out of a database or out of models is escaped."""
    assert plain("a\x1b[2Jb\u202ec\ud800") == r"a\x1b[2Jb\u202ec\ud800"
    assert plain("grün 日本") == "grün 日本"


def test_only_what_there_is_to_say_is_said() -> None:
    """A service that starts hears nothing where there was nothing to do."""
    assert is_quiet(told())
    assert not is_quiet(told(warnings=["w"]))
    assert not is_quiet(told(outcome="migrated"))
