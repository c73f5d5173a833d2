"""Crowds in tests: services that write and read all the time, in processes of their own, and what they were told meanwhile.

A bank: accounts, and the transfers between them. Two tables that have to agree make a torn copy or a lost row visible.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from bisect import bisect_left, bisect_right
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    Document = dict[str, Any]

PATIENCE = 60.0  # seconds until something that must happen counts as not happening
ACCOUNTS, EACH = 20, 1000

BANK = """\
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, moves INTEGER NOT NULL);
CREATE TABLE transfer (
    id INTEGER PRIMARY KEY AUTOINCREMENT, writer INTEGER NOT NULL, number INTEGER NOT NULL,
    giver INTEGER NOT NULL REFERENCES account (id), taker INTEGER NOT NULL REFERENCES account (id),
    amount INTEGER NOT NULL, code TEXT, token TEXT NOT NULL
);
"""
# A copied table, a guard, a new column that old code survives and an index: each way of a statement.
NEW_BANK = (
    BANK.replace("code TEXT", "code INTEGER").replace(
        "token TEXT NOT NULL", "token TEXT NOT NULL, state TEXT DEFAULT 'done', CHECK (amount > 0)"
    )
    + "CREATE INDEX transfer_giver ON transfer (giver);\n"
)

# What is wrong in a bank, a row each; in any moment's state there is nothing.
AUDIT = f"""\
SELECT 'the sum of all balances is ' || sum(balance) FROM account HAVING sum(balance) <> {ACCOUNTS * EACH}
UNION ALL
SELECT 'account ' || a.id || ' has ' || a.balance || ' after ' || a.moves || ' moves'
FROM account a LEFT JOIN (
    SELECT account, sum(amount) AS amount, count(*) AS moves FROM (
        SELECT taker AS account, amount FROM transfer UNION ALL SELECT giver, -amount FROM transfer
    ) GROUP BY account
) t ON t.account = a.id
WHERE a.balance <> {EACH} + coalesce(t.amount, 0) OR a.moves <> coalesce(t.moves, 0)
UNION ALL
SELECT 'transfers are missing: ' || count(*) || ' up to number ' || max(id) FROM transfer HAVING count(*) <> max(id)
UNION ALL
SELECT 'writer ' || writer || ' has ' || count(*) || ' up to ' || max(number) FROM transfer
GROUP BY writer HAVING count(*) <> max(number) OR count(*) % 2
"""

# Two transfers a transaction, one transaction after another, until its input ends; then it prints what it has lived through.
# argv: database, its number, how it begins (IMMEDIATE, DEFERRED), whether its connection stays or goes, the pause.
WRITER = """
import json, random, sqlite3, sys, threading, time
place, me, how, stays, pause = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4] == "stays", float(sys.argv[5])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
chance, begun, ended, odd, busy, held = random.Random(me), [], [], [], 0, None

def opened():
    one = sqlite3.connect(place, isolation_level=None, timeout=5)
    one.execute("PRAGMA foreign_keys = ON")
    return one

def move(one):
    one.execute(f"BEGIN {how}")
    number = one.execute("SELECT coalesce(max(number), 0) FROM transfer WHERE writer = ?", (me,)).fetchone()[0]
    for step in (1, 2):
        giver, taker = chance.sample(range(1, ACCOUNTS + 1), 2)
        amount = chance.randint(1, 9)
        one.execute("UPDATE account SET balance = balance - ?, moves = moves + 1 WHERE id = ?", (amount, giver))
        one.execute("INSERT INTO transfer (writer, number, giver, taker, amount, code, token) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (me, number + step, giver, taker, amount, str(len(ended)), f"{me}:{len(ended)}"))
        one.execute("UPDATE account SET balance = balance + ?, moves = moves + 1 WHERE id = ?", (amount, taker))
    one.execute("COMMIT")

def tried():
    # False where somebody else's lock stood in the way: that is no fault, and is tried again.
    global held
    try:
        held = held or opened()
        move(held)
        return True
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            odd.append(f"{getattr(error, 'sqlite_errorname', '')}: {error}")
            stop.set()
        if held is not None and held.in_transaction:
            held.execute("ROLLBACK")
        return False
    finally:
        if not stays and held is not None:
            held.close()
            held = None

def transacted():
    global busy
    while not stop.is_set():
        if tried():
            return True
        busy += 1
        time.sleep(0.001)
    return False

while not stop.is_set():
    begun.append(time.monotonic())
    if transacted():
        ended.append(time.monotonic())
        if len(ended) == 10:
            print("going", flush=True)
    time.sleep(pause)
if held is not None:
    held.close()
print(json.dumps({"begun": begun, "ended": ended, "busy": busy, "odd": odd}), flush=True)
""".replace("ACCOUNTS", str(ACCOUNTS))

# One snapshot after another, each held for a while, audited at its begin and at its end. argv: database, AUDIT, seconds.
READER = """
import json, sqlite3, sys, threading
place, audit, hold = sys.argv[1], sys.argv[2], float(sys.argv[3])
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
odd, seen, looks, busy = [], [], 0, 0
while not stop.is_set():
    one = sqlite3.connect(place, isolation_level=None, timeout=5)
    try:
        one.execute("BEGIN")
        before = one.execute("SELECT count(*), sum(amount) FROM transfer").fetchone()
        odd += [f"read: {row[0]}" for row in one.execute(audit)]
        stop.wait(hold)
        if one.execute("SELECT count(*), sum(amount) FROM transfer").fetchone() != before:
            odd.append("a snapshot has changed")
        sql = one.execute("SELECT sql FROM sqlite_schema WHERE name = 'transfer'").fetchone()[0]
        seen += [] if sql in seen else [sql]
        one.execute("COMMIT")
        looks += 1
        if looks == 1:
            print("going", flush=True)
    except sqlite3.Error as error:
        busy += 1
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            odd.append(f"{getattr(error, 'sqlite_errorname', '')}: {error}")
            stop.set()
    finally:
        one.close()
    stop.wait(0.02)
print(json.dumps({"looks": looks, "busy": busy, "odd": odd, "seen": seen}), flush=True)
"""


def make_bank(database: Path, journal: str, filler: int = 0) -> None:
    """A bank in which nothing has happened yet, with so many rows of a table that nobody uses (half a kilobyte each)."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.executescript(BANK + "CREATE TABLE filler (id INTEGER PRIMARY KEY, text TEXT);")
        connection.execute("BEGIN")
        rows = [(n, EACH) for n in range(1, ACCOUNTS + 1)]
        connection.executemany("INSERT INTO account VALUES (?, ?, 0)", rows)
        connection.executemany("INSERT INTO filler (text) VALUES (?)", [("x" * 500,)] * filler)
        connection.execute("COMMIT")


def audited(database: Path, *, immutable: bool = False) -> list[str]:
    """What is wrong with a bank: its pages, its foreign keys, its sums."""
    # Who was killed in a transaction leaves a journal that only a connection that may write can roll back.
    mode = "mode=ro&immutable=1" if immutable else "mode=rw"
    with closing(sqlite3.connect(f"file:{database}?{mode}", uri=True, timeout=PATIENCE)) as connection:
        connection.execute("BEGIN")
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        found += [f"foreign key: {row}" for row in connection.execute("PRAGMA foreign_key_check")]
        return found + [row[0] for row in connection.execute(AUDIT)]


def transfers(database: Path) -> list[tuple[Any, ...]]:
    """Every transfer in the order of the commits, without what a migration may convert."""
    with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=PATIENCE)) as connection:
        sql = "SELECT id, writer, number, giver, taker, amount, token FROM transfer ORDER BY id"
        return connection.execute(sql).fetchall()


