"""Random tests with new examples until the time is over: `make fuzz`, DRIFTD_FUZZ_MINUTES for how long (10).

Each round has a seed, and takes one part after the other. What fails is made small and shown, and the command that repeats
it is printed. At the end stands how often what was tried.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from support.tries import counted

#: Parts of a round: schemas and lives that a service may have, and then what nobody means.
PARTS = (
    (
        "tests/engine/test_stateful.py",
        "tests/engine/test_random_changes.py::test_random_changes_keep_rows_and_end_where_the_models_want",
        "tests/engine/test_parse_oracle.py",
    ),
    (
        "tests/faults/test_fuzz_configuration.py",
        "tests/faults/test_fuzz_database.py",
        "tests/faults/test_fuzz_ddl.py",
        "tests/faults/test_fuzz_files.py",
        "tests/faults/test_fuzz_flags.py",
        "tests/faults/test_fuzz_probe.py",
        "tests/faults/test_fuzz_socket.py",
        "tests/faults/test_fuzz_window.py",
    ),
)
SHRINKING = 3600  # seconds that a round may take: one that found something makes it small first


def say(text: str) -> None:
    """To whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code of the first part that failed, or 0."""
    with tempfile.TemporaryDirectory() as folder:
        tries = Path(folder) / "tries"
        code = run(tries)
        for what, times in sorted(counted(tries).items()):
            say(f"{times:>9,}  {what}")
    return code


def run(tries: Path) -> int:
    """Round after round; what is tried is noted in that file."""
    until = time.monotonic() + 60 * float(os.environ.get("DRIFTD_FUZZ_MINUTES") or 10)
    depth, rounds = os.environ.get("DRIFTD_FUZZ") or "1", 0
    while time.monotonic() < until:
        rounds, seed = rounds + 1, secrets.randbelow(2**32)
        for part in PARTS:
            if time.monotonic() >= until:
                break
            say(f"round {rounds}, seed {seed}: {len(part)} files")
            command = [sys.executable, *arguments(part, seed)]
            environment = {**os.environ, "DRIFTD_FUZZ": depth, "DRIFTD_TRIES": str(tries)}
            code = subprocess.run(command, env=environment, check=False).returncode
            if code:
                say(f"again: DRIFTD_FUZZ={depth} {' '.join(command)}")
                return code
    say(f"{rounds} rounds, nothing found")
    return 0


def arguments(part: tuple[str, ...], seed: int) -> list[str]:
    """What pytest is called with."""
    jobs = os.environ.get("JOBS") or "auto"
    return [
        "-m",
        "pytest",
        "-q",
        "-n",
        jobs,
        f"--timeout={SHRINKING}",
        f"--hypothesis-seed={seed}",
        *part,
    ]


if __name__ == "__main__":
    sys.exit(main())
