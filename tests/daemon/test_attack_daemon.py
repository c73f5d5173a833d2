"""A daemon under abuse: garbage on its socket, requests in the middle of a reload, one file under two names."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from driftd import states
from driftd.cli.render.status import Flags, render_status
from driftd.cli.text import Look
from driftd.config import Request, load
from driftd.daemon import wanted_targets
from driftd.keeper import Around, Keeper
from driftd.locks import Locks
from driftd.turns import Turns
from driftd.watch.watcher import Watcher
from driftd.worker import Worker
from driftengine.errors import DriftError
from support.sidecars import CONFIGURATION, MODELS, PATIENCE, WIDER, Sidecar, columns, house, make, running
from support.statuses import entry, operation, plan, status, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

BATCHES, LINES = 20, 200
COMMANDS: tuple[object, ...] = (
    "status",
    "check",
    "plan",
    "history",
    "version",
    "approve",
    "pause",
    "resume",
    "nothing",
    None,
    1,
    [],
    {},
)
VALUES: tuple[object, ...] = (
    "app",
    "",
    "x" * 100,
    "a\nb",
    "\u202e",
    "\ud800",
    None,
    1,
    1.5,
    [],
    ["a"],
    {},
    True,
    "app\0",
    10**400,
)


def garbage(chance: random.Random) -> bytes:
    """A line that nobody should send: bytes, brackets, wrong arguments, half a request."""
    kind = chance.random()
    if kind < 0.3:
        return chance.randbytes(chance.randrange(200)).replace(b"\n", b"")
    if kind < 0.4:
        return b"[" * chance.randrange(5000)
    document: dict[str, Any] = {"command": chance.choice(COMMANDS)}
    for name in ("target", "fresh", "operations", "id", "plan", "migration", "holders", "more"):
        if chance.random() < 0.3:
            document[name] = chance.choice(VALUES)
    line = json.dumps(document).encode()
    return line[: chance.randrange(len(line))] if kind > 0.9 else line


def test_garbage_harms_nobody(tmp_path: Path) -> None:
    """4,000 random lines: each has its answer, and nothing of them stays, neither a descriptor nor a traceback."""
    make(tmp_path / "app.db")
    chance = random.Random(1)  # noqa: S311  # the same garbage each time, and no secret
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.process is not None
        files = psutil.Process(sidecar.process.pid).num_fds()
        for _ in range(BATCHES):
            sent = [garbage(chance) for _ in range(LINES)]
            answers = answered(sidecar, sent)
            assert len(answers) == sum(bool(line.strip()) for line in sent)
            assert all("ok" in one for one in answers)
        sidecar.ask("resume")
        sidecar.state("in_sync")
        assert psutil.Process(sidecar.process.pid).num_fds() <= files + 2
        assert sidecar.stop() == 0
    assert "Traceback" not in sidecar.log
    assert "internal" not in sidecar.log


def answered(sidecar: Sidecar, lines: list[bytes]) -> list[dict[str, Any]]:
    """What comes back for lines that are sent at one go."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(os.path.relpath(sidecar.socket))

        def send() -> None:
            connection.sendall(b"\n".join(lines) + b"\n")
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)  # the other end may wait for us to read first
        sender.start()
        with connection.makefile("rb") as stream:
            found = [json.loads(line) for line in stream]
        sender.join()
        return found


def test_two_links_to_one_file_are_one_database(tmp_path: Path) -> None:
    """Hard links have names of their own and one inode: two targets of it would work against each other. 78."""
    make(tmp_path / "app.db")
    (tmp_path / "other.db").hardlink_to(tmp_path / "app.db")
    second = '[targets.other]\nurl = "sqlite:///other.db"\nmodels = ["models.sql"]\n'
    sidecar = house(tmp_path, configuration=CONFIGURATION + second)
    assert sidecar.launch().wait(PATIENCE) == 78
    assert "target-served-here" in sidecar.log


def test_a_pause_survives_a_reload(tmp_path: Path) -> None:
    """In dev a saved configuration must not set off what somebody has stopped; `resume` does."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, mode="dev")) as sidecar:
        sidecar.state("in_sync")
        sidecar.result("pause")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        text = CONFIGURATION.format(mode="dev") + "keep = 7\n"
        (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
        assert "app" in {
            *(told := sidecar.result("reload"))["changed"],
            *told["kept"],
        }  # the watcher may be first
        assert sidecar.entry()["state"] == "paused"
        assert columns(tmp_path / "app.db") == ["id", "title"]
        sidecar.result("resume")
        sidecar.until(lambda one: one["state"] == "in_sync" and not one["busy"])
        assert columns(tmp_path / "app.db") == ["id", "title", "state"]


def test_the_end_does_not_wait_for_what_a_reload_began(tmp_path: Path) -> None:
    """SIGTERM right behind reloads that change the target: exit code 0, and no stage of any of them stays."""
    make(tmp_path / "app.db")
    with running(house(tmp_path, models=WIDER)) as sidecar:
        sidecar.state("ready")
        for keep in range(1, 6):
            text = CONFIGURATION.format(mode="window") + f"keep = {keep}\n"
            (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
            sidecar.tell(signal.SIGHUP)
        assert sidecar.stop() == 0
    assert not list((tmp_path / "backups").glob("*/*.db"))
    assert "Traceback" not in sidecar.log
    assert "pending" not in sidecar.log


def test_who_asks_a_target_that_is_let_go_of_is_told(tmp_path: Path) -> None:
    """A reload may wait a minute for another target: until then nobody hangs on one that has ended already."""
    make(tmp_path / "app.db")
    house(tmp_path, models=MODELS)
    configuration = load(Request(environment={"HOME": str(tmp_path)}, directory=tmp_path))

    async def story() -> None:
        watcher, watching = Watcher(lambda _owner: None), Worker("watcher")
        around = Around(
            watcher=watcher,
            watching=watching,
            turns=Turns(),
            locks=Locks(),
            publish=lambda _event: None,
            followed=lambda: False,
            elsewhere=lambda _name: None,
            memory=None,
        )
        keeper = Keeper(wanted_targets(configuration)["app"], None, around)
        keeper.start()
        await keeper.looked(fresh=False)
        await keeper.stop()
        asked: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: keeper.looked(fresh=False),
            lambda: keeper.looked(fresh=True),
            lambda: keeper.approve(["x"], "a test", None),
            keeper.restage,
        ]
        for ask in asked:
            with pytest.raises(DriftError) as caught:
                await asyncio.wait_for(ask(), PATIENCE)
            assert caught.value.code == "target-leaving"
        keeper.happen(states.RESUME)
        keeper.hinted()
        keeper.rescan()
        keeper.tick()
        assert (keeper.standing.state, keeper.standing.work) == (states.PAUSED, states.IDLE)
        with pytest.raises(RuntimeError):
            await keeper.worker.run(lambda: None)
        await watching.run(watcher.close)
        watching.end()

    asyncio.run(story())


def test_a_dot_in_a_targets_name_is_quoted_where_it_is_to_be_written() -> None:
    """`[targets.a.b.backfill]` would be a key `b` of a target `a`."""
    owner = operation(5, "add_column", "task", "owner", code="value-needed", held=True)
    one = entry(target="a.b", state="held", plan=plan(owner), held=[waiting(owner, "old rows need a value")])
    shown = render_status(status(one, verdict="attention"), Look(), flags=Flags(), now=None, verbose=False)
    assert '[targets."a.b".backfill] "task.owner"' in shown
