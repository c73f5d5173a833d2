"""A house for every schema change: in WAL and under a rollback journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    """A database whose service has foreign keys on."""
    return House(tmp_path, journal=str(request.param))


@pytest.fixture
def wal_house(tmp_path: Path) -> House:
    """The same in WAL alone, for what does not depend on the journal."""
    return House(tmp_path)
