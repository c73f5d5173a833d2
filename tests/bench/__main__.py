"""`make bench`: run the benchmarks, print one table, and write docs/benchmarks.md.

`python -m bench [--quick] [what pytest takes]`. With anything that chooses a part, the rows of the last whole run on the same
machine stay beside those that are measured anew. `--quick` measures on small sizes and writes no page.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.rivals import ALEMBIC, SQLITE_UTILS, python_with
from real.environments import cache_directory
from support import bench_machine, bench_record, bench_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
QUICK = {
    "DRIFTD_BENCH_MB": "20",
    "DRIFTD_BENCH_ROWS": "20000",
    "DRIFTD_BENCH_IDLE": "5",
    "DRIFTD_BENCH_TURNS": "2",
    "DRIFTD_BENCH_CALLS": "50",
    "DRIFTD_BENCH_TABLES": "50",
}


def main() -> int:
    """The exit code of pytest."""
    words = sys.argv[1:]
    quick = "--quick" in words
    chosen = [word for word in words if word != "--quick"]
    rivals = [
        (python_with(one), [name.partition("==")[0] for name in one]) for one in (ALEMBIC, SQLITE_UTILS)
    ]
    machine = bench_machine.describe(rivals, 64 if quick else bench_machine.DISK_MB)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) if quick else _kept()
        rows, about = place / "rows.jsonl", place / "machine.json"
        if not (chosen and _same(about, machine)):
            rows.unlink(missing_ok=True)  # a whole run, or another machine
        about.write_text(json.dumps(machine), encoding="utf-8")
        code = _measured(rows, Path(folder) / "pytest", chosen, quick=quick)
        found = bench_record.read(rows)
    small = "small sizes: whether a budget is met cannot be told by them\n\n" if quick else ""
    sys.stdout.write(_shown(machine) + small + bench_table.plain(found))
    if not quick and found:
        PAGE.write_text(bench_table.page(found, machine), encoding="utf-8")
        sys.stdout.write(f"\nwritten: {PAGE.relative_to(ROOT)}\n")
    return code


def _kept() -> Path:
    """Where the rows stay from one run to the next."""
    folder = cache_directory().parent / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _same(about: Path, machine: dict[str, str]) -> bool:
    """Whether the rows that are there are of this machine."""
    try:
        before = json.loads(about.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return bench_machine.same_machine(before, machine)


def _measured(rows: Path, work: Path, chosen: list[str], *, quick: bool) -> int:
    """Runs the benchmarks in a folder of their own; each writes its rows as soon as it has them."""
    arguments = ["-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-m", "bench"]
    # Databases of gigabytes are not kept for a look at them afterwards.
    arguments += ["-o", "tmp_path_retention_policy=none", f"--basetemp={work}", *chosen, "tests/bench"]
    environment = {**(QUICK if quick else {}), **os.environ, bench_record.RECORD: str(rows)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: nobody measures the compiler
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, check=False)
    return done.returncode


def _shown(machine: dict[str, str]) -> str:
    lines = "".join(f"{name:<14}{told}\n" for name, told in machine.items())
    return f"\n{lines}\n"


if __name__ == "__main__":
    sys.exit(main())
