"""A storm around a real daemon: saves, branches, windows, reloads, orders, changes by hand and rude clients, at random.

Everything comes from one seed, so a storm can be made again; how the daemon's answers fall in time can not. The storm knows
which rows it has written, and holds the databases against that at the end.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from command_line import driftd
from support.sidecars import Sidecar
from support.starters import starting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from random import Random

    from command_line import Finished

Shape = dict[str, tuple[str, ...]]  # table: the columns beside its key

POOL = (
    "title",
    "amount INTEGER DEFAULT 3",
    "note TEXT",
    "state TEXT DEFAULT 'open'",
    "at TIMESTAMP",
    "rank INTEGER",
)
TABLES = ("item", "tag", "person", "visit", "paper")
KEPT = 5  # backups of each target
PATIENCE = 600.0  # seconds until a target counts as never coming to rest; staging is niced, and a machine may be busy
# What a daemon may answer in such weather; anything else is a fault of its own.
EXPECTED = frozenset({
    "approval-unknown", "database-locked", "mode-observe", "models-unreadable", "models-broken", "nothing-to-adopt",
    "nothing-to-revert", "nothing-to-roll-back", "plan-stale", "service-starting", "target-paused", "target-leaving",
    "target-unknown", "window-closed", "target-ambiguous",
})  # fmt: skip

BASE = """\
[daemon]
socket = "d.sock"
"""
TARGET = """
[targets.{name}]
url = "sqlite:///{name}.db"
models = ["{models}"]
mode = "{mode}"
[targets.{name}.window]
timeout = 20
[targets.{name}.backup]
directory = "backups"
keep = {keep}
"""


def sql_of(shape: Shape) -> str:
    """The shape as DDL. `keep` is in every shape: what is written there must be there at the end."""
    tables = [
        f"CREATE TABLE {name} (\n  id INTEGER PRIMARY KEY"
        + "".join(f",\n  {column}" for column in columns)
        + "\n);\n"
        for name, columns in shape.items()
    ]
    indexes = [
        f"CREATE INDEX ix_{name} ON {name} ({columns[0].split()[0]});\n"
        for name, columns in shape.items()
        if len(columns) > 2
    ]
    return "".join(["CREATE TABLE keep (id INTEGER PRIMARY KEY, n INTEGER);\n", *tables, *indexes])


def python_of(shape: Shape) -> str:
    """The same tables as SQLAlchemy models."""
    lines = [
        "from sqlalchemy import Column, Integer, MetaData, Table, Text",
        "metadata = MetaData()",
        "Table('keep', metadata, Column('id', Integer, primary_key=True), Column('n', Integer))",
    ]
    for name, columns in shape.items():
        more = "".join(f", Column({one.split()[0]!r}, Text)" for one in columns)
        lines.append(f"Table({name!r}, metadata, Column('id', Integer, primary_key=True){more})")
    return "\n".join(lines) + "\n"


def random_shape(random: Random) -> Shape:
    """Some of the tables, with some of the columns."""
    return {
        name: tuple(column for column in POOL if random.random() < 0.6)
        for name in TABLES
        if random.random() < 0.8
    }


class Storm:
    """One storm in a folder; `done` counts what was done, `refused` the codes of what the daemon refused."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.folder, self.random = folder, random
        self.temporary = folder.parent / f"{folder.name}-tmp"
        self.temporary.mkdir()
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.written: dict[str, int] = {"alpha": 0, "beta": 0}
        self.guest = ""  # a target that comes under a new name each time, and goes
        self._guests = 0
        self._prepare()
        self.sidecar = Sidecar(folder, environment={"TMPDIR": str(self.temporary)}, patience=PATIENCE)

    # --- the house

    @property
    def databases(self) -> list[Path]:
        """Those of the targets that stay, and that of the guest."""
        return [self.folder / f"{name}.db" for name in ("alpha", "beta", "guest")]

    def _prepare(self) -> None:
        (self.folder / "pkg").mkdir()
        (self.folder / "pkg" / "__init__.py").touch()
        self._git("init", "-q", "-b", "main")
        self._save_models()
        self.configure()
        self._git("add", "schema.sql", "pkg")
        self._git("commit", "-q", "-m", "first")
        for number in range(4):
            self._git("checkout", "-q", "-b", f"branch{number}")
            self._save_models()
            self._git("commit", "-q", "-a", "-m", f"branch {number}")
        for name, journal in (("alpha", "wal"), ("beta", "delete"), ("guest", "wal")):
            with closing(sqlite3.connect(self.folder / f"{name}.db", isolation_level=None)) as connection:
                connection.execute(f"PRAGMA journal_mode = {journal}")
                connection.execute("CREATE TABLE keep (id INTEGER PRIMARY KEY, n INTEGER)")

    def _git(self, *words: str) -> None:
        who = ("-c", "user.name=storm", "-c", "user.email=storm@localhost", "-c", "commit.gpgsign=false")
        subprocess.run(
            ["git", *who, *words],
            cwd=self.folder,
            check=True,
            capture_output=True,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        )

    def _save_models(self) -> None:
        self._save("schema.sql", sql_of(random_shape(self.random)))
        self._save("pkg/models.py", python_of(random_shape(self.random)))

    def _save(self, name: str, text: str) -> None:
        """As an editor does: in place, or a new file in its place."""
        path = self.folder / name
        if self.random.random() < 0.5:
            path.write_text(text, encoding="utf-8")
        else:
            beside = path.with_name(f".{path.name}.swp")
            beside.write_text(text, encoding="utf-8")
            beside.replace(path)

    def configure(self, keep: int = KEPT, modes: tuple[str, ...] = ("window", "observe", "dev")) -> None:
        """Saves the configuration as it is meant now; the guest has one of the modes."""
        text = BASE + TARGET.format(name="alpha", models="schema.sql", mode="window", keep=keep)
        text += TARGET.format(name="beta", models="pkg.models:metadata", mode="dev", keep=keep)
        if self.guest:
            mode = self.random.choice(modes)
            guest = TARGET.format(name=self.guest, models="schema.sql", mode=mode, keep=keep)
            text += guest.replace(f"sqlite:///{self.guest}.db", "sqlite:///guest.db")
        self._save("driftd.toml", text)

    def command(self, *words: str) -> Finished:
        """A command of driftd's beside the daemon."""
        found = driftd(*words, folder=self.folder, DRIFTD_CONFIG="driftd.toml", TMPDIR=str(self.temporary))
        assert "Traceback" not in found.err, found.err
        return found

    # --- what happens

    def act(self) -> None:
        """One thing at random."""
        actions: list[tuple[int, Callable[[], None]]] = [
            (10, self.save_sql), (6, self.save_python), (2, self.save_broken), (3, self.branch),
            (6, self.window_socket), (4, self.window_files), (2, self.window_exec), (1, self.window_gate),
            (3, self.guest_comes_or_goes), (1, self.broken_configuration), (2, self.hang_up),
            (6, self.rows), (3, self.by_hand), (1, self.replaced), (3, self.restage), (4, self.ask),
            (1, self.backup), (2, self.pause_and_resume), (3, self.approve), (2, self.roll_back),
            (2, self.vanish), (1, self.idle_connections), (1, self.deaf_follower), (1, self.settle_by_hand),
        ]  # fmt: skip
        weights, functions = zip(*actions, strict=True)
        (chosen,) = self.random.choices(functions, weights)
        chosen()
        self.done[chosen.__name__] += 1

    def _served(self) -> str:
        names = [*self.written, *([self.guest] if self.guest else [])]
        return self.random.choice(names)

    def _order(self, command: str, **arguments: Any) -> dict[str, Any] | None:
        """A request that may be refused for a reason."""
        reply = self.sidecar.ask(command, **arguments)
        if reply["ok"]:
            return dict(reply["result"])
        code = reply["error"]["code"]
        self.refused[f"{command}: {code}"] += 1
        assert code != "internal", (reply, self.sidecar.log)
        return None

    def save_sql(self) -> None:
        """Somebody saves the DDL."""
        self._save("schema.sql", sql_of(random_shape(self.random)))

    def save_python(self) -> None:
        """Somebody saves the Python models."""
        self._save("pkg/models.py", python_of(random_shape(self.random)))

    def save_broken(self) -> None:
        """Half a thought is saved, and a moment later the whole."""
        name, text = self.random.choice(
            [("schema.sql", "CREATE TABLE (;"), ("pkg/models.py", "import nowhere_at_all\n")]
        )
        self._save(name, text)
        time.sleep(self.random.choice([0.1, 1.0]))
        self._save_models()

    def branch(self) -> None:
        """Another branch is checked out."""
        self._git("checkout", "-q", "-f", self.random.choice(["main", *(f"branch{n}" for n in range(4))]))

    def window_socket(self) -> None:
        """A service starts and asks over the socket."""
        name = self.random.choice(list(self.written))
        with starting(self.folder / f"{name}.db", timeout=20.0) as service:
            answer = self._order(
                "window", window=service.id, database=os.path.realpath(self.folder / f"{name}.db")
            )
            if answer is not None:
                self.done[f"window: {answer['outcome']}"] += 1
            if self.random.random() < 0.5:
                self._insert(name)

    def window_files(self) -> None:
        """A service starts and knows the files alone."""
        name = self.random.choice(list(self.written))
        with starting(self.folder / f"{name}.db", timeout=15.0, socket=False) as service:
            if self.random.random() < 0.7:
                service.knock()
            self.done[f"file: {service.read()['outcome']}"] += 1

    def window_exec(self) -> None:
        """A service starts behind `driftd exec`."""
        name = self.random.choice(list(self.written))
        found = self.command("exec", "--target", name, "--", sys.executable, "-S", "-c", "print('on')")
        assert found.out == "on\n", found

    def window_gate(self) -> None:
        """A script opens a window."""
        found = self.command("gate", "--target", self.random.choice(list(self.written)), "--json")
        self.done[f"gate: {found.document['outcome']}"] += 1

    def guest_comes_or_goes(self) -> None:
        """The configuration gains or loses a target; told by the file, a signal or a command."""
        self._guests += 1
        self.guest = "" if self.guest else f"guest{self._guests}"
        self.configure()
        if self.random.random() < 0.5:
            self.sidecar.tell(signal.SIGHUP)
        else:
            self._order("reload")
        if self.guest:
            self._order("history", target=self.guest)

    def broken_configuration(self) -> None:
        """It is refused, and the old one stays; then it is mended."""
        self._save(
            "driftd.toml", self.random.choice(["[targets.alpha\n", BASE + "[targets.alpha]\nurl = 3\n"])
        )
        self.refused["reload: told"] += self._order("reload") is None
        self.configure()

    def hang_up(self) -> None:
        """SIGHUP for nothing."""
        self.sidecar.tell(signal.SIGHUP)

    def _insert(self, name: str) -> None:
        """The service writes; the storm remembers what was committed."""
        with closing(
            sqlite3.connect(self.folder / f"{name}.db", isolation_level=None, timeout=30)
        ) as connection:
            connection.execute("INSERT INTO keep (n) VALUES (?)", (self.written[name],))
        self.written[name] += 1

    def rows(self) -> None:
        """The service writes some rows."""
        name = self.random.choice(list(self.written))
        for _ in range(self.random.randint(1, 8)):
            self._insert(name)

    def by_hand(self) -> None:
        """Somebody changes the schema by hand."""
        name = self.random.choice([*self.written, "guest"])
        number = self.random.randrange(6)
        statement = self.random.choice([
            f"CREATE TABLE IF NOT EXISTS mine_{number} (a)", f"DROP TABLE IF EXISTS mine_{number}",
            f"CREATE INDEX IF NOT EXISTS hand_{number} ON keep (n, id)", f"DROP INDEX IF EXISTS hand_{number}",
            "ALTER TABLE item ADD COLUMN by_hand TEXT", "ALTER TABLE item DROP COLUMN by_hand",
            "DROP INDEX ix_tag", "DROP TABLE visit",
        ])  # fmt: skip
        with closing(
            sqlite3.connect(self.folder / f"{name}.db", isolation_level=None, timeout=30)
        ) as connection:
            try:
                connection.execute(statement)
            except sqlite3.OperationalError as error:
                if "locked" in str(error):
                    raise
                self.done["by_hand: nothing to change"] += 1  # there is no such column, table or index now

    def replaced(self) -> None:
        """Paused, as docs/daemon.md asks for, a database is replaced by a copy of itself: another file under its name."""
        database = self.folder / "beta.db"
        if self._order("pause", target="beta") is None:
            return
        copy = database.with_name("beta.copy")
        with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(copy)) as other:
            source.backup(other)
        copy.replace(database)
        self._order("resume", target="beta")

    def restage(self) -> None:
        """A person has a target staged anew."""
        self._order("stage", target=self._served())

    def ask(self) -> None:
        """Somebody asks this and that."""
        name = self._served()
        for command in ("status", "check", "plan", "history", "where"):
            self._order(command, target=name)
        self._order("check", target=name, fresh=True)
        self._order("status", holders=True)

    def backup(self) -> None:
        """A backup is made by hand."""
        found = self.command("backup", "create", "--target", self.random.choice(list(self.written)))
        assert found.code == 0 or "locked" in found.err, found

    def pause_and_resume(self) -> None:
        """Left alone for a moment."""
        name = self._served()
        self._order("pause", target=name)
        time.sleep(self.random.random() / 2)
        self._order("resume", target=name)

    def approve(self) -> None:
        """A person agrees to what waits."""
        name = self._served()
        status = self._order("status", target=name)
        held = status["targets"][0]["held"] if status else []
        if held:
            some = self.random.sample(held, self.random.randint(1, len(held)))
            self._order("approve", target=name, operations=[one["operation"] for one in some])

    def roll_back(self) -> None:
        """A person regrets the last migration."""
        self._order("rollback", target=self.random.choice(list(self.written)))

    def settle_by_hand(self) -> None:
        """What was changed by hand is undone, or agreed to."""
        name = self.random.choice(list(self.written))
        self._order(self.random.choice(["revert", "adopt"]), target=name)

    @contextmanager
    def _client(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(os.path.relpath(self.sidecar.socket))
            yield client

    def vanish(self) -> None:
        """A client hangs up in the middle of something."""
        said = self.random.choice([
            b'{"command": "sta', b'{"command": "stage", "target": "alpha"}\n', b'{"command": "events"}\n', b"",
            b'{"command": "check", "target": "beta", "fresh": true}\n', b"\xff\xfe" * 500 + b"\n",
        ])  # fmt: skip
        with self._client() as client:
            client.sendall(said)

    def idle_connections(self) -> None:
        """Many connect and say nothing."""
        with closing_all() as clients:
            for _ in range(30):
                client = socket.socket(socket.AF_UNIX)
                clients.append(client)
                client.connect(os.path.relpath(self.sidecar.socket))

    def deaf_follower(self) -> None:
        """One follows the events and never reads."""
        with self._client() as client:
            client.sendall(b'{"command": "events"}\n')
            for _ in range(50):
                self._order("pause", target="alpha")
                self._order("resume", target="alpha")

    # --- quiet

    def until_quiet(self) -> None:
        """Returns when nothing is under way in any target."""
        give_up = time.monotonic() + PATIENCE
        calm = 0
        while calm < 3:
            entries = self.sidecar.result("status")["targets"]
            calm = 0 if any(one["busy"] or one["state"] == "starting" for one in entries) else calm + 1
            assert time.monotonic() < give_up, (json.dumps(entries)[:4000], self.sidecar.log[-4000:])
            time.sleep(0.15)  # what a hint will set off has not begun yet

    def come_to_rest(self) -> None:
        """Whole models and configuration are saved, everything that waits is agreed to: all targets in sync."""
        self.guest = self.guest or "guest0"
        self._git("checkout", "-q", "-f", "main")
        self.configure(modes=("window", "dev"))  # a target that is only observed never comes in sync
        self._order("reload")
        self.sidecar.result("resume")
        self.until_quiet()
        for name in (*self.written, self.guest):
            for _ in range(4):  # what is applied may free what was held behind it
                found = self.command("plan", "--target", name, "--json").document
                ids = [one["id"] for one in (found["plan"] or {"operations": []})["operations"]]
                if not ids:
                    break
                approvals = [word for one in ids for word in ("--approve", one)]
                self.command("apply", "--target", name, *approvals)
        # A commit of a command is seen at the next glance, a second or two later.
        for name in (*self.written, self.guest):
            self.sidecar.state("in_sync", target=name)
        self.until_quiet()
        states = {one["target"]: one["state"] for one in self.sidecar.result("status")["targets"]}
        assert set(states.values()) == {"in_sync"}, (states, self.sidecar.log[-4000:])

    def rows_in(self, name: str) -> list[int]:
        """What stands in the table of a target that the storm writes into."""
        with closing(sqlite3.connect(self.folder / f"{name}.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            return [n for (n,) in connection.execute("SELECT n FROM keep ORDER BY id")]


@contextmanager
def closing_all() -> Iterator[list[socket.socket]]:
    """Sockets that are closed when the block ends."""
    clients: list[socket.socket] = []
    try:
        yield clients
    finally:
        for client in clients:
            client.close()
