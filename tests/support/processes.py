"""Real processes in tests: several driftd at once, and services that write meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.migrations import House

CONFIG = """
[targets.app]
url = "sqlite:///app.db"
models = ["models.sql"]
[targets.app.window]
timeout = {}
[targets.app.backup]
directory = "backups"
"""
PATIENCE = 30.0  # seconds until something that must happen counts as not happening


def start_apply(house: House, *options: str, timeout: float = 15) -> subprocess.Popen[str]:
    """`driftd apply --json`, running; `timeout` (seconds) is how long it waits for locks."""
    (house.folder / "driftd.toml").write_text(CONFIG.format(timeout), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "driftd", "apply", "--config", "driftd.toml", "--target", "app", "--json", *options],
        cwd=house.folder,
        env={**os.environ, "HOME": str(house.folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Its exit code and its document."""
    out, err = process.communicate(timeout=60)
    assert out, err
    return process.returncode, json.loads(out)


# Writes a row a transaction, one after another, until it is told to stop; prints how many were committed.
WRITER = """
import sqlite3, sys, threading, time
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
done = 0
while not stop.is_set():
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO log (n) VALUES (?)", (done,))
    connection.execute("COMMIT")
    done += 1
    time.sleep(0.001)  # a service does something else too
    if done == 20:
        print("going", flush=True)
print(done, flush=True)
connection.close()
"""

# Holds a lock (the statements of argv[2:]) until it is told to stop.
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchone()
print("held", flush=True)
sys.stdin.read()
connection.close()
"""


@contextmanager
def beside(code: str, database: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process beside driftd; when the block begins it has said its first word. It stops with its stdin."""
    command = [sys.executable, "-c", code, str(database), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            if not process.stdin.closed:
                process.stdin.close()


def last_word(process: subprocess.Popen[str]) -> str:
    """Tells a process beside to stop, and reads what it says then."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    return process.stdout.read().strip()


def is_gone(pid: int) -> bool:
    """True as soon as that process has ended."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)  # nothing announces the end of a process that is not our child
    return False
