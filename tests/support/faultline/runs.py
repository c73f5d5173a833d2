"""Runs of the command line under the fault library, forked from one process that has everything imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.faultline import CHANGES, Control, Kind, Strike, library

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TESTS = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended."""

    code: int  # negative: the signal
    points: int
    struck: int
    names: tuple[str, ...]  # of the points, where they were asked for
    out: str
    err: str

    @property
    def killed(self) -> bool:
        """Whether it died by SIGKILL."""
        return self.code == -9

    def json(self) -> Any:
        """What it printed."""
        return json.loads(self.out)


class Runs:
    """Forks one process per run; close it to end the template."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="runs-")))
        self.control = self._stack.enter_context(Control(self._folder / "control", ()))
        code = f"import sys; sys.path.insert(0, {str(TESTS)!r}); from support.faultline.template import serve; serve()"
        self._template = subprocess.Popen(
            [sys.executable, "-B", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "LD_PRELOAD": str(library())},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The template; the runs are its children."""
        return self._template.pid

    def close(self) -> None:
        """The template ends."""
        with self._template:
            if self._template.stdin is not None:
                self._template.stdin.close()
        self._stack.close()

    def driftd(self, folder: Path, *argv: str, **how: Any) -> Ran:
        """`driftd ARGV` in `folder`, whose home, cache and temporary files are all below it; `how` as for `run`."""
        return self.run(folder, {"argv": list(argv)}, **how)

    def traced(self, folder: Path, request: Mapping[str, Any], **how: Any) -> tuple[Ran, bytes]:
        """One run, and all that it did to files, for `power.read_trace`."""
        trace = self.control.path.with_name(f"{self.control.path.name}.trace")
        trace.touch()
        try:
            return self.run(folder, request, **how), trace.read_bytes()
        finally:
            trace.unlink()

    def run(
        self,
        folder: Path,
        request: Mapping[str, Any],
        at: int = 0,
        *,
        watch: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        seconds: float = 60,
        strike: Strike = Strike.KILL,
        last: int | None = None,
        error: int = 0,
        kinds: Kind = CHANGES,
        told: bool = False,
    ) -> Ran:
        """One run; the points are the calls below `watch` (`folder`), struck at `at` (0: none) to `last`."""
        out, err = self._folder / "out", self._folder / "err"
        self.control.watch(*(watch or (folder,)))
        self.control.arm(at, strike=strike, last=last, error=error, kinds=kinds, told=told)
        asked = {
            **request,
            "cwd": str(folder),
            "env": {**home(folder), **(env or {})},
            "out": str(out),
            "err": str(err),
            "control": str(self.control.path),
            "seconds": seconds,
        }
        assert self._template.stdin is not None
        assert self._template.stdout is not None
        self._template.stdin.write(json.dumps(asked) + "\n")
        self._template.stdin.flush()
        answer = json.loads(self._template.stdout.readline())
        assert not answer["late"], f"it hung: {request}"
        return Ran(
            answer["code"],
            self.control.count,
            self.control.struck,
            tuple(self.control.names()) if told else (),
            out.read_text("utf-8", "replace"),
            err.read_text("utf-8", "replace"),
        )


def home(folder: Path) -> dict[str, str]:
    """An environment in which everything that driftd keeps lies below `folder`."""
    places = {
        "HOME": "home",
        "XDG_CACHE_HOME": "cache",
        "XDG_RUNTIME_DIR": "runtime",
        "XDG_STATE_HOME": "state",
        "TMPDIR": "tmp",
    }
    for place in places.values():
        (folder / place).mkdir(mode=0o700, exist_ok=True)
    return {name: str(folder / place) for name, place in places.items()}
