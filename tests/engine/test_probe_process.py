"""The probe's process: time limits, chatter, children, stale bytecode, and nothing left behind."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import py_compile
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from driftengine import probe, probe_process
from driftengine.desired import read_desired
from driftengine.errors import ModelsError
from probe_project import BASE, ModelProject, table_names

SLEEPER = (
    "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\nopen('pid', 'w').write(str(child.pid))\n"
)


@pytest.fixture
def project(tmp_path: Path) -> ModelProject:
    """An empty project."""
    return ModelProject(tmp_path)


def ended(pid: int) -> bool:
    """True when the process is gone, or dead and only not yet reaped by whoever inherited it."""
    try:
        process = psutil.Process(pid)
        return process.status() == psutil.STATUS_ZOMBIE or process.wait(timeout=30) is None
    except psutil.NoSuchProcess:
        return True


def open_descriptors() -> set[str]:
    """The descriptors that this process has open."""
    return {path.name for path in Path("/dev/fd" if sys.platform == "darwin" else "/proc/self/fd").iterdir()}


def test_an_import_that_hangs_says_where(project: ModelProject) -> None:
    """At the limit the probe and the children that it started are killed, and the error says where it hung."""
    path = project.models(f"{SLEEPER}import time\n\ntime.sleep(600)\n")
    before = open_descriptors()
    error = project.error("models:Base", timeout=2)
    assert error.code == "models-timeout"
    assert error.what == "the models models:Base were not loaded within 2 s"
    assert error.why == f"the import was still running at {path}:14"
    assert ended(int((project.folder / "pid").read_text()))
    assert open_descriptors() == before


def test_an_import_that_ignores_all_signals_is_killed(project: ModelProject) -> None:
    """A probe that survives SIGABRT, with a child that holds its pipes open, ends all the same."""
    project.models("""
        import faulthandler, os, signal, time
        faulthandler.disable()
        signal.signal(signal.SIGABRT, signal.SIG_IGN)
        if os.fork():
            open("pid", "w").write(str(os.getpid()))
        while True:
            time.sleep(600)
    """)
    error = project.error("models:Base", timeout=5)
    assert error.code == "models-timeout"
    assert ended(int((project.folder / "pid").read_text()))


def test_children_of_models_that_load_are_ended_too(project: ModelProject) -> None:
    """Children, threads and atexit handlers of models that load neither delay the answer nor stay."""
    project.models(f"""{SLEEPER}
import atexit, os, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
atexit.register(time.sleep, 600)
if not os.fork():
    time.sleep(600)
    os._exit(0)
""")
    assert table_names(project.read("models:Base")) == ["task"]
    assert ended(int((project.folder / "pid").read_text()))


def test_a_dead_probe_whose_child_holds_the_pipes(project: ModelProject) -> None:
    """The end of the process is noticed although a forked child keeps both pipes open."""
    project.models("import os, time\nif not os.fork():\n    time.sleep(600)\nos._exit(3)\n")
    error = project.error("models:Base", timeout=60)
    assert error.code == "models-exited"
    assert "exit status 3" in error.why


def test_chatter_is_drained_and_never_mixed_into_the_answer(project: ModelProject) -> None:
    """A hundred megabytes on stdout, from Python, C code and a child, change nothing; models find stdin at its end."""
    project.models("""
        import os, subprocess, sys
        for _ in range(100):
            print("x" * 1_000_000)
        os.write(1, b'{"status": "ok"}' + b"\\n")
        subprocess.run(["echo", "from a child"], check=True)
        assert sys.stdin.read() == ""
    """)
    assert table_names(project.read("models:Base")) == ["task"]


def test_an_error_shows_only_the_tail_of_the_chatter(project: ModelProject) -> None:
    """What a dying import printed last is shown, and no more than a few lines."""
    project.models("""
        import os
        for number in range(100_000):
            os.write(2, b"line %d of a long story\\n" % number)
        os._exit(4)
    """)
    error = project.error("models:Base")
    assert error.why.endswith("| line 99999 of a long story")
    assert len(error.why) < 1000


def test_interrupting_the_caller_leaves_nothing_behind(project: ModelProject) -> None:
    """Ctrl-C while models load: the probe's whole group is killed and no pipe stays open."""
    project.models(
        f"{SLEEPER}import os\nopen('probe-pid', 'w').write(str(os.getpid()))\nimport time\ntime.sleep(600)\n"
    )
    program = (
        "import sys\nfrom driftengine.desired import ModelSource, read_desired\n"
        "try:\n    read_desired(ModelSource(('models:Base',), sys.executable, (), sys.argv[1]))\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", program, str(project.folder)])
    wait_for(project.folder / "probe-pid")
    caller.send_signal(signal.SIGINT)
    assert caller.wait(timeout=60) == 130
    assert ended(int((project.folder / "probe-pid").read_text()))
    assert ended(int((project.folder / "pid").read_text()))


def wait_for(path: Path) -> None:
    """Return when the file has content; the test's own time limit is the deadline."""
    pause = threading.Event()
    while not (path.exists() and path.read_text()):
        pause.wait(0.02)


