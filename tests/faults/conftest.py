"""What the tests of faults share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.faultline.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def runs() -> Iterator[Runs]:
    """The template from which every run of the command line is forked."""
    with Runs() as made:
        yield made
