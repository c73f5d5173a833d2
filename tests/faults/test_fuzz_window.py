"""What starters and the daemon read of each other, altered: bodies of locks, answers in files. The service starts anyway."""

from __future__ import annotations

import json
import math
import os
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from driftd import lock_file
from driftd.startup import answers, told
from driftd.startup.opened import LONGEST, opened
from driftd.startup.starter import Starter
from support.random_bytes import DEEP, LONG_NUMBER, altered_bytes, altered_json
from support.random_depth import depth
from support.sidecars import WIDER, house, make, running
from support.starters import starting
from support.tries import tried
from support.window_ends import answering_in_files, database_file, done

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = st.integers(0, 2**32 - 1)
BODY = {
    "id": "9f3c51", "pid": 4242, "started": 12.5, "boot_id": "b", "host": "h", "since": "2026-03-01T09:00:00Z",
    "until": "2026-03-01T09:00:15Z", "until_monotonic": 1015.0, "socket": False,
}  # fmt: skip
OPERATION = {
    "operation": "p-1", "kind": "add_column", "table": "task", "name": "due", "code": "add-column", "reason": "why",
    "rows": [], "count": 1,
}  # fmt: skip
ANSWER = {
    "schema_version": 1, "target": "app", "database": "/srv/app.db", "outcome": "migrated", "operations": 1, "duration_ms": 2.5,
    "migration_id": "m", "plan_id": "p", "backup": {"id": "b", "path": "/b", "sha256": "0", "verified": True},
    "applied": [OPERATION], "held": [OPERATION, {**OPERATION, "code": "in-use"}], "blocked": [OPERATION], "dry_run": False,
    "warnings": ["w"], "error": {"code": "c", "what": "w", "why": "y", "fix": "f"}, "by": "daemon", "stage": "exact",
}  # fmt: skip
BODIES = (
    b"",
    b"\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b"\xff\n",
    DEEP.encode()[:4_000] + b"\n",
    LONG_NUMBER.encode()[:4_000] + b"\n",
    b"{",
    b"x" * 9_000,
)


@given(seed=SEEDS)
@depth(300)
def test_a_body_of_any_shape_is_a_window_of_an_hour_at_most_or_none(seed: int) -> None:
    """Ids, times, zones and numbers of any kind: what is read of them is a text and a deadline that is near."""
    body = altered_json(Random(seed), BODY)  # noqa: S311 - the same tries for the same seed
    found = opened(body if isinstance(body, dict) else {}, seen=1_000.0, wall=1_772_355_600.0, boot_id="b")
    assert found is None or (0 < len(found.id) <= 200 and math.isfinite(found.deadline_at))
    assert found is None or 1_000.0 <= found.deadline_at <= 1_000.0 + LONGEST
    tried("window: a body of any shape")


@given(seed=SEEDS)
@depth(400)
def test_an_answer_of_any_shape_is_told_or_is_none(seed: int) -> None:
    """What counts as an answer can be told to people, in lines that move no cursor."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    found = altered_json(chance, ANSWER)
    if chance.random() < 0.5:
        found = altered_json(chance, found)
    if isinstance(found, dict) and answers.is_answer(found):
        lines = told.lines(answers.whole(found, "w", "/srv/app.db", "daemon"), " --target app")
        assert all(line.isprintable() for line in lines)
        told.is_quiet(found)
    tried("window: an answer of any shape")


@given(seed=SEEDS)
@depth(10)
def test_a_starter_believes_no_altered_answer(seed: int) -> None:
    """The right one comes behind it in the file: the starter waits for that, or takes what is an answer all the same."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    altered = altered_json(chance, ANSWER)
    wrong = altered if isinstance(altered, dict) else {"outcome": altered}
    with (
        database_file() as database,
        answering_in_files(database, wrong, {"outcome": "up_to_date", "operations": 0}),
        Starter(str(database), timeout=20) as starter,
    ):
        answer = starter.answer(done)
        assert answer["id"] == starter.id
        assert answers.is_answer(answer)
        assert answer["outcome"] in {"up_to_date", wrong.get("outcome")}
    tried("window: an altered answer in the file")


@given(seed=SEEDS)
@depth(8)
def test_a_daemons_lock_with_any_body_delays_nobody_past_the_deadline(seed: int) -> None:
    """Who holds it says nothing that can be read: the service starts at its deadline, and knows that it knows nothing."""
    chance = Random(seed)  # noqa: S311 - the same tries for the same seed
    body = {
        "pid": chance.choice([1, -1, 10**30, True, None, "x", 2**31]),
        "socket": chance.choice(["", "x", "/dev/null", 5, "\0", "x" * 500]),
    }
    raw = chance.choice(
        [
            *BODIES,
            altered_bytes(chance, json.dumps(body).encode() + b"\n"),
            *[json.dumps(body).encode() + b"\n"] * 9,
        ]
    )
    with database_file() as database:
        path = f"{database}{lock_file.DAEMON}"
        descriptor = lock_file.open_lock(path, str(database))
        try:
            assert lock_file.try_lock(descriptor)
            os.pwrite(descriptor, raw, 0)
            with Starter(str(database), timeout=0.4) as starter:
                assert starter.answer(done)["outcome"] == "unknown"
        finally:
            os.close(descriptor)
    tried("window: a daemon's lock with a body of any shape")


def test_a_daemon_answers_the_right_window_among_altered_ones(tmp_path: Path) -> None:
    """Lock files with bodies that are none open no window and change nothing; the next service is served as ever."""
    make(tmp_path / "app.db")
    sidecar, chance = house(tmp_path, models=WIDER), Random(3)  # noqa: S311 - the same tries each time
    with running(sidecar):
        sidecar.state("ready")
        before = (tmp_path / "app.db").read_bytes()
        odd: tuple[object, ...] = (None, [], {}, 1e999, "", "x" * 300, True)
        raws = [
            *BODIES,
            *(json.dumps({**BODY, chance.choice(("id", "until")): one}).encode() + b"\n" for one in odd),
        ]
        for raw in raws:
            with starting(tmp_path / "app.db", socket=False) as service:
                os.ftruncate(service.descriptor, 0)
                os.pwrite(service.descriptor, raw, 0)
                service.knock()
                assert sidecar.error("window", window="9f3c51", target="app")["code"] == "window-closed"
                assert (tmp_path / "app.db").read_bytes() == before
            tried("window: a lock with an altered body, and a daemon that looks")
        with starting(tmp_path / "app.db", socket=False) as service:
            service.knock()
            assert service.read()["outcome"] == "migrated"
        assert "Traceback" not in sidecar.log