def test_a_probe_outlives_its_killed_caller_by_its_limit_at_most(project: ModelProject) -> None:
    """When the caller is killed, the kernel's alarm ends the probe; it was set to the limit and ten seconds."""
    project.models("import signal\nleft = signal.alarm(0)\nassert 0 < left <= 40, left\n")
    assert table_names(project.read("models:Base", timeout=30)) == ["task"]


DEAF = """
import os, signal, sys
signal.signal(signal.SIGALRM, signal.SIG_IGN)
os.execv(sys.executable, [sys.executable, "-B", "-c", *sys.argv[1:]])
"""


def test_models_that_lose_the_alarm_do_not_outlive_it(project: ModelProject) -> None:
    """Who takes the one alarm of a process for himself, and hangs, is ended by a clock that he has not got."""
    project.models("import time\ntime.sleep(600)\n")
    request = {"mode": "schema", "specs": ["models:Base"], "directory": str(project.folder), "pythonpath": []}
    answer, theirs = os.pipe()
    ended = subprocess.run(
        [sys.executable, "-c", DEAF, probe_process.BOOT, *map(str, probe_process.PARTS), str(theirs)],
        input=json.dumps({**request, "timeout": -9}).encode() + b"\n",  # so the limit is one second
        pass_fds=(theirs,),
        capture_output=True,
        check=False,
        timeout=60,
    )
    os.close(theirs)
    with os.fdopen(answer, "rb") as pipe:
        assert pipe.read() == probe_process.HELLO
    assert ended.returncode == 1
    assert b"Timeout" in ended.stderr


def test_stale_bytecode_is_not_read(project: ModelProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two saves of the same size within one second: the new models count, although a .pyc of the old ones fits."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    project.write("models/__init__.py", "from models.task import Base\n")
    path = project.write(
        "models/task.py", BASE + "Task.__table__.append_column(Column('title', String(50)))\n"
    )
    moment = (1_700_000_000, 1_700_000_000)
    os.utime(path, moment)
    cached = py_compile.compile(
        str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP
    )
    path.write_text(path.read_text().replace("String(50)", "String(60)"))
    os.utime(path, moment)
    plain = subprocess.run(
        [sys.executable, "-c", "import models.task as m; print(m.Task.__table__.c.title.type)"],
        cwd=project.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert plain.stdout == "VARCHAR(50)\n"  # what an ordinary import sees: the trap is set
    before = Path(str(cached)).read_bytes()
    assert "VARCHAR(60)" in str(project.read("models:Base").stored[0].sql)
    assert Path(str(cached)).read_bytes() == before


def test_the_probe_writes_no_bytecode(project: ModelProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe leaves nothing in the project's folders, also where the environment allows it."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    project.models("")
    project.read("models:Base")
    assert [path.name for path in project.folder.rglob("*")] == ["models.py"]


def test_unchecked_bytecode_of_the_project_is_not_read_either(project: ModelProject) -> None:
    """A .pyc that Python would take without looking at the source is passed over for project files."""
    path = project.models("")
    project.write("models.py", BASE.replace('"task"', '"compiled"'))
    py_compile.compile(
        str(path), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    assert Path(importlib.util.cache_from_source(str(path))).exists()
    project.models("")
    assert table_names(project.read("models:Base")) == ["task"]


def test_probes_at_the_same_time_do_not_disturb_each_other(project: ModelProject) -> None:
    """Two threads of one process load models at once; neither holds the other's pipes open."""
    project.models("import time\ntime.sleep(0.5)\n")
    found: list[list[str]] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(table_names(read_desired(project.source("models:Base"))))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["task"], ["task"]]


def test_loading_can_be_given_up(project: ModelProject) -> None:
    """Once nobody wants the answer any more, the probe is killed with all that it started, and nothing stays open."""
    project.models(f"{SLEEPER}import time\ntime.sleep(600)\n")
    pid = project.folder / "pid"
    before = open_descriptors()
    with pytest.raises(ModelsError) as caught:
        read_desired(
            project.source("models:Base"), cancelled=lambda: pid.exists() and pid.read_text().isdigit()
        )
    assert caught.value.code == "models-cancelled"
    assert caught.value.fix
    assert ended(int(pid.read_text()))
    assert open_descriptors() == before


def test_both_ends_speak_the_same_protocol() -> None:
    """The greeting, which stands in both files because neither imports the other, is the same."""
    assert probe.HELLO == probe_process.HELLO


def test_the_probe_is_python_3_8_and_imports_only_the_standard_library() -> None:
    """Its files parse as Python 3.8, and what they import at the top is in every standard library since then."""
    assert len(set(probe_process.TEMPLATE_PARTS) - set(probe_process.PARTS)) == 1
    for part in probe_process.TEMPLATE_PARTS:
        stands_alone(part)


def stands_alone(part: Path) -> None:
    """Asserts it of one file."""
    tree = ast.parse(part.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = [name.name for node in tree.body if isinstance(node, ast.Import) for name in node.names]
    assert len(imported) > 3
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    froms = [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert froms == ["__future__"]


def test_a_probe_leaves_no_descriptor_open(project: ModelProject) -> None:
    """Success and failure alike close every pipe."""
    project.models("")
    before = open_descriptors()
    project.read("models:Base")
    project.error("nothing:here")
    project.error("models:Base", python=str(project.write("empty", "")))
    assert open_descriptors() == before
