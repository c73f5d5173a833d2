"""Templates: when one is dropped, what happens when it fails, and that nothing of it ever stays."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from driftd import template, templates
from driftd.templates import POSSIBLE, Templates
from driftengine import probe_process
from driftengine.desired import ModelSource
from driftengine.errors import ModelsError
from driftengine.loaded import LoadedModels
from probe_project import BASE
from support.crash_points import ALL
from support.warm import Warm, one_environment, request_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(not POSSIBLE, reason="templates are for Linux alone"),
    pytest.mark.timeout(300),
]

HANGS = """
import os, subprocess, time
child = subprocess.Popen(["sleep", "600"])
with open("pids.new", "w") as file:
    file.write(f"{os.getppid()} {os.getpid()} {child.pid}")
os.rename("pids.new", "pids")
time.sleep(600)
"""
# As long as an answer of the template's takes at most here: it is made to wait for one that never comes.
IMPATIENT = 0.5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Models that load, old enough to be trusted."""
    path = tmp_path / "app"
    path.mkdir()
    (path / "models.py").write_text(BASE, encoding="utf-8")
    return path


@pytest.fixture
def warm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warm]:
    """No template yet; afterwards there is none either."""
    # What is installed is years old, or was written a moment ago by a test that knows it.
    monkeypatch.setattr(template, "RECENT", template.RECENT // 40)
    warm = Warm()
    warm.settled(folder)
    try:
        yield warm
    finally:
        pids = [one["pid"] for one in warm.templates.documents()]
        warm.templates.close()
        assert not any(map(psutil.pid_exists, pids))


def gone(pid: int) -> bool:
    """True when the process is gone, or dead and only not yet reaped by whoever inherited it; waits for that."""
    try:
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            process.wait(timeout=30)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        return False
    return True


def loads(warm: Warm, folder: Path, python: str = sys.executable) -> int | None:
    """Loads the models; the pid of the template, None where none has served: then it is what a probe of its own gives."""
    request = request_for(folder, "models:Base")
    told, served = warm.served(python, request)
    assert served or told == warm.own(python, request)
    documents = warm.templates.documents()
    return documents[-1]["pid"] if served and documents else None


def pids_of(path: Path) -> list[int]:
    """What the hanging models have written, as soon as they have."""
    give_up = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < give_up
        time.sleep(0.01)  # nothing announces the file
    return [int(pid) for pid in path.read_text().split()]


def environment_of(folder: Path) -> tuple[str, Path]:
    """A virtual environment that takes what is installed in ours; its interpreter, and where its own packages lie."""
    home = folder / "venv"
    packages = home / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    packages.mkdir(parents=True)
    (home / "bin").mkdir()
    python = home / "bin" / "python"
    python.symlink_to(Path(sys.executable).resolve())
    (home / "pyvenv.cfg").write_text(f"home = {python.resolve().parent}\n", encoding="utf-8")
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return str(python), packages


def test_a_template_lives_until_something_else_would_be_imported(
    warm: Warm, folder: Path, tmp_path: Path
) -> None:
    """Saves leave it alone; a package installed, another interpreter or a module that shadows a library's end it."""
    python, packages = environment_of(tmp_path)
    warm.settled(tmp_path)
    first = loads(warm, folder, python)
    assert first
    (folder / "models.py").write_text(BASE.replace("task", "other"), encoding="utf-8")
    warm.settled(folder)
    assert loads(warm, folder, python) == first
    (packages / "new-1.0.dist-info").mkdir()
    warm.settled(tmp_path)
    second = loads(warm, folder, python)
    assert second not in {None, first}
    (tmp_path / "venv" / "pyvenv.cfg").write_text(
        f"home = {Path(sys.executable).resolve().parent}\nprompt = another\n", encoding="utf-8"
    )
    warm.settled(tmp_path)
    third = loads(warm, folder, python)
    assert third not in {None, first, second}
    assert not any(psutil.pid_exists(pid) for pid in (first, second) if pid)
    # SQLAlchemy imports it: found in the project now, and so the project's file.
    (folder / "hmac.py").write_text("from sqlalchemy import not_there\n", encoding="utf-8")
    (folder / "uuid.py").write_text("raise LookupError('the one of the project')\n", encoding="utf-8")
    warm.settled(folder)
    assert loads(warm, folder, python) is None
    assert warm.templates.documents() == []


ODD = {
    "thread": ("import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()", "threads"),
    "file": ("import os\nos.open('/dev/null', os.O_RDONLY)", "files open"),
    "prints": ("print('hello')", "prints"),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD if ALL else ["thread"])
def test_an_interpreter_that_does_more_than_import_gets_no_template(
    warm: Warm, folder: Path, tmp_path: Path, name: str
) -> None:
    """Threads, open files and output of a sitecustomize cannot be shared by forks; behind three attempts none is tried."""
    python, packages = environment_of(tmp_path)
    (packages / "sitecustomize.py").write_text(ODD[name][0], encoding="utf-8")
    warm.settled(tmp_path)
    assert loads(warm, folder, python) is None
    assert ODD[name][1] in warm.given_up[0]
    assert warm.templates.documents() == []
    if ALL:
        for _ in range(templates.ATTEMPTS):
            warm.served(python, request_for(folder, "models:Base"))
        assert len(warm.given_up) == templates.ATTEMPTS


def test_a_library_that_is_edited_in_place_ends_it(warm: Warm, folder: Path, tmp_path: Path) -> None:
    """Nothing was installed, yet the file that the template has imported is another one now."""
    python, packages = environment_of(tmp_path)
    (packages / "sitecustomize.py").write_text("", encoding="utf-8")
    warm.settled(tmp_path)
    first = loads(warm, folder, python)
    assert first
    (packages / "sitecustomize.py").write_text("import os\nos.environ['X'] = 'y'\n", encoding="utf-8")
    warm.settled(tmp_path)
    assert loads(warm, folder, python) is None
    assert "sitecustomize.py has changed" in warm.given_up[0]
    assert loads(warm, folder, python) not in {None, first}


def test_a_template_that_was_killed_is_missed_by_nobody(
    warm: Warm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two probes, another one begins; killed or stopped during one, a probe of its own answers."""
    first = loads(warm, folder)
    assert first
    os.kill(first, signal.SIGKILL)
    assert gone(first)
    second = loads(warm, folder)
    assert second not in {None, first}
    text = BASE + HANGS.replace(
        "time.sleep(600)", "time.sleep(600 if os.getppid() in map(int, open('slow')) else 0)"
    )
    (folder / "slow").write_text(f"{second}\n")
    (folder / "models.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(template, "ANSWERS", IMPATIENT)
    killer = threading.Thread(
        target=lambda: os.kill(pids_of(folder / "pids")[0], signal.SIGKILL), daemon=True
    )
    killer.start()
    told, served = warm.served(sys.executable, request_for(folder, "models:Base"))
    killer.join()
    assert '"status": "ok"' in told
    assert not served
    _, child, grandchild = pids_of(folder / "pids")
    assert gone(child)
    assert gone(grandchild)
    (folder / "models.py").write_text(BASE, encoding="utf-8")
    warm.settled(folder)
    third = loads(warm, folder)
    assert third not in {None, second}
    os.kill(third or 0, signal.SIGSTOP)
    assert loads(warm, folder) is None
    assert gone(third or 0)


def test_giving_up_ends_the_child_and_keeps_the_template(warm: Warm, folder: Path) -> None:
    """Once nobody wants the answer any more, the child is gone with all that it started; the next probe is served."""
    first = loads(warm, folder)
    before = sorted(Path("/proc/self/fd").iterdir())
    (folder / "models.py").write_text(BASE + HANGS, encoding="utf-8")
    with pytest.raises(ModelsError) as caught, one_environment():
        warm.templates.ask(
            sys.executable, request_for(folder, "models:Base"), cancelled=(folder / "pids").exists
        )
    assert caught.value.code == "models-cancelled"
    assert all(map(gone, pids_of(folder / "pids")[1:]))
    assert pids_of(folder / "pids")[0] == first
    (folder / "models.py").write_text(BASE, encoding="utf-8")
    assert loads(warm, folder) == first
    assert len(sorted(Path("/proc/self/fd").iterdir())) == len(before)


def test_giving_up_while_a_template_begins(warm: Warm, folder: Path) -> None:
    """It is told as ever, and no process stays."""
    with pytest.raises(ModelsError) as caught:
        warm.templates.ask(sys.executable, request_for(folder, "models:Base"), cancelled=lambda: True)
    assert caught.value.code == "models-cancelled"
    assert warm.templates.documents() == []
    assert psutil.Process().children() == []


def test_whoever_comes_second_does_not_wait(warm: Warm, folder: Path) -> None:
    """While a template serves one, another one gets a probe of its own; closing ends what is in use."""
    (folder / "quick.py").write_text(BASE, encoding="utf-8")
    warm.settled(folder)
    first = loads(warm, folder)
    (folder / "models.py").write_text(BASE + HANGS, encoding="utf-8")
    found: list[str] = []
    request = request_for(folder, "models:Base", timeout=600)
    with one_environment():
        waiting = threading.Thread(
            target=lambda: found.append(warm.served(sys.executable, request)[0]), daemon=True
        )
        waiting.start()
        child = pids_of(folder / "pids")[1]
        assert '"status": "ok"' in warm.served(sys.executable, request_for(folder, "quick:Base"))[0]
        assert [one["pid"] for one in warm.templates.documents()] == [first]
        (folder / "models.py").write_text(BASE, encoding="utf-8")
        warm.templates.close()
        waiting.join()
    assert '"status": "ok"' in found[0]
    assert gone(child)
    assert gone(first or 0)


def test_templates_are_few_and_end_when_nobody_needs_them(
    warm: Warm, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has waited longest goes for a new one; behind a while without a save, or at a reload, all go."""
    monkeypatch.setattr(templates, "LIMIT", 1)
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    warm.settled(tmp_path)
    first, second = loads(warm, folder), loads(warm, other)
    assert [one["pid"] for one in warm.templates.documents()] == [second]
    assert first
    assert gone(first)
    warm.templates.tidy()
    assert [one["pid"] for one in warm.templates.documents()] == [second]
    monkeypatch.setattr(templates, "IDLE", -1.0)
    warm.templates.tidy()
    assert warm.templates.documents() == []
    assert gone(second or 0)
    monkeypatch.undo()
    monkeypatch.setattr(template, "RECENT", 0)
    third = loads(warm, other)
    warm.templates.enable(enabled=True)
    assert third
    assert gone(third)
    warm.templates.enable(enabled=False)
    loads(warm, other)
    assert warm.templates.documents() == []


PROGRAM = """
import json, sys
from driftd.templates import Templates
Templates(told=print).ask(sys.executable, json.loads(sys.argv[1]))
"""


def test_nothing_outlives_a_daemon_that_was_killed(folder: Path) -> None:
    """SIGKILL while models load: the template sees its end, and takes the child and all that it started along."""
    (folder / "models.py").write_text(BASE + HANGS, encoding="utf-8")
    Warm().settled(folder)
    request = json.dumps(request_for(folder, "models:Base"))
    with subprocess.Popen([sys.executable, "-c", PROGRAM, request]) as process:
        found = pids_of(folder / "pids")
        assert psutil.Process(found[0]).ppid() == process.pid
        process.kill()
    assert all(map(gone, found))


def test_the_first_load_and_fresh_ones_need_no_template(folder: Path) -> None:
    """Who only waits pays for none; from the first save on there is one, told what the models used."""
    asked: list[set[str]] = []

    def warm(
        python: str, request: dict[str, object], *, uses: dict[str, str], **_: object
    ) -> dict[str, object]:
        asked.append(set(uses))
        return probe_process.ask(python, request)

    source = ModelSource(("models:Base",), sys.executable, (), str(folder))
    models = LoadedModels(source, None, own=lambda: ("", None), warm=warm)
    models.load(fresh=False, cancelled=None)
    models.load(fresh=True, cancelled=None)
    assert asked == []
    models.load(fresh=False, cancelled=None)
    assert asked == [{"python", "sqlalchemy", "sqlite"}]


def test_it_is_for_linux_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere a probe of its own is asked each time."""
    monkeypatch.setattr(templates, "POSSIBLE", False)
    made = Templates()
    assert made.ask(sys.executable, request_for(folder, "models:Base"))["status"] == "ok"
    assert made.documents() == []
