"""Configurations that nobody meant: a mistake that is told, exit code 2 or 78, and never a traceback or a wait."""

from __future__ import annotations

import os
import time
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.config import Request, load
from driftd.config.locate import shipped_text
from driftd.config.target import build_target
from driftengine.errors import ConfigurationError, DriftError
from support.random_bytes import PLACES, altered_bytes, put_in_place
from support.random_depth import depth
from support.sidecars import CONFIGURATION, house, make, running, wait_until
from support.tries import tried
from support.typed import at_home, foreseen, typed

if TYPE_CHECKING:
    from pathlib import Path

#: In the place of any value.
ODD_VALUES = (
    "true", "-1", "0", "1e400", "nan", "-inf", "[]", "{}", '""', "[[]]", '["", 1]', "1979-05-27T07:32:00Z", "07:32:00",
    "'''x'''", '"\\u0000"', '["\\u0000"]', '"\\u202E\\u0007"', '"${A"', '"${A:-${A:-${A}}}"', '"${}"', '"$$${X:-"', "9" * 5_000,
    "[" * 3_000 + "]" * 3_000, f'"{"x" * 70_000}"', f'"{"${A:-" * 2_000}{"}" * 2_000}"', "{a={b={c=1}}}", "9" * 20,
    '"1e400d"', '"nan"', '"9999999999999999999999w"', '"-5s"', '"0s"', '"~nobody"', '"~\\u0000"', '"/dev/zero"',
    '["/dev/zero.sql"]', '"/proc/self/mem"', '"sqlite:////dev/zero"', '"sqlite:///\\u0000"', '"sqlite:///%00"', '"sqlite://"',
    '"sqlite:///:memory:"', '"postgresql://x:y@z/q"', '"sqlite:///file:x?mode=memory&uri=true"', '"sqlite:///a.db?mode=ro"',
    '"..:.."', '[":"]', '["a:"]', '["a b:c"]', '".sql"', "1_0", '"٣"', '"1٣s"', '"[" ', '["[", "[a", "*.*.*"]',
)  # fmt: skip
#: In the place of any line.
ODD_LINES = (
    "[", "[[targets]]", "[targets]", '[targets."a.b\\u0000"]', '[targets.""]', f'["{"x" * 300}"]', "a.b.c.d.e=1", "targets=1",
    "[targets.app.x]", "daemon=[]", "\ufeff", "\0", "\r", "[targets.é]", '[targets."../x"]', '[targets."a\\nb"]', '[targets."-x"]',
    "targets.app.models.x=1", ".".join(["a"] * 2_000) + "=1", f"[targets.{'.'.join('b' * 3_000)}]", "include = 'driftd.toml'",
)  # fmt: skip
WEDGES = (
    b"\0",
    b"\xff",
    b"\r\n",
    b'"',
    b"'",
    b'"""',
    b"[",
    b"]",
    b"{",
    b"=",
    b"#",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
)
WHOLE = CONFIGURATION.format(mode="dev") + (
    'probe_timeout = "5s"\npythonpath = ["x"]\nignore = ["a.*"]\nreuse_max_age = "1h"\nkeep = 3\n'
    '[targets.app.window]\ntimeout = 15\n[targets.app.backfill]\n"task.x" = "1"\n[targets.app.policy]\ndrop-column = "allow"\n'
).replace("probe", "# probe")
SEEDS = st.integers(0, 2**32 - 1)
TOLD = {"configuration-syntax", "configuration-invalid", "configuration-unreadable"}


