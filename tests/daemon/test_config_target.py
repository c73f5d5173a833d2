"""From a configured target to the engine's."""

from __future__ import annotations

from pathlib import Path

from driftd.config import Request, load
from driftd.config.target import build_target
from driftengine.api import BackupSettings

FILE = """\
[targets.web]
url = "sqlite:///web.db"
models = ["web.models:Base"]
python = "/usr/bin/python3"
pythonpath = ["src"]
mode = "dev"
probe_timeout = "2m"
ignore = ["tmp_*"]
window.timeout = 3
[targets.web.backup]
directory = "bak"
before_every_migration = false
reuse_max_age = "10m"
keep = 5
keep_for = "7d"
max_total_size = "1GB"
[targets.web.backfill]
"task.state" = "'open'"
[targets.web.policy]
drop-table = "allow"
[targets.jobs]
url = "jobs.db"
models = ["jobs:Base"]
"""


def test_every_setting_reaches_the_engine(tmp_path: Path) -> None:
    """No key of a target is read and then forgotten."""
    (tmp_path / "driftd.toml").write_text(FILE)
    target = build_target(load(Request(environment={}, directory=tmp_path, target="web")))
    assert (target.name, target.url, target.mode) == ("web", f"sqlite:///{tmp_path}/web.db", "dev")
    assert target.models.specs == ("web.models:Base",)
    assert (target.models.python, target.models.pythonpath) == ("/usr/bin/python3", (str(tmp_path / "src"),))
    assert (target.models.directory, target.models.timeout) == (str(tmp_path), 120.0)
    assert (target.ignore, target.window_timeout) == (("tmp_*",), 3.0)
    assert target.backup == BackupSettings(
        directory=tmp_path / "bak",
        before_every_migration=False,
        reuse_max_age=600.0,
        keep=5,
        keep_for=7 * 86400.0,
        max_total_size=10**9,
    )
    assert dict(target.backfill) == {"task.state": "'open'"}
    assert dict(target.policy) == {"drop-table": "allow"}


def test_the_defaults_are_the_engines(tmp_path: Path) -> None:
    """What nobody configures is the same whether a target comes from a file or from code."""
    (tmp_path / "driftd.toml").write_text(FILE)
    target = build_target(load(Request(environment={}, directory=tmp_path)), "jobs")
    assert target.backup == BackupSettings(directory=tmp_path / "backups/migrations")
    assert (target.mode, target.window_timeout, target.ignore, dict(target.policy)) == (
        "window",
        15.0,
        (),
        {},
    )


def test_a_target_without_a_file_runs_where_the_command_does(tmp_path: Path) -> None:
    """With --url alone the models are imported in the working directory."""
    request = Request(environment={}, directory=tmp_path, flags={"url": "a.db", "models": ("m:Base",)})
    target = build_target(load(request))
    assert (target.name, Path(target.models.directory)) == ("a", tmp_path)
