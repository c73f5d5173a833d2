"""The daemon and its templates: none while it only waits, one from the first save on, none behind its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import psutil
import pytest

from driftd.templates import POSSIBLE
from probe_project import BASE
from support.sidecars import Sidecar, house, running, wait_until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(not POSSIBLE, reason="templates are for Linux alone"),
    pytest.mark.timeout(300),
]


def sidecar_of(folder: Path) -> Sidecar:
    """A daemon for models in Python."""
    sidecar = house(folder, mode="observe")
    text = (folder / "driftd.toml").read_text(encoding="utf-8")
    (folder / "driftd.toml").write_text(text.replace("models.sql", "models:Base"), encoding="utf-8")
    (folder / "models.py").write_text(BASE, encoding="utf-8")
    return sidecar


def templates(sidecar: Sidecar) -> list[int]:
    """The pids of its templates, as `status` tells them."""
    return [one["pid"] for one in sidecar.result("status")["daemon"]["templates"]]


def saved(sidecar: Sidecar, tables: int) -> None:
    """Saves models with so many tables, and waits until they are known."""
    more = [
        f"class T{n}(Base):\n    __tablename__ = 't{n}'\n    id = Column(Integer, primary_key=True)\n"
        for n in range(tables - 1)
    ]
    (sidecar.folder / "models.py").write_text(BASE + "".join(more), encoding="utf-8")
    sidecar.until(lambda entry: entry["differences"] == tables and not entry["busy"])


def gone(sidecar: Sidecar, pids: list[int]) -> None:
    """Returns when these processes are gone."""
    wait_until(
        lambda: not any(psutil.pid_exists(p) and psutil.Process(p).status() != "zombie" for p in pids),
        sidecar,
    )


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_one_template_from_the_first_save_to_the_end(tmp_path: Path, end: signal.Signals) -> None:
    """An idle daemon has none; saves share one; a reload begins anew; whichever way the daemon ends, none stays."""
    sidecar = sidecar_of(tmp_path)
    with running(sidecar):
        sidecar.until(lambda entry: entry["differences"] == 1 and not entry["busy"])
        assert templates(sidecar) == []
        assert sidecar.children() == []
        saved(sidecar, 2)
        first = templates(sidecar)
        assert len(first) == 1
        saved(sidecar, 3)
        assert templates(sidecar) == first
        assert [child.pid for child in sidecar.children()] == first
        if end == signal.SIGTERM:
            sidecar.result("reload")
            gone(sidecar, first)
            assert templates(sidecar) == []
            saved(sidecar, 4)
            first = templates(sidecar)
        sidecar.stop(end)
        gone(sidecar, first)


def test_it_can_be_turned_off(tmp_path: Path) -> None:
    """With `warm_probe = false` each save gets a process that ends with its answer."""
    sidecar = sidecar_of(tmp_path)
    sidecar.environment["DRIFTD_WARM_PROBE"] = "false"
    with running(sidecar):
        sidecar.until(lambda entry: entry["differences"] == 1 and not entry["busy"])
        saved(sidecar, 2)
        assert templates(sidecar) == []
        assert sidecar.children() == []
        sidecar.stop()
