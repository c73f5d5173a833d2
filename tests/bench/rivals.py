"""Who does the same work beside driftd: processes in environments of their own, which are asked and tell the seconds.

A rival stays alive between two questions, so that only its work is timed, as driftd's is: no start, no imports.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from real.environments import environment

if TYPE_CHECKING:
    from types import TracebackType

ALEMBIC = ("alembic==1.20.1", "sqlalchemy==2.1.9")
SQLITE_UTILS = ("sqlite-utils==4.2.1",)
SCRIPTS = Path(__file__).parent / "scripts"


@cache
def python_with(packages: tuple[str, ...]) -> Path:
    """The Python of the environment with these packages, made when it is first asked for."""
    return environment(packages[0].partition("==")[0], packages, None)


class Rival:
    """A script of ours in a rival's environment: one JSON object a line in, `{"seconds": …}` a line out."""

    def __init__(self, packages: tuple[str, ...], script: str, *arguments: str | Path) -> None:
        command = [python_with(packages), SCRIPTS / script, *arguments]
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, **question: Any) -> float:
        """How long it took to do what is asked."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the rival ended with {self.process.wait()}"
        return float(json.loads(answer)["seconds"])

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Ends with its questions."""
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait()
