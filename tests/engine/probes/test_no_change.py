"""What is equal in effect is no drift, however it is spelled, and makes neither a plan nor a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from probes import ddl_alike, models_alike
from probes.carrying import built
from support.migrations import House
from support.witness import assert_settled

if TYPE_CHECKING:
    from pathlib import Path


def same_both_ways(house: House, one: str, other: str) -> None:
    """A database made by either spelling serves the other, with a history and without."""
    house.run(one)
    for models in (other, one, other):
        house.models(models)
        seen = house.check()
        assert (seen["differences"], seen["in_sync"], seen["unmanaged"]) == ([], True, [])
    assert_settled(house)
    assert house.backups() == []


@pytest.mark.parametrize(
    ("one", "other"), [each[1:] for each in models_alike.ALIKE], ids=[each[0] for each in models_alike.ALIKE]
)
def test_two_spellings_of_the_models(tmp_path: Path, one: str, other: str) -> None:
    """Two ways to write the same model: whichever built the database, the other finds nothing to do."""
    for number, pair in enumerate(((one, other), (other, one))):
        (tmp_path / str(number)).mkdir()
        same_both_ways(House(tmp_path / str(number)), built(pair[0]), built(pair[1]))


@pytest.mark.parametrize(
    ("one", "other"), [each[1:] for each in ddl_alike.ALIKE], ids=[each[0] for each in ddl_alike.ALIKE]
)
def test_two_spellings_of_the_ddl(tmp_path: Path, one: str, other: str) -> None:
    """The same of DDL that people and other tools write."""
    for number, pair in enumerate(((one, other), (other, one))):
        (tmp_path / str(number)).mkdir()
        same_both_ways(House(tmp_path / str(number), journal="delete"), *pair)
