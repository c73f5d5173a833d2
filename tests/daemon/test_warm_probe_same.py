"""A template's child gives byte for byte what a process of the probe's own gives, whatever the models do."""

from __future__ import annotations

import os
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from driftd.templates import POSSIBLE
from probe_project import BASE
from support.crash_points import ALL
from support.warm import Warm, request_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not POSSIBLE, reason="templates are for Linux alone"),
    pytest.mark.timeout(600),
]

# By name: what stands behind a Base with one table.
LOADING = {
    "plain": "",
    "prints": "print('x' * 300_000)\nprint('to stderr', file=__import__('sys').stderr)",
    "reads": "title = open('words.txt').read()\nimport os\nos.environ.get('SHELL')\nos.path.exists('perhaps')\nos.listdir('.')",
    "optional": "try:\n    import not_there\nexcept ImportError:\n    pass",
    "helpers": "import helper\nimport helper.part",
    "database": "import sqlite3\nwith sqlite3.connect('some.db') as c:\n    c.execute('SELECT 1')\nc.close()",
    "locks": "import os\nos.close(os.open('lock', os.O_RDWR | os.O_CREAT))",
    "surroundings": "import locale, os, sys\nos.chdir('/')\nos.umask(0)\nos.environ['A'] = 'b'\nsys.path.insert(0, '/nowhere')\nlocale.setlocale(locale.LC_ALL, 'C')",
    "frames": "import sys\ndepth = 0\nframe = sys._getframe()\nwhile frame:\n    depth, frame = depth + 1, frame.f_back\nTable(f'deep{depth}', Base.metadata, Column('a', Integer))",
    "process": "import os, sys\nleads = os.getsid(0) == os.getpgid(0) == os.getpid()\nfound = [leads, len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')), sys.argv, __name__]\nTable(str(found), Base.metadata, Column('a', Integer))",
    "limits": "import resource, signal\nTable(f'{resource.getrlimit(resource.RLIMIT_CORE)} {[str(signal.getsignal(n)) for n in (1, 2, 13, 14, 15, 17)]} {signal.pthread_sigmask(0, [])}', Base.metadata, Column('a', Integer))",
    "streams": "import sys\nTable(f'{[(s.isatty(), s.seekable(), s.line_buffering, s.fileno(), s.encoding, s.errors) for s in (sys.stdin, sys.stdout, sys.stderr)]} {sys.stdin.read()!r}', Base.metadata, Column('a', Integer))",
    "paths": "import os, sys\nTable('|'.join(sys.path) + '|' + os.getcwd() + '|' + ' '.join(sorted(os.environ)), Base.metadata, Column('a', Integer))",
    "interpreter": "import sys\nTable(f'{sys.flags} {sys.warnoptions} {sys._xoptions} {sys.dont_write_bytecode} {sys.getrecursionlimit()}', Base.metadata, Column('a', Integer))",
    "children": "import os, subprocess\nsubprocess.run(['true'])\nif not os.fork():\n    os._exit(0)\nsubprocess.Popen(['sleep', '600'])",
    "threads": "import atexit, threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\natexit.register(time.sleep, 600)",
    "defaults": "import uuid, random\nclass More(Base):\n    __tablename__ = 'more'\n    id = Column(String, primary_key=True, default=uuid.uuid4)\n    n = Column(Integer, nullable=False, default=lambda: random.random())\n    s = Column(String, nullable=False, default='it\\'s', info={'renamed_from': 't'})",
    "listens": "@event.listens_for(Base.metadata, 'after_create')\ndef made(target, connection, **_):\n    connection.exec_driver_sql('CREATE TABLE beside (a)')",
}  # fmt: skip
FAILING = {
    "syntax": "a = 1\nb = = 2",
    "raises": "import helper\nhelper.fails()",
    "missing": "import not_installed_anywhere.part",
    "exits": "import sys\nsys.exit('no')",
    "interrupts": "raise KeyboardInterrupt",
    "ends": "import os\nos.write(2, b'a word\\n')\nos._exit(3)",
    "killed": "import os\nos.kill(os.getpid(), 9)",
    "crashes": "import faulthandler\nfaulthandler._sigsegv()",
    "recurses": "def f(n):\n    return g(n + 1)\ndef g(n):\n    return f(n + 1)\nf(0)",
    "closes": "import os\nos.closerange(3, 256)",
    "deaf": "import os\nos.closerange(0, 256)\nraise RuntimeError",
    "bad_hint": "Task.__table__.info['renamed_from'] = 7",
    "bad_create": "event.listen(Base.metadata, 'before_create', lambda *a, **k: 1 / 0)",
    "bad_message": "class Bad(Exception):\n    def __str__(self):\n        raise ValueError\nraise Bad",
}
# What a template alone cannot serve: a probe of its own must be asked, and its answer given.
OTHERWISE = {
    "core_only": "from sqlalchemy import Column, Integer, MetaData, Table\nBase = MetaData()\nTable('a', Base, Column('b', Integer))\n",
    "changes_before": "import os\nos.environ['SET_BEFORE'] = '1'\n" + BASE,
    "warns_before": "import warnings\nwarnings.simplefilter('error')\n" + BASE,
    "replaces_before": "import threading\nthreading.Thread = type('Thread', (threading.Thread,), {})\n" + BASE,
    "patches_before": "import sqlalchemy.schema\nsqlalchemy.schema.Column = type('Column', (sqlalchemy.Column,), {'inherit_cache': True})\n" + BASE,
    "fails_before": "1 / 0\n" + BASE,
    "looks_for_orm": "import sqlalchemy\nsqlalchemy.orm.declarative_base()\n" + BASE,
}  # fmt: skip

