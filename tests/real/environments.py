"""Environments for published packages: one per package, version and Python, made once and kept.

Many releases of one package stand on one `ground`: an environment with what they import. A release's own environment
then holds its package alone and sees the ground through a .pth file, so that ten releases take the room of one.

They live under `${XDG_CACHE_HOME:-~/.cache}/driftd/real/`. A virtual environment is not relocatable (its scripts carry
its path), so each is built where it stays: under a lock, with a stamp written last. A folder without its stamp is what
an interrupted build left, and is made anew. A download that fails raises, and so fails the test: nothing is skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STAMP = "complete.json"
ASK = "import ensurepip, os, sqlite3, sys, venv; print('%d.%d' % sys.version_info[:2], os.path.realpath(sys.executable))"
BUILD_TIMEOUT = 900.0  # seconds for one step of a build, downloads included


class EnvironmentBuildError(RuntimeError):
    """An environment could not be made; the message holds what pip or venv said."""


def cache_directory() -> Path:
    """Where environments are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "driftd" / "real"


def environment(
    name: str, requirements: Sequence[str], python: str | None = None, ground: Path | None = None
) -> Path:
    """The Python of the environment with these requirements, made now if it is not there yet.

    Args:
        name: what people read in the folder's name, `optuna-3.6.2` for example.
        requirements: what pip is asked to install, with exact versions.
        python: the interpreter to build on; None means the one that runs the tests, or the one behind `ground`.
        ground: the Python of an environment that this one sees besides; the requirements come without what they
            require themselves.

    Raises:
        EnvironmentBuildError: `venv` or `pip` failed.
    """
    behind = str(ground) if ground else _base_executable()
    base = os.path.realpath(python or behind)
    described = {"python": base, "requirements": sorted(requirements)}
    if ground:
        described["ground"] = str(ground)
    content = json.dumps(described, sort_keys=True)
    folder = cache_directory() / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    executable = folder / "bin" / "python"
    with _lock(folder):
        if not _is_complete(folder, content):
            if ground is None:
                _build(folder, executable, requirements, base)
            else:
                _build_upon(ground, folder, executable, requirements)
            (folder / STAMP).write_text(content)
    return executable


def interpreter(version: str) -> str | None:
    """A Python of that version ("3.9") which runs and has sqlite3, venv and pip, or None. Found by running candidates."""
    for candidate in _candidates(version):
        found, executable = _ask(candidate)
        if found == version:
            return executable
    return None


def _candidates(version: str) -> Iterator[str]:
    """Where a Python of that version may be, nearest first. A shim on PATH may exist and fail."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield _base_executable()
    found = shutil.which(f"python{version}")
    if found:
        yield found
    for root in filter(None, (os.environ.get("PYENV_ROOT"), str(Path.home() / ".pyenv"))):
        for folder in sorted(Path(root, "versions").glob(f"{version}.*"), reverse=True):
            yield str(folder / "bin" / "python")


@cache
def _ask(path: str) -> tuple[str, str]:
    """The `major.minor` that this executable reports, and which file it really is; ("", "") when it does not run.

    A shim may start another Python in another folder, so it is never kept: the executable behind it is.
    """
    try:
        result = subprocess.run([path, "-c", ASK], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "", ""
    version, _, executable = result.stdout.strip().partition(" ")
    return (version, executable) if result.returncode == 0 else ("", "")


def _base_executable() -> str:
    """The interpreter behind the tests' own virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Held while an environment is looked at or built, so that two test processes never build the same one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _is_complete(folder: Path, content: str) -> bool:
    try:
        return (folder / STAMP).read_text() == content
    except FileNotFoundError:
        return False


def _build(folder: Path, executable: Path, requirements: Sequence[str], base: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run(base, "-m", "venv", str(folder))
    if requirements:
        pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input")
        _run(str(executable), *pip, *requirements)


def _build_upon(ground: Path, folder: Path, executable: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _run(str(ground), "-m", "venv", "--without-pip", str(folder))
    below, own = _site_packages(ground), _site_packages(executable)
    # Wheels alone, and whatever Python they name: an old release may say that it does not know this one, and run.
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps")
    wheels = ("--only-binary", ":all:", "--ignore-requires-python")
    _run(str(ground), *pip, *wheels, "--target", str(own), *requirements)
    (own / "ground.pth").write_text(f"{below}\n", encoding="utf-8")


def _site_packages(python: Path) -> Path:
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-c", ask], text=True).strip())


def _run(*command: str) -> None:
    """Run one step of a build, away from the tests' own Python settings."""
    settings = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False, env=settings
    )
    if result.returncode:
        raise EnvironmentBuildError(
            f"{' '.join(command)} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
        )
