"""Random tests with new examples until the time is over: `make fuzz`, DRIFTD_FUZZ_MINUTES for how long (10).

Each round has a seed. What fails is made small and shown, and the command that repeats the round is printed.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time

TESTS = (
    "tests/engine/test_stateful.py",
    "tests/engine/test_random_changes.py::test_random_changes_keep_rows_and_end_where_the_models_want",
    "tests/engine/test_parse_oracle.py",
)
SHRINKING = 3600  # seconds that a round may take: one that found something makes it small first


def say(text: str) -> None:
    """To whoever waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit code of the first round that failed, or 0."""
    until = time.monotonic() + 60 * float(os.environ.get("DRIFTD_FUZZ_MINUTES") or 10)
    jobs, depth, rounds = os.environ.get("JOBS") or "auto", os.environ.get("DRIFTD_FUZZ") or "1", 0
    while time.monotonic() < until:
        rounds, seed = rounds + 1, secrets.randbelow(2**32)
        arguments = [
            "-m",
            "pytest",
            "-q",
            "-n",
            jobs,
            f"--timeout={SHRINKING}",
            f"--hypothesis-seed={seed}",
            *TESTS,
        ]
        say(f"round {rounds}, seed {seed}")
        code = subprocess.run([sys.executable, *arguments], env={**os.environ, "DRIFTD_FUZZ": depth}, check=False).returncode  # fmt: skip
        if code:
            say(f"again: DRIFTD_FUZZ={depth} {' '.join([sys.executable, *arguments])}")
            return code
    say(f"{rounds} rounds, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main())
