"""One change at a time: it is found as what it is and nothing else is, it is carried out, and so is the change back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probes.carrying import built, carry_there_and_back
from probes.corpus import BY_DDL, BY_MODELS
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path

    from probes.record import Probe


def _named(corpus: dict[str, list[Probe]]) -> list[object]:
    return [pytest.param(probe, id=f"{about}: {probe.name}") for about in corpus for probe in corpus[about]]


@pytest.mark.parametrize("probe", _named(BY_MODELS))
def test_a_change_of_the_models(tmp_path: Path, probe: Probe) -> None:
    """Each change that SQLAlchemy can express on SQLite is one difference (or the few it consists of), and goes."""
    carry_there_and_back(House(tmp_path), probe, built(probe.before), built(probe.after))


@pytest.mark.parametrize("probe", _named(BY_DDL))
def test_a_change_of_the_ddl(tmp_path: Path, probe: Probe) -> None:
    """The same of what only DDL can express, under a rollback journal."""
    carry_there_and_back(House(tmp_path, journal="delete"), probe, probe.before, probe.after)
