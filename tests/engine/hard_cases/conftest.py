"""A rig for every test: in WAL and under a rollback journal, beside a service that stays connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.hard_cases import Rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["wal", "delete"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """An empty rig; `begin` fills it."""
    made = Rig(tmp_path, journal=str(request.param))
    yield made
    made.close()


@pytest.fixture
def wal_rig(tmp_path: Path) -> Iterator[Rig]:
    """The same in WAL alone, for what does not depend on the journal."""
    made = Rig(tmp_path)
    yield made
    made.close()
