"""A person at a terminal beside a running daemon: every command as it is typed, what it answers, how it exits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from driftd.client import Client
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
)
from support.sockets import as_nobody, socket_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.sidecars import Sidecar

TWO = CONFIGURATION + '[targets.web]\nurl = "sqlite:///web.db"\nmodels = ["web.sql"]\n'


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that others may enter."""
    with socket_folder() as made:
        yield made


def two(folder: Path) -> Sidecar:
    """Two targets: `app` is in sync, `web` is to become narrower."""
    make(folder / "app.db")
    make(folder / "web.db")
    (folder / "web.sql").write_text(NARROWER, encoding="utf-8")
    return house(folder, configuration=TWO)


def test_a_day_at_the_terminal(folder: Path) -> None:
    """$ driftd status; save; status; stage; approve; pause; resume; reload: each says what is so and exits by it."""
    make(folder / "app.db")
    with running(house(folder)) as sidecar:
        sidecar.state("in_sync")
        told = sidecar.command("status")
        assert (told.code, told.err) == (0, "")
        assert told.out.splitlines()[0] == "all is well"
        (folder / "models.sql").write_text(WIDER, encoding="utf-8")
        first = sidecar.state("ready")["stage"]
        told = sidecar.command("status")
        assert told.code == 0
        assert "ready" in told.out
        assert "driftd apply" in told.out
        staged = sidecar.command("stage", "--json")
        assert staged.code == 0
        (entry,) = staged.document["targets"]
        assert (entry["state"], entry["busy"]) == ("ready", "")
        assert entry["stage"]["made_at"] > first["made_at"]
        (folder / "models.sql").write_text(NARROWER, encoding="utf-8")
        held = sidecar.state("held")["held"]
        told = sidecar.command("status")
        assert told.code == 1
        assert f"driftd approve {held[0]['operation']}" in told.out
        refused = sidecar.command("approve", "no-such-code")
        assert refused.code == 1
        assert "approval-unknown" in refused.err
        approved = sidecar.command("approve", held[0]["operation"], "--json")
        assert approved.code == 0
        assert approved.document["targets"][0]["stage"]["operations"] == 1
        assert sidecar.command("pause").code == 0
        assert sidecar.command("status").code == 1
        refused = sidecar.command("stage")
        assert refused.code == 1
        assert "target-paused" in refused.err
        assert sidecar.error("check")["code"] == "target-paused", "what was found before is no answer"
        assert sidecar.command("resume").code == 0
        assert sidecar.state("ready")["approved"] == [held[0]["operation"]]
        reloaded = sidecar.command("reload", "--json")
        assert reloaded.code == 0
        assert reloaded.document["kept"] == ["app"]
        assert columns(folder / "app.db") == ["id", "title"]


def test_several_targets_are_meant_together_or_by_name(folder: Path) -> None:
    """Without --target: all of them, or the one that the operation names; what fits none is refused by name."""
    with running(two(folder)) as sidecar:
        sidecar.state("in_sync")
        held = sidecar.state("held", target="web")["held"]
        told = sidecar.command("status")
        assert told.code == 1, "one of them waits"
        assert sidecar.command("status", "--target", "app").code == 0
        assert sidecar.command("status", "--target", "web").code == 1
        unknown = sidecar.command("status", "--target", "wbe")
        assert unknown.code == 1
        assert "target-unknown" in unknown.err
        names = [one["target"] for one in sidecar.command("status", "--json").document["targets"]]
        assert names == ["app", "web"]
        assert sidecar.error("check")["code"] == "target-ambiguous"
        assert sidecar.result("check", target="app")["in_sync"]
        assert sidecar.command("approve", "drop-column").code == 1, "a code alone may mean either"
        approved = sidecar.command("approve", held[0]["operation"], "--json").document["targets"]
        assert [one["target"] for one in approved] == ["web"]
        assert [one["state"] for one in approved] == ["ready"]
        paused = sidecar.command("pause", "--json").document["targets"]
        assert [one["state"] for one in paused] == ["paused", "paused"]
        resumed = sidecar.command("resume", "--target", "web", "--json").document["targets"]
        assert [one["target"] for one in resumed] == ["web"]
        assert sidecar.entry("app")["state"] == "paused"


def test_verbose_tells_of_the_daemon_and_of_who_has_the_database_open(folder: Path) -> None:
    """$ driftd status -v: its pid, its memory, the folders that are watched, and this very process as a holder."""
    make(folder / "app.db")
    with running(house(folder)) as sidecar:
        sidecar.state("in_sync")
        with (folder / "app.db").open("rb"):
            told = sidecar.command("status", "-v")
        assert told.code == 0
        assert sidecar.process is not None
        assert f"pid {sidecar.process.pid}" in told.out
        assert f"pid {os.getpid()}" in told.out
        document = sidecar.command("status", "--json").document
        assert document["daemon"]["memory"]["rss_bytes"] < 45_000_000
        assert document["targets"][0]["watching"]["files"] == 1


