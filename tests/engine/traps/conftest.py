"""A trap for every test: in WAL and under a rollback journal, beside a service that stays connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.traps import Trap

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def trap(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Trap]:
    """An empty trap; `begin` fills it."""
    made = Trap(tmp_path, journal=str(request.param))
    yield made
    made.close()


@pytest.fixture
def wal_trap(tmp_path: Path) -> Iterator[Trap]:
    """The same in WAL alone, for what does not depend on the journal."""
    made = Trap(tmp_path)
    yield made
    made.close()
