"""People at work in tests: what they type, in processes of their own that may be killed, and what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from driftd.explain import explain

if TYPE_CHECKING:
    from pathlib import Path

# What a program that imports the engine does. argv: the folder, and what is to be done with what.
LIBRARY = """
import json, sys
from pathlib import Path
from driftengine import api, stage
from driftengine.errors import DriftError
from support.migrations import House
bank, what, words = House(Path(sys.argv[1]), settings={"window_timeout": 60.0}), sys.argv[2], sys.argv[3:]
calls = {
    "apply": lambda: bank.apply(),
    "rollback": lambda: api.rollback(bank.target(), allowed_by="a test"),
    "adopt": lambda: api.adopt(bank.target(), allowed_by="a test"),
    "backup create": lambda: api.backup_create(bank.target()),
    "backup prune": lambda: api.backup_prune(bank.target()),
    "backup verify": lambda: api.backup_verify(bank.target()),
    "backup restore": lambda: api.backup_restore(bank.target(), words[0]),
}
try:
    print(json.dumps(calls[what]()))
except DriftError as error:
    print(json.dumps({"outcome": "failed", "error": error.as_document()}))
"""


def typed(folder: Path, door: str, what: str, backup: str) -> subprocess.Popen[str]:
    """One of them begins."""
    words = [backup] if what == "backup restore" else []
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "XDG_", "MCP_"))}
    if door == "command":
        command = ["-m", "driftd", *what.split(), *words, "--json"]
    else:
        command = ["-c", LIBRARY, str(folder), what, *words]
        kept["PYTHONPATH"] = os.pathsep.join([*kept.get("PYTHONPATH", "").split(os.pathsep), *sys.path])
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**kept, "HOME": str(folder), "DRIFTD_CONFIG": "driftd.toml"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def came_to(process: subprocess.Popen[str]) -> str:
    """In a word what came of it; what is refused has to be explained."""
    out, err = process.communicate(timeout=300)
    if process.returncode == -9:
        return "killed"
    assert out, err
    document = json.loads(out)
    error = document.get("error")
    if error is None:
        return str(document.get("outcome", "done"))
    assert all(error[name] for name in ("code", "what", "why", "fix")), error
    assert error["code"] != "internal", error
    assert explain(error["code"]).text
    return str(error["code"])