@dataclass
class Service:
    """A process that writes or reads; `told` is what it had lived through when it ended."""

    process: subprocess.Popen[str]
    told: Document = field(default_factory=dict)

    def stop(self) -> None:
        """Ends it, and keeps what it tells."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        line = self.process.stdout.read()
        assert self.process.wait(PATIENCE) == 0
        self.told = json.loads(line)


@dataclass
class Crowd:
    """Writers, by their number (the first is 1), and readers."""

    writers: dict[int, Service] = field(default_factory=dict)
    readers: list[Service] = field(default_factory=list)
    phases: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is done meanwhile has a name, for the figures."""
        began = time.monotonic()
        yield
        self.phases.append((name, began, time.monotonic()))

    def odd(self) -> list[str]:
        """What none of them should ever have met with."""
        return [text for one in (*self.writers.values(), *self.readers) for text in one.told["odd"]]

    def acknowledged(self, until: float | None = None) -> set[str]:
        """The tokens of all that was committed, as its writer knows, by then."""
        return {
            f"{number}:{n}"
            for number, one in self.writers.items()
            for n in range(len(one.told["ended"]) if until is None else bisect_left(one.told["ended"], until))
        }

    def begun(self, until: float) -> set[str]:
        """The tokens of all that a writer had begun by then."""
        return {
            f"{number}:{n}"
            for number, one in self.writers.items()
            for n in range(bisect_right(one.told["begun"], until))
        }

    def waits(self) -> dict[str, list[float]]:
        """How long each transaction took from its first try to its end, in seconds, by what was done meanwhile.

        One that reached into a phase counts there, else as `quiet`.
        """
        found: dict[str, list[float]] = {}
        for one in self.writers.values():
            for begun, ended in zip(one.told["begun"], one.told["ended"], strict=False):
                names = {name for name, since, until in self.phases if begun < until and ended > since}
                for name in names or {"quiet"}:
                    found.setdefault(name, []).append(ended - begun)
        return found


@contextmanager
def at_work(
    database: Path, writers: Sequence[tuple[str, str]], readers: int = 1, pause: float = 0.004
) -> Iterator[Crowd]:
    """A crowd that is at work when the block begins, and has told all when it is left.

    `writers`: how each begins a transaction, and whether its connection `stays` or `goes`.
    """
    crowd = Crowd()
    for number, (how, stays) in enumerate(writers, 1):
        crowd.writers[number] = _begun(WRITER, database, str(number), how, stays, str(pause))
    crowd.readers = [_begun(READER, database, AUDIT, str(0.05 * (n + 1))) for n in range(readers)]
    everyone = [*crowd.writers.values(), *crowd.readers]
    try:
        for one in everyone:
            assert one.process.stdout is not None
            assert one.process.stdout.readline() == "going\n"
        yield crowd
        for one in everyone:
            one.stop()
    finally:
        for one in everyone:
            with one.process as process:
                if process.poll() is None:
                    process.kill()


def _begun(code: str, database: Path, *words: str) -> Service:
    command = [sys.executable, "-c", code, str(database), *words]
    return Service(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    )


def figures(waits: dict[str, list[float]]) -> list[str]:
    """p50, p99 and the longest wait of each phase, in milliseconds."""
    lines = []
    for name, seconds in sorted(waits.items()):
        ordered = sorted(seconds)
        p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000 for part in (0.5, 0.99))
        lines.append(
            f"{name}: {len(ordered)} transactions, p50 {p50:.1f} ms, p99 {p99:.0f} ms, most {ordered[-1] * 1000:.0f} ms"
        )
    return lines


def noted(lines: Sequence[str]) -> None:
    """Shown by `pytest -rP`, and by `-s`."""
    print("", *lines, sep="\n  ")  # noqa: T201 - how many tries there were is counted from it
