"""What is installed from a wheel, away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without an index and unpacked into a folder with a space in its name."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=100,
    )
    place = out / "site packages"
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(place)
    return place


def driftd(installed: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Runs the installed command with `/` as working directory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRIFTD_")}
    return subprocess.run(
        [sys.executable, "-m", "driftd", *arguments],
        cwd="/",
        env=environment | settings | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_the_wheel_brings_its_configuration_and_its_codes(installed: Path) -> None:
    """Shipped files are read from the wheel, not from a repository that is not there."""
    shown = driftd(installed, "config", "show", "--shipped")
    explained = driftd(installed, "explain", "drop-column")

    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == (ROOT / "config.toml").read_text(encoding="utf-8")
    assert explained.returncode == 0
    shipped = installed / "driftd" / "_shipped" / "systemd"
    units = {
        path.relative_to(ROOT / "systemd").as_posix()
        for path in (ROOT / "systemd").rglob("*.*")
        if path.is_file()
    }
    assert {path.relative_to(shipped).as_posix() for path in shipped.rglob("*.*") if path.is_file()} == units
    assert "driftd.service" in units
    assert (installed / "driftd" / "py.typed").exists()
    assert (installed / "driftengine" / "py.typed").exists()


def test_the_installed_wheel_migrates(installed: Path, tmp_path: Path) -> None:
    """check, apply and check again work from a wheel, with the probe's file where the wheel put it."""
    (tmp_path / "models.sql").write_text(
        "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)", encoding="utf-8"
    )
    (tmp_path / "shop.py").write_text(
        "from sqlalchemy import Column, Integer, MetaData, Table\n"
        "metadata = MetaData()\nTable('u', metadata, Column('id', Integer, primary_key=True))\n",
        encoding="utf-8",
    )
    flags = [
        "--url", f"sqlite:///{tmp_path}/app.db", "--models", f"{tmp_path}/models.sql",
        "--models", "shop:metadata", "--pythonpath", str(tmp_path),
    ]  # fmt: skip
    environment = ["--python", sys.executable]

    before = driftd(installed, "check", *flags, *environment)
    applied = driftd(
        installed, "apply", *flags, *environment, DRIFTD_BACKUP_DIRECTORY=str(tmp_path / "backups")
    )
    after = driftd(installed, "check", *flags, *environment)

    assert before.returncode == 1, before.stderr
    assert applied.returncode == 0, applied.stdout + applied.stderr
    assert after.returncode == 0, after.stdout


def test_the_installed_wheel_renders_a_unit(installed: Path, tmp_path: Path) -> None:
    """The templates of `driftd service` are in the wheel."""
    flags = ["--url", f"sqlite:///{tmp_path}/app.db", "--models", f"{tmp_path}/models.sql"]
    printed = driftd(installed, "service", "print", "--system", *flags)
    assert printed.returncode == 0, printed.stderr
    assert f"ReadWritePaths=-{tmp_path}\n" in printed.stdout
