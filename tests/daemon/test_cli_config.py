"""`driftd config show`: what is in force, and who said so."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import tomli

from command_line import driftd
from driftd.config import shipped_text

if TYPE_CHECKING:
    from pathlib import Path

FILE = """\
[targets.web]
url = "sqlite:///web.db"
models = ["m:Base"]
window.timeout = "500ms"
[targets.web.backfill]
"task.state" = "'open'"
[targets.jobs]
url = "jobs.db"
models = ["m:Base"]
"""


def test_origins_are_told(tmp_path: Path) -> None:
    """Each line ends with a line of the file, a variable, a flag, or `default`; the file comes first."""
    (tmp_path / "driftd.toml").write_text(FILE)
    done = driftd(
        "config",
        "show",
        "--origin",
        "--target",
        "web",
        "--models",
        "n:Base",
        folder=tmp_path,
        DRIFTD_MODE="dev",
    )
    assert (done.code, done.err) == (0, "")
    lines = {line.partition(" = ")[0]: line.split("  # ") for line in done.out.splitlines()}
    assert done.out.splitlines()[0] == f"# {tmp_path}/driftd.toml (found there)"
    assert lines["targets.web.url"][0].strip() == f'targets.web.url = "sqlite:///{tmp_path}/web.db"'
    assert lines["targets.web.url"][1] == "line 2"
    assert lines["targets.web.window.timeout"][0].strip() == 'targets.web.window.timeout = "500ms"'
    assert lines["targets.web.window.timeout"][1] == "line 4"
    assert lines['targets.web.backfill."task.state"'][1] == "line 6"
    assert lines["targets.web.mode"][1] == "DRIFTD_MODE"
    assert lines["targets.web.models"][1] == "--models"
    assert lines["targets.web.python"][0].strip() == f'targets.web.python = "{sys.executable}"'
    assert lines["daemon.log"][1] == "default"
    assert not any(name.startswith("targets.jobs") for name in lines)


def test_what_is_shown_is_toml(tmp_path: Path) -> None:
    """Without origins the output can be read as a configuration file again."""
    (tmp_path / "driftd.toml").write_text(FILE)
    done = driftd("config", "show", folder=tmp_path)
    shown = tomli.loads(done.out)
    assert shown["targets"]["web"]["backfill"] == {"task.state": "'open'"}
    (tmp_path / "driftd.toml").write_text(done.out)
    assert driftd("config", "show", folder=tmp_path).out == done.out


def test_json_holds_values_and_places(tmp_path: Path) -> None:
    """Programs get numbers for durations and the whole place of each setting."""
    (tmp_path / "driftd.toml").write_text(FILE)
    document = driftd("config", "show", "--json", folder=tmp_path, DRIFTD_MOED="x").document
    assert document["source"] == {"path": f"{tmp_path}/driftd.toml", "how": "found"}
    assert (document["selected"], document["unread"]) == (None, ["DRIFTD_MOED"])
    settings = {one["key"]: one for one in document["settings"]}
    assert settings["targets.web.window.timeout"] == {
        "key": "targets.web.window.timeout",
        "value": 0.5,
        "text": '"500ms"',
        "origin": "file",
        "place": f"{tmp_path}/driftd.toml:4",
    }


def test_the_shipped_file_can_be_taken_as_a_start(tmp_path: Path) -> None:
    """`--shipped` prints it to the letter."""
    assert driftd("config", "show", "--shipped", folder=tmp_path).out == shipped_text("config.toml")


def test_a_path_through_a_link_is_left_as_it_is(tmp_path: Path) -> None:
    """Behind a link `..` is another folder: the file that is read is the one that the path names."""
    (tmp_path / "there" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "there" / "deep")
    (tmp_path / "there" / "x.toml").write_text(FILE)
    named = driftd("config", "show", "--config", "link/../x.toml", folder=tmp_path)
    assert named.out.startswith(f"# {tmp_path}/link/../x.toml (named by --config)")


def test_sources_are_named(tmp_path: Path) -> None:
    """The first line says why this file was read, or that none was."""
    assert "shipped with driftd" in driftd("config", "show", folder=tmp_path).out.splitlines()[0]
    (tmp_path / "x.toml").write_text(FILE)
    named = driftd("config", "show", "--config", "x.toml", folder=tmp_path)
    assert named.out.startswith(f"# {tmp_path}/x.toml (named by --config)")
    (tmp_path / "data").mkdir()
    above = driftd("config", "show", "--config", "../x.toml", folder=tmp_path / "data")
    assert above.out.splitlines()[:8] == named.out.splitlines()[:8]
    assert (f'"sqlite:///{tmp_path}/web.db"' in above.out, ".." in above.out) == (True, False)
    bare = driftd("config", "show", "--url", "sqlite:///a.db", folder=tmp_path)
    assert bare.out.startswith("# no file was read")
    assert f'targets.a.url = "sqlite:///{tmp_path}/a.db"' in bare.out
