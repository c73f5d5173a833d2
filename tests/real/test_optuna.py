"""Published releases of optuna, years apart: each database follows the next release's models, and nothing is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from real import outcomes, reading
from real.commands import in_release
from real.packages import release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from real.commands import Answer, Case

    Build = Callable[[str, str], Case]

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

OLD, LATER, NEWEST = "optuna-2.10.1", "optuna-3.6.2", "optuna-5.0.0"
TYPES = ("trial_intermediate_values.intermediate_value_type", "trial_values.value_type")
BACKFILL = [word for column in TYPES for word in ("--backfill", f"{column}='FINITE'")]


def studies(python: Path, database: Path) -> dict[str, Any]:
    """What the release's own storage reads from a copy of the database."""
    read = reading.copied(database, database.with_name("read") / "copy.db")
    try:
        found: dict[str, Any] = json.loads(in_release(python, "optuna_read.py", read))
    finally:
        read.unlink()
    return found


def apply_and_see_held(service: Case, *more: str) -> tuple[Answer, list[str]]:
    """Plan, then apply; the answer, and the "table.column" names of what waits, found by the plan's operation ids."""
    plan = service.run("plan", *more).document["plan"]
    operations = {operation["id"]: operation for operation in plan["operations"]}
    answer = service.run("apply", *more)
    waiting = [operations[held["operation"]] for held in answer.document["held"]]
    return answer, sorted(f"{operation['table']}.{operation['name']}" for operation in waiting)


def test_new_columns_that_nobody_can_fill_are_held(case: Build, described: Callable[[str], Path]) -> None:
    """2.10 to 3.6: two NOT NULL columns without any default wait, and say how to give a value; the rest is done."""
    service = case(OLD, LATER)
    before = reading.content(service.database)
    answer, held = apply_and_see_held(service)
    assert (answer.exit, answer.document["outcome"]) == (1, "migrated"), answer.document
    assert held == list(TYPES)
    assert all("backfill" in held["reason"] for held in answer.document["held"])
    outcomes.assert_rows_kept(service.database, before)
    outcomes.assert_backed_up(answer, service, before)
    relaxed = {("value", "FLOAT", 0, None, 0), ("intermediate_value", "FLOAT", 0, None, 0)}
    columns = {
        column
        for table in ("trial_values", "trial_intermediate_values")
        for column in reading.shape(service.database, table).columns
    }
    assert relaxed <= columns
    assert ("index", "ix_trials_study_id") in reading.stored(service.database)
    outcomes.assert_nothing_more_to_do(service, "held", 1)


@pytest.mark.parametrize("stopped_first", [False, True])
def test_a_backfill_completes_the_migration(
    stopped_first: bool, case: Build, described: Callable[[str], Path]
) -> None:
    """With a value for old rows, at once or after a run that was held, 2.10 becomes 3.6 exactly, and 3.6 reads it."""
    service = case(OLD, LATER)
    before = reading.content(service.database)
    known = studies(release(OLD), service.database)
    if stopped_first:
        assert service.run("apply").exit == 1
    answer = service.run("apply", *BACKFILL)
    assert (answer.exit, answer.document["outcome"]) == (0, "migrated"), answer.document
    outcomes.assert_follows(service.database, described(LATER))
    outcomes.assert_rows_kept(service.database, before)
    outcomes.assert_only_own_tables_are_new(service.database, described(LATER), before)
    for column in TYPES:
        table, name = column.split(".")
        values = {row[1:] for row in reading.rows(service.database, table, [name])}
        assert values == {("text", "FINITE")}
    assert reading.problems(service.database) == []
    assert studies(release(LATER), service.database) == known
    outcomes.assert_nothing_more_to_do(service)


def test_releases_with_the_same_schema_do_nothing(case: Build) -> None:
    """3.6 to 5.0, two years and another SQLAlchemy apart, is no drift: no backup, no history, no noise."""
    outcomes.assert_in_sync_from_the_start(case(LATER, NEWEST))


def test_going_back_to_an_older_release_loses_nothing(case: Build) -> None:
    """3.6's database under 2.10's models, probed by an old Python and SQLAlchemy 1.4: both columns' removal is held."""
    service = case(LATER, OLD)
    before = reading.content(service.database)
    answer, held = apply_and_see_held(service)
    assert answer.exit == 1, answer.document
    assert set(TYPES) <= set(held)
    outcomes.assert_rows_kept(service.database, before)
    outcomes.assert_nothing_more_to_do(service, "held", 1)


@pytest.mark.parametrize("name", [OLD, LATER, NEWEST])
def test_a_releases_own_database_is_in_sync(name: str, case: Build) -> None:
    """A database that a release made shows no drift; the version table of its own migrations is unmanaged."""
    service = case(name, name)
    outcomes.assert_in_sync_from_the_start(service)
    assert outcomes.unmanaged(service.run("check")) == {("table", "alembic_version")}
