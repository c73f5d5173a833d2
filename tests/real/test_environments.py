"""The environments that the other tests here run in: made once, whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from real import environments

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests keep their environments to themselves."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_an_environment_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who ask at once get the same environment, and only one of them builds it."""
    built = []
    build = environments._build

    def counted(*arguments: object) -> None:
        built.append(arguments)
        build(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(environments, "_build", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: environments.environment("empty", ()), range(2))
    assert first == second
    assert len(built) == 1
    prefix = subprocess.check_output([first, "-c", "import sys; print(sys.prefix)"], text=True).strip()
    assert Path(prefix) == first.parent.parent


def test_an_interrupted_build_is_made_anew() -> None:
    """A folder without its stamp, as a killed build leaves it, is thrown away and built again."""
    executable = environments.environment("empty", ())
    folder = executable.parent.parent
    (folder / environments.STAMP).unlink()
    executable.unlink()
    assert environments.environment("empty", ()) == executable
    assert subprocess.run([executable, "-c", ""], check=False).returncode == 0


def test_a_download_that_fails_fails_the_test(tmp_path: Path) -> None:
    """What pip said is in the error, and nothing is left that looks complete."""
    missing = tmp_path / "no-such-package-1.0.tar.gz"
    with pytest.raises(environments.EnvironmentBuildError, match=r"no-such-package"):
        environments.environment("broken", [str(missing)])
    assert list(environments.cache_directory().glob(f"*/{environments.STAMP}")) == []


def test_interpreters_are_found_by_running_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim on PATH that fails is passed over, and so is one that turns out to be another version."""
    for name, text in {"python9.8": "exit 1", "python9.9": f'exec "{sys.executable}" "$@"'}.items():
        shim = tmp_path / name
        shim.write_text(f"#!/bin/sh\n{text}\n")
        shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert environments.interpreter("9.8") is None
    assert environments.interpreter("9.9") is None
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert environments.interpreter(running) is not None
