"""How deep the random tests look: the same examples on every run, or new ones each time that `make fuzz` asks."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings

#: How many times as many examples, new ones on each run: set by `make fuzz`. What fails is then made small.
FUZZING = int(os.environ.get("DRIFTD_FUZZ") or 0)


def depth(examples: int, **more: Any) -> settings:
    """Settings for a random test that makes databases: so many examples, whatever time they take."""
    return settings(
        max_examples=examples * max(1, FUZZING),
        derandomize=not FUZZING,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, *[Phase.shrink] * bool(FUZZING)],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        **more,
    )
