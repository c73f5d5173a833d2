"""The shipped config.toml, the list of settings and the documentation say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import tomli

from driftd.config import Request, load, shipped_text
from driftd.config.model import DAEMON, TARGET, daemon_environment, target_environment

ROOT = Path(__file__).parents[2]
REQUIRED = {"url", "models"}


def flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    """A nested table as dotted keys; empty tables stay."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def test_the_shipped_file_holds_every_setting_with_its_default() -> None:
    """No key is missing, none is too many, and each stands with the default that the code has."""
    document = tomli.loads(shipped_text("config.toml"))
    assert set(document) == {"daemon", "targets"}
    assert flat(document["daemon"]) == {one.name: one.default for one in DAEMON}
    target = flat(document["targets"]["orchestrator"])
    assert set(target) == {one.name for one in TARGET}
    for one in TARGET:
        if one.name not in REQUIRED:
            assert target[one.name] == one.default, one.name


def test_every_key_of_the_shipped_file_is_commented() -> None:
    """Whoever edits the file reads what a key means beside it, above it, or in its very name."""
    plain = {"directory", "before_every_migration", "socket", "url"}
    for line in shipped_text("config.toml").splitlines():
        if match := re.match(r"(\w+) = ", line):
            assert "#" in line or match[1] in plain, line


def test_the_shipped_file_describes_the_orchestrator(tmp_path: Path) -> None:
    """Its database follows the variables that the orchestrator itself reads; without them it lies in the working directory."""
    configuration = load(Request(environment={}, directory=tmp_path))
    name, section = configuration.target()
    assert (name, configuration.source.how) == ("orchestrator", "shipped")
    assert section.get("url") == f"sqlite:///{tmp_path}/.task_orchestrator/task_orchestrator.db"
    assert section.get("backup.directory") == str(tmp_path / "backups/migrations")
    based = {"MCP_TASK_ORCHESTRATOR_BASE_DIR": "/srv/mto"}
    section = load(Request(environment=based, directory=tmp_path)).target()[1]
    assert section.get("url") == "sqlite:////srv/mto/.task_orchestrator/task_orchestrator.db"
    named = {**based, "MCP_TASK_ORCHESTRATOR_DB_PATH": "/var/lib/t.db"}
    section = load(Request(environment=named, directory=tmp_path)).target()[1]
    assert section.get("url") == "sqlite:////var/lib/t.db"


def test_every_setting_is_documented() -> None:
    """docs/configuration.md has a row for each setting, with its default and its environment name."""
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for one in DAEMON:
        assert f"| `daemon.{one.name}` | `{_written(one.default)}` | `{daemon_environment(one)}` |" in text
    for one in TARGET:
        default = "required" if one.name in REQUIRED else f"`{_written(one.default)}`"
        assert f"| `{one.name}` | {default} | `{target_environment(one, None)}` |" in text


def _written(default: object) -> str:
    return json.dumps(default)
