"""What is missed and what is made up: driftd and Alembic on every probe by models, there and back (`make probes`).

A *way* is one change of one schema in one direction. It is missed by driftd when a difference that is to be found is not,
and by Alembic when it says nothing of the new models that it does not say of the old ones. A difference is phantom when
the models have not changed: right after `create_all`, or between two spellings of the same models.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from bench.rivals import ALEMBIC
from probes import models_alike
from probes.carrying import built, differences, told
from probes.corpus import BY_MODELS
from probes.everything import EVERYTHING
from probes.record import opposite
from probes.words import HEAD, code_of
from real.commands import in_release
from real.environments import environment
from support.bench_record import record
from support.migrations import House

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

Pair = tuple[str, str]
# The one big schema declares its own MetaData.
BIG = EVERYTHING + "\nm = Base.metadata\n"


def by_alembic(pairs: Sequence[Pair], folder: Path) -> list[dict[str, Any]]:
    """Alembic's answer to each pair, from its own environment, told all that it can be told."""
    file = folder / "pairs.json"
    file.write_text(json.dumps({"head": HEAD, "pairs": pairs}), encoding="utf-8")
    answer = in_release(environment("alembic", ALEMBIC), "alembic_probes.py", file)
    found: list[dict[str, Any]] = json.loads(answer)
    return found


def by_driftd(pairs: Sequence[Pair], folder: Path) -> list[list[str]]:
    """The differences that driftd finds for each pair, in the words of the probes."""
    answers = []
    for number, (before, after) in enumerate(pairs):
        house = House(folder / str(number))
        house.folder.mkdir(parents=True)
        house.run(built(before))
        house.models(built(before))
        house.apply()
        house.models(built(after))
        answers.append([told(one) for one in differences(house)])
    return answers


def counted(what: str, size: str, ours: int, theirs: int | None = None) -> None:
    """One row of the page."""
    rivals = None if theirs is None else {"Alembic": [float(theirs)]}
    record("What is missed and what is made up", what, size, [float(ours)], unit="", times=1, rivals=rivals, rates=False)  # fmt: skip


def row(name: str, *figures: object) -> str:
    """A line of the table."""
    return f"  {name:<34}" + "".join(f"{figure!s:>18}" for figure in figures)


def test_probes(tmp_path: Path) -> None:
    """Ways missed by family, and phantom differences; driftd's are asserted to be none."""
    lines = ["\n", row("changes by models", "ways", "driftd missed", "made up", "Alembic missed")]
    totals = [0, 0, 0, 0]
    for about, probes in BY_MODELS.items():
        there = [((code_of(p.before), code_of(p.after)), p.found) for p in probes]
        back = [((code_of(p.after), code_of(p.before)), p.back) for p in probes]
        pairs = [pair for pair, _ in [*there, *back]]
        found = by_driftd(pairs, tmp_path / about)
        # On the way back a UNIQUE that create_all made stands in the table; one that driftd made would be an index.
        wanted = [{tuple(names)} for _, names in there]
        wanted += [{p.back, tuple(map(opposite, p.found))} for p in probes]
        missed = sum(
            not any(set(said) >= set(n) for n in names) for said, names in zip(found, wanted, strict=True)
        )
        made_up = sum(
            min(len(set(said) - set(n)) for n in names) for said, names in zip(found, wanted, strict=True)
        )
        silent = sum(not answer["told"] for answer in by_alembic(pairs, tmp_path))
        figures = [len(pairs), missed, made_up, silent]
        size = f"{about}, {len(pairs)} ways"
        counted("differences missed", size, missed, silent)
        counted("differences made up", size, made_up)
        totals = [total + figure for total, figure in zip(totals, figures, strict=True)]
        lines.append(row(about, *figures))
    lines.append(row("all", *totals))
    lines += ["", row("no change", "schemas", "driftd phantom", "", "Alembic phantom")]
    schemas = sorted(
        {code_of(text) for probes in BY_MODELS.values() for p in probes for text in (p.before, p.after)}
    )
    alike = [(code_of(one), code_of(other)) for _, one, other in models_alike.ALIKE]
    for name, same in (
        ("right after create_all", [(text, text) for text in schemas]),
        ("the big schema", [(BIG, BIG)]),
        ("two spellings of one", [*alike, *[(other, one) for one, other in alike]]),
    ):
        mine = sum(len(said) for said in by_driftd(same, tmp_path / name))
        answers = by_alembic(same, tmp_path)
        theirs = sum(answer["found"] for answer in answers)
        schemas_hit = sum(answer["found"] > 0 for answer in answers)
        lines.append(row(name, len(same), mine, "", f"{theirs} in {schemas_hit}"))
        counted("differences where there are none", f"{name}, {len(same)} schemas", mine, theirs)
        totals[2] += mine
    sys.stdout.write("\n".join([*lines, ""]))
    assert totals[1:3] == [0, 0]