def test_following_beside_a_terminal_is_a_line_for_each_change(folder: Path) -> None:
    """$ driftd status --watch | tee log: the status, each change, and its own end when the daemon ends: exit code 0."""
    make(folder / "app.db")
    with running(house(folder)) as sidecar:
        sidecar.state("in_sync")
        with subprocess.Popen(
            [sys.executable, "-m", "driftd", "status", "--watch", "--json"],
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "DRIFTD_CONFIG": "driftd.toml"},
            stdout=subprocess.PIPE,
            text=True,
        ) as watching:
            assert watching.stdout is not None
            assert json.loads(watching.stdout.readline())["verdict"] == "healthy"
            (folder / "models.sql").write_text(WIDER, encoding="utf-8")
            seen = []
            while "ready" not in seen:
                event = json.loads(watching.stdout.readline())
                seen.append(event["target"]["state"])
            assert list(dict.fromkeys(seen)) == ["in_sync", "staging", "ready"]
            assert sidecar.stop() == 0
            kinds = [json.loads(line)["event"] for line in watching.stdout]
            assert kinds[0] == "stopping"
            assert watching.wait(PATIENCE) == 0


def test_without_a_daemon_every_command_exits_with_3(folder: Path) -> None:
    """Nobody listens: the same exit code and the same advice for all of them."""
    sidecar = house(folder)
    for words in (["status"], ["stage"], ["approve", "x"], ["pause"], ["resume"], ["reload"]):
        told = sidecar.command(*words)
        assert told.code == 3, words
        assert "driftd run" in told.err
    assert sidecar.command("status", "--config", "none.toml").code == 2


ASK = """
import sys
from driftd.client import Client, NotAllowed
with Client(sys.argv[1]) as client:
    status = client.do_status()
    print(status["verdict"], *(len(one["rows"]) for one in status["targets"][0]["held"]))
    for ask in (client.do_stage, client.do_pause, client.do_reload, lambda: client.do_status(holders=True)):
        try:
            ask()
        except NotAllowed as error:
            print(error.error["code"])
"""
TYPED = """
import sys
sys.path.append(sys.argv[2])
from driftd.cli.main import run
for command in "status", "pause":
    print(run([command, "--socket", sys.argv[1]]))
"""


def test_another_user_may_look_where_that_is_allowed_and_never_touch(folder: Path) -> None:
    """Where `readable` is set, status is answered, without rows of the database, and nothing else; else the socket is shut: 77."""
    if os.geteuid() != 0:
        pytest.skip("only root can act as another user")
    make(folder / "app.db")
    execute(folder / "app.db", "UPDATE task SET title = 'secret'")
    readable = CONFIGURATION.replace('socket = "d.sock"', 'socket = "d.sock"\nreadable = true')
    with running(house(folder, models=NARROWER, configuration=readable)) as sidecar:
        assert len(sidecar.state("held")["held"][0]["rows"]) == 1
        assert as_nobody(ASK, sidecar.socket).split() == ["attention", "0", *["not-allowed"] * 4]
        assert sidecar.entry()["state"] == "held"
        assert sidecar.stop() == 0
    with running(house(folder)) as sidecar:
        sidecar.state("in_sync")
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        assert as_nobody(TYPED, sidecar.socket, packages).split() == ["77", "77"]


def test_the_command_to_type_next_names_its_target_where_there_are_several(folder: Path) -> None:
    """Approved by an id alone: the answer is of one target, and the daemon serves two."""
    with running(two(folder)) as sidecar:
        sidecar.state("in_sync")
        (folder / "models.sql").write_text(NARROWER, encoding="utf-8")
        held = sidecar.state("held")["held"][0]["operation"]
        told = sidecar.command("approve", held)
        assert told.code == 0
        assert "driftd apply --target app" in told.out


def test_a_client_that_stays_is_answered_again_and_again(folder: Path) -> None:
    """One connection of the Python client over a whole change, with history and plan as the command line shows them."""
    make(folder / "app.db")
    with running(house(folder, mode="dev", models=MODELS)) as sidecar:
        sidecar.state("in_sync")
        with Client(sidecar.socket, timeout=PATIENCE) as client:
            assert client.do_check()["in_sync"]
            (folder / "models.sql").write_text(WIDER, encoding="utf-8")
            sidecar.until(lambda one: one["last_migration"] is not None and one["state"] == "in_sync")
            (migration,) = [one for one in client.do_history()["migrations"] if one["migration_id"]]
            assert migration["migration_id"] == sidecar.entry()["last_migration"]["migration_id"]
            one = migration["migration_id"]
            assert client.do_history(migration=one) == sidecar.command("history", one, "--json").document
            assert client.do_plan() == sidecar.command("plan", "--json").document
            assert client.do_check(fresh=True)["in_sync"]
