"""The table of docs/real-packages.md, made anew: `make real-table`.

Every consecutive pair of releases travels in both journal modes. Packages named on the command line run alone, and are
then only printed.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from real.journeys import EXACT, HELD, WRONG, Arrival, codes, journeys, travel
from real.judgements import AGREED
from real.lineages import LINEAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from real.lineages import Lineage

PAGE = Path(__file__).parents[2] / "docs" / "real-packages.md"
BEGIN, END = "<!-- made by `make real-table` -->\n", "<!-- end -->\n"
MODES = ("wal", "delete")
HEAD = """\
| package | releases | rows | operations | held | outcome | answered | WAL, ms | rollback journal, ms |
|---|---|---|---|---|---|---|---|---|
"""

Both = tuple[Arrival, Arrival]


def main() -> int:
    """Run the journeys and write the page; 1 when one of them went wrong."""
    names = sys.argv[1:]
    found = {name: list(travelled(LINEAGES[name])) for name in names or LINEAGES}
    text = "".join(section(found))
    if names:
        sys.stdout.write(text)
    else:
        page = PAGE.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        PAGE.write_text(before + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")
    return int(any(one.problems for pairs in found.values() for both in pairs for one in both))


def travelled(lineage: Lineage) -> Iterator[Both]:
    """Each pair in both journal modes; what is wrong is told at once."""
    for one in journeys(lineage):
        arrivals = []
        for mode in MODES:
            with TemporaryDirectory(prefix="driftd-journey-") as folder:
                arrival = travel(one.in_mode(mode), Path(folder))
            arrivals.append(arrival)
            sys.stderr.write(f"{arrival.journey.title}: {arrival.outcome}\n")
            sys.stderr.writelines(f"    {problem}\n" for problem in arrival.problems)
        yield arrivals[0], arrivals[1]


def section(found: dict[str, list[Both]]) -> Iterator[str]:
    """The text between the markers."""
    pairs = [both for several in found.values() for both in several]
    counts = Counter(outcome_of(both) for both in pairs)
    yield f"{len(pairs)} pairs: {counts[EXACT]} exact, {counts[HELD]} held, {counts[WRONG]} wrong.\n\n"
    yield HEAD
    for name, several in found.items():
        yield from (row_of(name, both) for both in several)
    yield "\nWhat was held, and why a person agrees:\n\n"
    for name, several in found.items():
        seen = {one for both in several for arrival in both for one in codes(arrival.waiting)}
        yield from agreed(name, seen)


def row_of(name: str, both: Both) -> str:
    """One line of the table."""
    first, second = both
    held = Counter(code for code, _ in codes(first.waiting))
    cells = (
        name,
        f"{first.journey.older.version} → {first.journey.newer.version}",
        str(first.rows),
        str(first.operations),
        ", ".join(f"{count} {code}" for code, count in sorted(held.items())),
        outcome_of(both),
        answered(first),
        f"{first.milliseconds:.0f}",
        f"{second.milliseconds:.0f}",
    )
    return f"| {' | '.join(cells)} |\n"


def outcome_of(both: Both) -> str:
    """The worse of the two; two that differ are wrong."""
    first, second = both
    return first.outcome if codes(first.waiting) == codes(second.waiting) and not second.problems else WRONG


def answered(arrival: Arrival) -> str:
    """What is left when a person has answered."""
    if arrival.left is None:
        return ""
    return ", ".join(f"{code} stays" for code, _ in codes(arrival.left)) or EXACT


def agreed(package: str, seen: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One line for each reason, with all that it speaks of."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for code, name in sorted(seen):
        reasons.setdefault((code, AGREED[package].get((code, name), "nobody agreed")), []).append(f"`{name}`")
    for (code, reason), names in reasons.items():
        yield f"- {package}, {code}: {', '.join(names)}: {reason}.\n"


if __name__ == "__main__":
    sys.exit(main())
