"""Models that attack the process which describes them: one clear error, no wait, no memory, nobody else hurt."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftengine.errors import ModelsError
from probe_project import ModelProject
from support.random_bytes import DEEP, LONG_NUMBER, altered_bytes, altered_json
from support.random_depth import depth
from support.tries import tried

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = st.integers(0, 2**32 - 1)
#: The descriptor of the answer is the one pipe that is neither of the three that every process has.
ANSWERS = """\
import os, stat
pipes = [n for n in range(3, 64) if os.path.exists(f"/proc/self/fd/{n}") and stat.S_ISFIFO(os.fstat(n).st_mode)]
def say(raw):
    for pipe in pipes:
        while raw:
            raw = raw[os.write(pipe, raw):]
"""
WHOLE = {
    "status": "ok",
    "stored": [["table", "task", "task", "CREATE TABLE task (id INTEGER PRIMARY KEY)"]],
    "defaults": [{"table": "task", "column": "id", "sql": "1", "callable": None}],
    "hints": [{"table": "task", "column": "id", "renamed_from": ["x"], "backfill": None}],
    "sources": ["/x.py"],
    "unsupported": [],
    "versions": {"python": "3"},
    "reads": {"files": [], "folders": []},
}


@given(seed=SEEDS)
@depth(12)
def test_an_answer_that_the_models_wrote_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Members gone or of another kind, bytes turned, thousands of brackets: it is no answer, or it is one."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    line = json.dumps(altered_json(chance, WHOLE)).encode()
    if chance.random() < 0.4:
        line = altered_bytes(chance, line)
    project = ModelProject(tmp_path_factory.mktemp("project"))
    project.write("answer", "").write_bytes(line.replace(b"\n", b" ") + b"\n")
    project.models(ANSWERS + f"say(open({str(project.folder / 'answer')!r}, 'rb').read())\nos._exit(0)\n")
    told = None
    try:
        project.read("models:Base")
    except ModelsError as error:
        told = error.code
    assert told is None or told.startswith("models-")
    tried("probe: an answer that the models wrote")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"say(b'{DEEP[:50_000]}\\n')", "models-answer"),
        (f"say(b'{LONG_NUMBER}\\n')", "models-answer"),
        ("say(b'\\xff\\xfe\\n')", "models-answer"),
        ("say(b'{}\\n')", "models-answer"),
        ("[os.close(pipe) for pipe in pipes]", "models-exited"),
        ("os.closerange(0, 64)", "models-exited"),
        ("[say(b'x' * (1 << 20)) for _ in range(400)]", "models-answer"),
        ("os.dup2(os.open('/dev/full', os.O_WRONLY), pipes[-1])", "models-exited"),
    ],
    ids=["deep", "a long number", "bytes", "empty", "closed", "all closed", "400 MB", "a full disk"],
)
def test_a_disturbed_answer_is_told(tmp_path: Path, text: str, code: str) -> None:
    """The error names the models, and our memory does not hold what they printed."""
    project = ModelProject(tmp_path)
    project.models(f"{ANSWERS}{text}\n")
    with pytest.raises(ModelsError) as raised:
        project.read("models:Base")
    assert raised.value.code == code, raised.value
    assert "models:Base" in str(raised.value.what) or "interpreter" in raised.value.what
    tried("probe: an answer disturbed")


@pytest.mark.parametrize(
    "text",
    [
        "os.kill(0, signal.SIGKILL)",
        "[os.fork() for _ in range(5)]; time.sleep(30)",
        "os.setsid() if os.getpid() != os.getsid(0) else None; os.fork() and os._exit(3)",
        "os.fork() or (os.setsid(), time.sleep(30)); os._exit(0)",
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
        "sys.stdout.close(); sys.stderr.close(); os.close(1); os.close(2)",
        "signal.alarm(1); time.sleep(30)",
        "sys.setrecursionlimit(50)",
        "sys.modules['json'] = None; sys.modules['os'] = None",
        "import builtins; builtins.open = None; builtins.len = None",
        "os.chdir('/'); os.environ.clear(); os.umask(0)",
        "threading.Thread(target=time.sleep, args=(30,)).start()",
        "atexit.register(time.sleep, 30)",
        "sys.settrace(lambda *a: 1 / 0)",
        "raise KeyboardInterrupt",
        "raise type('\\x1b[31mE', (BaseException,), {'__str__': lambda s: 1 / 0})()",
    ],
)
def test_whatever_models_do_to_their_process_there_is_one_end(tmp_path: Path, text: str) -> None:
    """They load, or one error says why not; we are still there, and so are no more processes than before."""
    project = ModelProject(tmp_path)
    project.models(f"import atexit, os, resource, signal, sys, threading, time\n{text}\n")
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    told = None
    try:
        found = project.read("models:Base", timeout=8)
    except ModelsError as error:
        told = error.code
        str(error).encode("utf-8", "backslashreplace")
    else:
        assert [row.name for row in found.stored] == ["task"]
    assert told is None or told.startswith("models-")
    assert {one.pid for one in psutil.Process().children(recursive=True)} <= before
    tried("probe: a process that the models attack")