def altered(chance: Random, text: str) -> bytes:
    """A configuration with other values or lines, or with its bytes turned, in an odd encoding now and then."""
    lines = text.split("\n")
    settings = [place for place, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    for _ in range(chance.randrange(1, 3)):
        place = chance.choice(settings)
        if chance.random() < 0.7:
            lines[place] = f"{lines[place].partition('=')[0]}= {chance.choice(ODD_VALUES)}"
        else:
            lines.insert(chance.randrange(len(lines)), chance.choice((*ODD_LINES, lines[place])))
    raw = "\n".join(lines).encode()
    kind = chance.random()
    if kind < 0.05:
        return raw.decode().encode("utf-16")
    if kind < 0.1:
        return raw.replace(b"\n", b"\r\n")
    return altered_bytes(chance, raw, WEDGES) if kind < 0.25 else raw


@given(seed=SEEDS)
@depth(150)
def test_a_configuration_is_read_or_its_mistakes_are_told(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """Types swapped, numbers without end, brackets without bottom, circles of variables, odd encodings."""
    folder = tmp_path_factory.getbasetemp()
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    (folder / "driftd.toml").write_bytes(altered(chance, chance.choice((WHOLE, shipped_text("config.toml")))))
    environment = {"HOME": str(folder), "A": chance.choice(["", "x", "${A}", "\udcff"])}
    told: DriftError | None = None
    try:
        found = load(Request(environment, folder, config="driftd.toml"))
        assert found.targets or found.selected is None
        for name in found.targets:
            build_target(load(Request(environment, folder, config="driftd.toml", target=name)))
    except DriftError as error:
        told = error
    assert told is None or (isinstance(told, ConfigurationError) and told.why and told.fix), told
    tried("configurations: read as a whole, or mistakes told")


@given(seed=SEEDS)
@depth(25)
def test_no_command_ends_unforeseen_with_such_a_configuration(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    """What was read is then used: a database that is a device, models that are no module, folders with a NUL."""
    folder = tmp_path_factory.mktemp("home")
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    make(folder / "app.db")
    (folder / "models.sql").write_text("CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT, more TEXT);")
    (folder / "driftd.toml").write_bytes(altered(chance, WHOLE))
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, dict(os.environ), folder)
        for words in ("check", "config show", "apply --json", "doctor", "backup list", "status"):
            assert not (found := foreseen(typed(folder, *words.split()))), (words, found)
    tried("configurations: then 6 commands")


@pytest.mark.parametrize("kind", PLACES)
def test_something_else_in_its_place_is_a_mistake_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A pipe, a folder, a device without end, a file of holes: an error at once, and no memory filled."""
    at_home(monkeypatch, dict(os.environ), tmp_path)
    put_in_place(tmp_path / "driftd.toml", kind)
    began = time.process_time()
    finished = typed(tmp_path, "check", "--config", "driftd.toml")
    assert finished.code == 2
    assert not foreseen(finished)
    assert "error[configuration-" in finished.err or kind == "empty"
    assert time.process_time() - began < 20  # noise is read, and nothing else is
    tried("configurations: something else in their place")


@pytest.mark.parametrize(
    "text", ["x = ", "[targets.app]\nmodels = 1\n", f"x = {'9' * 5000}\n", "x = [" * 500], ids=range(4)
)
def test_run_ends_with_78(tmp_path: Path, text: str) -> None:
    """A service manager sees that starting again would not help."""
    sidecar = house(tmp_path)
    (tmp_path / "driftd.toml").write_text(text, encoding="utf-8")
    assert sidecar.launch().wait(60) == 78
    assert "Traceback" not in sidecar.log
    tried("configurations: the daemon started with a bad one")


def test_a_reload_with_such_a_configuration_keeps_the_old_one(tmp_path: Path) -> None:
    """The daemon tells the mistake, serves on as before, and takes the next good one."""
    make(tmp_path / "app.db")
    sidecar = house(tmp_path)
    good = (tmp_path / "driftd.toml").read_bytes()
    chance = Random(6)  # noqa: S311 - the same tries each time
    with running(sidecar):
        sidecar.state("in_sync")
        for number in range(12):
            (tmp_path / "driftd.toml").write_bytes(altered(chance, WHOLE) + b"\nx =\n" * (number % 2))
            reply = sidecar.ask("reload")
            assert (
                reply["ok"]
                or reply["error"]["code"] in {*TOLD, "database-taken", "target-unknown"}
                or (reply["error"]["code"].startswith(("database-", "socket-")))
            ), reply
            assert sidecar.result("version")["pid"] == sidecar.result("version")["pid"]
            tried("configurations: reloaded by a daemon that serves")
        for kind in PLACES:
            put_in_place(tmp_path / "driftd.toml", kind)
            assert sidecar.ask("reload")["ok"] is False or kind == "empty"
            tried("configurations: reloaded by a daemon that serves")
        put_in_place(tmp_path / "driftd.toml", "empty")
        (tmp_path / "driftd.toml").write_bytes(good)
        assert sidecar.ask("reload")["ok"]
        wait_until(lambda: sidecar.entry()["state"] == "in_sync", sidecar)
        assert "Traceback" not in sidecar.log
