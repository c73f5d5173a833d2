"""Models that attack while they are imported: what the unit leaves them, and that driftd works with no more than that.

systemd itself is not asked here, but for the folders that the rendered unit lets be written: see tests/support/sandbox.py.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from command_line import driftd
from driftd.config import Request
from driftd.service.described import describe
from support.hostile import NAMES, on_a_terminal, raw, raw_on_terminal
from support.sandbox import shut_in
from support.sidecars import Sidecar, columns, make, running
from support.sockets import socket_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("sqlalchemy")
CONFIGURATION = """\
[daemon]
socket = "run/d.sock"
[targets.app]
url = "sqlite:///data/app.db"
models = ["models:Base"]
[targets.app.backup]
directory = "backups"
"""
MODELS = """
import json, os, socket, subprocess, sys
from pathlib import Path
from sqlalchemy import Column, Integer, String
from sqlalchemy.orm import declarative_base

home = Path(__file__).parent
told = {}

def attempt(name, what):
    try:
        what()
        told[name] = "done"
    except Exception as error:
        told[name] = type(error).__name__

def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(2)
        one.connect(address)

attempt("configuration", lambda: (home / "driftd.toml").open("a").close())
attempt("own source", lambda: (home / "models.py").open("a").close())
attempt("beside", lambda: (home / "left-behind").write_text(""))
attempt("home", lambda: (Path.home() / "left-behind").write_text(""))
if "FREE" in os.environ:  # nothing outside the test's folder is tried where it could succeed
    attempt = lambda name, what: None
attempt("temporary", lambda: Path("/var/tmp/driftd-left-behind").write_text(""))
attempt("interpreter", lambda: (Path(sys.prefix) / "left-behind").write_text(""))
attempt("by a program", lambda: subprocess.run(["touch", str(home / "left-behind")], check=True, capture_output=True))
attempt("remount", lambda: subprocess.run(["mount", "-o", "remount,rw", "/"], check=True, capture_output=True))
attempt("file's mode", lambda: (home / "models.py").chmod(0o777))
attempt("another user's", lambda: os.chown(home / "data" / "app.db", 65534, 65534))
attempt("internet", lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9)))
attempt("internet 6", lambda: connect(socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 9)))
attempt("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close())
attempt("another user", lambda: os.setuid(65534))
attempt("the database's folder", lambda: (home / "data" / "attempts.json").write_text(""))
(home / "data" / "attempts.json").write_text(json.dumps(told))

Base = declarative_base()

class Task(Base):
    __tablename__ = "task"
    id = Column(Integer, primary_key=True)
    title = Column(String)
    MORE
"""
ALLOWED = {"the database's folder"}


@pytest.fixture
def project() -> Iterator[Path]:
    """Models that attack, a database with a row in a folder of its own, and a folder for the socket and for HOME."""
    with socket_folder() as folder:
        for name in ("data", "backups", "run", "home", "cache", "state"):
            (folder / name).mkdir()
        (folder / "driftd.toml").write_text(CONFIGURATION)
        (folder / "models.py").write_text(MODELS.replace("MORE", "state = Column(String)"))
        make(folder / "data" / "app.db", "CREATE TABLE task (id INTEGER NOT NULL PRIMARY KEY, title VARCHAR)")
        yield folder


def sidecar_of(folder: Path, *python: str, **environment: str) -> Sidecar:
    """Its daemon."""
    environment |= {
        "HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache"), "STATE_DIRECTORY": str(folder / "state"),
    }  # fmt: skip
    (folder / "run" / "driftd.log").touch()
    return Sidecar(
        folder / "run",
        configured=("--config", str(folder / "driftd.toml")),
        environment=environment,
        python=(*python, sys.executable),
    )


def test_the_daemon_works_and_models_are_contained_where_the_unit_lets_nothing_else_be_written(
    project: Path, record_property: Callable[[str, object], None]
) -> None:
    """Staging, a service's start and a rollback under it; what models try elsewhere, or over a network, is refused."""
    described = describe(
        Request(environment={"HOME": str(project)}, directory=project),
        name="driftd",
        scope="system",
        platform="linux",
    )
    data, backups, run = str(project / "data"), str(project / "backups"), str(project / "run")
    assert set(described.writable) == {data, backups, run}
    # RuntimeDirectory, StateDirectory and CacheDirectory are the unit's own.
    own = [str(project / name) for name in ("cache", "state")]
    with running(sidecar_of(project, *shut_in([*described.writable, *own]))) as sidecar:
        sidecar.state("ready")
        told = json.loads((project / "data" / "attempts.json").read_text())
        assert {name for name, how in told.items() if how == "done"} == ALLOWED, told
        assert len(told) == 15
        done = driftd("exec", "--config", "driftd.toml", "--", "true", folder=project)
        assert (done.code, columns(project / "data" / "app.db")) == (0, ["id", "title", "state"]), done.err
        sidecar.state("in_sync")
        assert sidecar.result("rollback")["outcome"] == "migrated"
        assert columns(project / "data" / "app.db") == ["id", "title"]
        assert sidecar.stop() == 0
    record_property("tries", len(told))


def test_without_it_they_are_not(project: Path) -> None:
    """The refusals above are the sandbox's: as the same user, free, the same models write where they like."""
    with running(sidecar_of(project, FREE="1")) as sidecar:
        sidecar.state("ready")
        told = json.loads((project / "data" / "attempts.json").read_text())
    for left in (project / "left-behind", project / "home" / "left-behind"):
        assert left.exists()
    assert told == dict.fromkeys(("configuration", "own source", "beside", "home"), "done")


# --- what they say


RAISING = """
class Bad(Exception):
    def __str__(self):
        return {text!r}
print({text!r})
raise Bad()
"""


@pytest.mark.parametrize("name", ["newline", "colour", "clipboard", "c1 controls", "right to left", "markup"])
def test_what_models_raise_and_print_is_not_rendered_raw(tmp_path: Path, name: str) -> None:
    """The message of an exception, on a terminal and in JSON; what was printed is no output of driftd's."""
    text = NAMES[name]
    (tmp_path / "bad.py").write_text(RAISING.format(text=text))
    words = ("check", "--url", "sqlite:///app.db", "--models", "bad:Base", "--python", sys.executable)
    shown = on_a_terminal(*words, folder=tmp_path)
    assert (shown.code, raw_on_terminal(shown.text)) == (2, set())
    assert not any(line.startswith("error[forged]") for line in shown.text.splitlines())
    done = driftd(*words, "--json", folder=tmp_path)
    assert (done.code, raw(done.out + done.err)) == (2, set())
    error: dict[str, Any] = done.document["error"]
    assert text in error["why"]
