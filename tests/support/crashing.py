"""A real `driftd apply` process whose every step is told, and which dies by kill -9 or fails at a chosen one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from support.migrations import House

# Runs in the process: what it does to files and to databases passes through `tick`, in order.
DRIVER = """
import os, pathlib, shutil, signal, sqlite3, sys, tempfile
log, at = open(sys.argv[1], "a"), int(sys.argv[2])
count = 0

def tick(label):
    global count
    count += 1
    print(label, file=log, flush=True)
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)

def role(place):
    text = str(place)
    for name in ("rehearsal.db", "lock.db", ".partial", "backup_", "app.db"):
        if name in text:
            return name.strip("._")
    return ""

def ticking(owner, name):
    real = getattr(owner, name)
    def call(*arguments, **named):
        tick(f"{name} {role(arguments[0]) if arguments else ''}")
        return real(*arguments, **named)
    setattr(owner, name, call)

class Told(sqlite3.Connection):
    def __init__(self, place, *arguments, **named):
        self.role = role(place)
        super().__init__(place, *arguments, **named)

    def execute(self, sql, *arguments):
        if not self.role or sql.lstrip().startswith(("PRAGMA", "SELECT")):
            return super().execute(sql, *arguments)
        label = f"{self.role}: {' '.join(sql.split()[:3])}"
        tick(label)
        done = super().execute(sql, *arguments)
        if sql == "COMMIT":
            tick(f"{label}, done")
        return done

real_connect = sqlite3.connect
sqlite3.connect = lambda place, *a, **n: real_connect(place, *a, factory=Told, **n)
for owner, names in ((os, ("fsync", "write")), (pathlib.Path, ("rename", "unlink", "mkdir")),
                     (shutil, ("copyfile", "rmtree")), (tempfile, ("mkdtemp",))):
    for name in names:
        ticking(owner, name)
sys.argv = ["driftd", *sys.argv[3:]]
from driftd.__main__ import main
sys.exit(main())
"""

CONFIG = """
[targets.app]
url = "sqlite:///app.db"
models = ["models.sql"]
[targets.app.window]
timeout = {}
[targets.app.backup]
directory = "backups"
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: killed or by itself, and what it had done until then."""

    killed: bool
    steps: tuple[str, ...]
    output: str


def apply_until(house: House, at: int, log: Path) -> Ended:
    """`driftd apply` in a process that is killed right before its step number `at` (0: never)."""
    (house.folder / "driftd.toml").write_text(CONFIG.format(15), encoding="utf-8")
    log.unlink(missing_ok=True)
    command = ["apply", "--config", str(house.folder / "driftd.toml"), "--target", "app", "--json"]
    done = subprocess.run(
        [sys.executable, "-B", "-c", DRIVER, str(log), str(at), *command],
        cwd=house.folder,
        env={**os.environ, "HOME": str(house.folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode in {0, -9}, done.stderr
    return Ended(done.returncode == -9, tuple(log.read_text("utf-8").splitlines()), done.stdout)