QUICK = {
    *("reads", "helpers", "frames", "process", "streams", "defaults"),
    *("syntax", "raises", "exits", "crashes", "recurses", "deaf"),
    *("core_only", "changes_before", "looks_for_orm"),
}


def some(names: dict[str, str]) -> list[str]:
    """The names to try: those that differ most in kind, or all with DRIFTD_FAULTS=all."""
    return [name for name in names if ALL or name in QUICK]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models as modules of one folder."""
    path = tmp_path_factory.mktemp("models")
    for name, text in {**LOADING, **FAILING}.items():
        (path / f"{name}.py").write_text(f"{BASE}\n{text}\n", encoding="utf-8")
    for name, text in OTHERWISE.items():
        (path / f"{name}.py").write_text(text, encoding="utf-8")
    (path / "helper").mkdir()
    (path / "helper" / "__init__.py").write_text("def fails():\n    raise LookupError('here')\n")
    (path / "helper" / "part.py").write_text(textwrap.dedent(BASE))
    (path / "words.txt").write_text("words")
    (path / "lock").write_text("")
    (path / "some.db").write_bytes(b"")
    return path


@pytest.fixture(scope="module")
def warm(folder: Path) -> Iterator[Warm]:
    """One set of templates for all of these tests."""
    warm = Warm()
    warm.settled(folder)
    try:
        yield warm
    finally:
        warm.templates.close()


def both(warm: Warm, folder: Path, *specs: str, timeout: float = 60.0) -> tuple[str, str, bool]:
    """What either gives, and whether the template has given it."""
    request = request_for(folder, *specs, timeout=timeout)
    told, served = warm.served(sys.executable, request)
    return told, warm.own(sys.executable, request), served


@pytest.mark.parametrize("name", some(LOADING))
def test_models_that_load_are_the_same(warm: Warm, folder: Path, name: str) -> None:
    """Schema, defaults, hints, versions, sources and everything that was read are the same."""
    told, expected, served = both(warm, folder, f"{name}:Base")
    assert told == expected
    assert '"status": "ok"' in told
    assert served, warm.given_up


@pytest.mark.parametrize("name", some(FAILING))
def test_models_that_fail_are_the_same(warm: Warm, folder: Path, name: str) -> None:
    """Code, words, place and what is to be watched are the same; a crash is looked at once more by a probe of its own."""
    told, expected, served = both(warm, folder, f"{name}:Base")
    assert told == expected
    assert '"status": "ok"' not in told
    assert served == (name not in {"killed", "crashes"}), warm.given_up


@pytest.mark.parametrize("name", some(OTHERWISE))
def test_models_for_which_it_is_not_certain_get_a_probe_of_their_own(
    warm: Warm, folder: Path, name: str
) -> None:
    """Models that change what an import would see before it, or never import what is ready, get the right answer all the same."""
    for _ in range(2 if name == "core_only" else 1):
        told, expected, served = both(warm, folder, f"{name}:Base")
        assert told == expected
    # From the second time on a template without the mappers serves those who never use them.
    assert served == (name == "core_only"), warm.given_up


@pytest.mark.parametrize(
    "specs",
    [("plain:Nothing",), ("plian:Base",), ("plain.Base",), ("helper.part:Base", "plain:Base"), ("no spec",)],
)
def test_specs_are_the_same(warm: Warm, folder: Path, specs: tuple[str, ...]) -> None:
    """Several specs, and those that name nothing."""
    told, expected, _ = both(warm, folder, *specs)
    assert told == expected


def test_a_hang_is_the_same(warm: Warm, folder: Path) -> None:
    """At the limit the error says where it hangs, and the next probe of the same template loads."""
    hangs = folder / "plain.py"
    text = hangs.read_text(encoding="utf-8")
    try:
        hangs.write_text(text + "import time\ntime.sleep(600)\n", encoding="utf-8")
        told, expected, served = both(warm, folder, "plain:Base", timeout=5)
        assert told == expected
        assert "models-timeout" in told
        assert f"{hangs}:" in told
        assert served
    finally:
        hangs.write_text(text, encoding="utf-8")
    assert both(warm, folder, "plain:Base")[2]


def test_only_one_template_has_served_all_of_this(warm: Warm, folder: Path) -> None:
    """Another module, another failure: it is one process that has forked them all, beside one for models without mappers."""
    assert warm.served(sys.executable, request_for(folder, "plain:Base"))[1]
    documents = warm.templates.documents()
    assert len(documents) <= 2
    assert all(one["directory"] == str(folder) for one in documents)
    sys.stdout.write(f"loads by templates: {sum(one['probes'] for one in documents)}\n")
    assert max(one["probes"] for one in documents) > 1
    assert os.getpid() not in {one["pid"] for one in documents}
