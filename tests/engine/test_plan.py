"""Plans: their order, their ids, what needs what, and what an approval reaches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import unprivileged
from driftengine import api
from driftengine.changes import Facts
from driftengine.dialects.sqlite.dialect import SqliteDialect
from driftengine.errors import PlanError, RehearsalError
from driftengine.operations import Plan, closed
from driftengine.plan import make_plan, questions
from support.migrations import House, kinds
from support.schemas import drift_between, schema_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from driftengine.changes import Change, Script
    from driftengine.schema import Schema

BEFORE = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, gone INT);"
    "CREATE TABLE old (id INTEGER PRIMARY KEY); CREATE INDEX i_old ON t (a);"
)
AFTER = (
    "CREATE TABLE p (id INTEGER PRIMARY KEY, extra INT); CREATE TABLE new (id INTEGER PRIMARY KEY);"
    "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INT REFERENCES new (id), CHECK (b > 0));"
    "CREATE INDEX i_b ON t (b); CREATE VIEW v AS SELECT b FROM t;"
    "CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;"
)


def plan_for(
    before: str,
    after: str,
    *,
    rows: Mapping[str, int] | None = None,
    policy: Mapping[str, str] | None = None,
) -> Plan:
    drift = drift_between(before, after, before)
    return make_plan(
        SqliteDialect(), drift, schema_of(after), schema_of(before), Facts(rows or {}), policy=policy
    )


def number_of(plan: Plan, kind: str, name: str) -> int:
    (found,) = [o.number for o in plan.operations if (o.judgement.kind, o.difference.name) == (kind, name)]
    return found


def test_operations_stand_in_the_order_in_which_they_can_be_done() -> None:
    """New tables first, then each table's own changes together, indexes, views, triggers; drops of tables last."""
    plan = plan_for(BEFORE, AFTER)
    order = [o.judgement.kind for o in plan.operations]
    assert order[0] == "create_table"
    assert order[-1] == "drop_table"
    assert order.index("create_index") < order.index("create_view") < order.index("create_trigger")
    of_tables = [o.difference.table for o in plan.operations if o.difference.object in {"column", "check"}]
    assert of_tables == sorted(of_tables)
    assert max(order.index("add_column"), order.index("set_not_null")) < order.index("create_index")


def test_an_operation_needs_what_makes_its_table_and_columns() -> None:
    """An index, a CHECK and a foreign key over a new column need it; a foreign key needs its new parent too."""
    plan = plan_for(BEFORE, AFTER)
    by_number = {o.number: o for o in plan.operations}
    column = number_of(plan, "add_column", "b")
    index = by_number[number_of(plan, "create_index", "i_b")]
    assert index.needs == {column}
    (check,) = [o for o in plan.operations if o.judgement.kind == "add_check"]
    assert check.needs == {column}
    (key,) = [o for o in plan.operations if o.judgement.kind == "add_foreign_key"]
    assert key.needs == {column, number_of(plan, "create_table", "new")}


def test_closed_leaves_out_whatever_needs_what_is_left_out() -> None:
    """What needs a missing operation goes too, and what needs that one; the rest stays."""
    plan = plan_for(BEFORE, AFTER)
    everything = {o.number for o in plan.operations}
    assert closed(plan.operations, everything) == everything
    table = number_of(plan, "create_table", "new")
    left = closed(plan.operations, everything - {table})
    kinds_left = {o.judgement.kind for o in plan.operations if o.number in left}
    assert "add_foreign_key" not in kinds_left
    assert {"add_column", "create_index", "add_check"} <= kinds_left
    column = number_of(plan, "add_column", "b")
    left = closed(plan.operations, everything - {column})
    others = [o.judgement.kind for o in plan.operations if o.number in left]
    assert not {"create_index", "add_check", "add_foreign_key"} & set(others)


def test_what_needs_a_held_operation_waits_for_it_by_id() -> None:
    """It is shown as held with the id for which it waits, and goes ahead once that one is approved."""
    before, after = "CREATE TABLE t (a INT)", "CREATE TABLE t (a INT, b INT NOT NULL, UNIQUE (b))"
    plan = plan_for(before, after, rows={"t": 2})
    column, unique = plan.operations
    assert column.judgement.hold
    assert unique.waits_for == {column.number}
    document = plan.as_document()["operations"][1]
    assert (document["held"], document["waits_for"]) == (True, [plan.operation_id(column.number)])
    assert plan.runnable() == ()
    assert {o.number for o in plan.runnable([column.number])} == {column.number, unique.number}


def test_what_only_reads_does_not_wait() -> None:
    """A held drop of another column of the table holds up nothing else."""
    plan = plan_for(BEFORE, AFTER)
    held = {o.judgement.code for o in plan.operations if o.judgement.hold}
    assert held == {"drop-table", "drop-column"}
    assert len(plan.runnable()) == len(plan.operations) - 2


def test_approvals_by_id_and_by_code() -> None:
    """An id names one operation, a code all of its operations; other words are refused with the reason."""
    before = "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); CREATE TABLE u (id INTEGER PRIMARY KEY)"
    plan = plan_for(before, "CREATE TABLE t (id INTEGER PRIMARY KEY)")
    first = number_of(plan, "drop_column", "a")
    assert plan.approved([plan.operation_id(first)]) == {first}
    assert plan.approved(["drop-column"]) == {first, number_of(plan, "drop_column", "b")}
    assert plan.approved(["drop-table", plan.operation_id(first)]) == {
        first, number_of(plan, "drop_table", "u"),
    }  # fmt: skip
    for word, why in (("0123456789ab-1", "another one"), ("add-nothing", "no operation has that id or code")):
        with pytest.raises(PlanError, match=why) as caught:
            plan.approved([word])
        assert caught.value.code == "approval-unknown"


def test_a_manual_operation_is_never_runnable() -> None:
    """Nobody's approval makes possible what cannot be expressed."""
    plan = plan_for("CREATE VIRTUAL TABLE t USING fts5(a)", "CREATE VIRTUAL TABLE t USING fts5(a, b)")
    assert plan.risk == "manual"
    assert plan.runnable([1]) == ()


def test_an_ignored_difference_makes_no_operation() -> None:
    """Policy `ignore` takes it out of the plan; names are compared without case, numbers have no gap."""
    everything = plan_for(BEFORE, AFTER)
    plan = plan_for(BEFORE, AFTER, policy={"T": "ignore", "drop-table": "ignore"})
    assert {o.difference.table for o in plan.operations} == {"new", "p", ""}
    assert [o.number for o in plan.operations] == list(range(1, len(plan.operations) + 1))
    assert plan.id != everything.id


def test_the_risk_of_a_plan_is_its_highest() -> None:
    """From low to high: safe, guarded, destructive, manual."""
    assert Plan(()).risk == "safe"
    assert plan_for("CREATE TABLE t (a)", "CREATE TABLE t (a, b)").risk == "safe"
    assert plan_for("CREATE TABLE t (a)", "CREATE TABLE t (a, b, UNIQUE (a))").risk == "guarded"
    assert plan_for(BEFORE, AFTER).risk == "destructive"


def test_the_rows_are_asked_only_where_they_decide() -> None:
    """Rows are counted for new NOT NULL columns, keys and storage; NULL is looked for where it will be refused."""
    asked = questions(drift_between(BEFORE, AFTER, BEFORE))
    assert asked.columns == {("t", "a")}
    assert asked.tables == {"t"}
    asked = questions(drift_between("CREATE TABLE t (a INT)", "CREATE TABLE t (a INT, b INT NOT NULL)"))
    assert asked.tables == {"t"}
    assert not asked.columns


STAND = """
import json, sys
from pathlib import Path
from driftengine.changes import Facts
from driftengine.dialects.sqlite.dialect import SqliteDialect
from driftengine.plan import make_plan
from support.schemas import drift_between, schema_of
before, after = json.loads(sys.argv[1])
drift = drift_between(before, after, before)
print(make_plan(SqliteDialect(), drift, schema_of(after), schema_of(before), Facts({"t": 3})).id)
"""


def test_ids_are_the_same_in_every_process() -> None:
    """Whatever the order of Python's sets: the same input gives the same plan id."""
    tests = str(unprivileged.ENGINE.parent / "tests")
    after = AFTER.replace("a TEXT NOT NULL", "a INTEGER NOT NULL CHECK (a > b AND id > 0)")
    ids = {
        subprocess.run(
            [sys.executable, "-B", "-c", STAND, json.dumps([BEFORE, after])],
            capture_output=True,
            text=True,
            check=True,
            env={
                **os.environ,
                "PYTHONPATH": f"{unprivileged.ENGINE}{os.pathsep}{tests}",
                "PYTHONHASHSEED": seed,
            },
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert ids == {f"{plan_for(BEFORE, after, rows={'t': 3}).id}\n"}


def test_another_start_or_another_end_is_another_plan() -> None:
    """The id is a hash of the content and of what the plan starts from, also of what it does not touch."""
    first = plan_for("CREATE TABLE t (a)", "CREATE TABLE t (a, b)")
    assert first.id == plan_for("CREATE TABLE t (a)", "CREATE TABLE t (a, b)").id
    elsewhere = plan_for(
        "CREATE TABLE t (a); CREATE TABLE x (n)", "CREATE TABLE t (a, b); CREATE TABLE x (n)"
    )
    other_end = plan_for("CREATE TABLE t (a)", "CREATE TABLE t (a, b INT)")
    assert len({first.id, elsewhere.id, other_end.id}) == 3


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_plan_that_no_longer_fits_is_refused(house: House) -> None:
    """`--plan` names what was looked at: when models or database have changed since, nothing is done."""
    house.run("CREATE TABLE t (a INT); INSERT INTO t VALUES (1)")
    house.models("CREATE TABLE t (a INT, b INT)")
    seen = house.plan()["plan"]["id"]
    house.models("CREATE TABLE t (a INT, b INT, c INT)")
    before = house.everything()
    with pytest.raises(PlanError, match="no longer fits") as caught:
        api.apply(house.target(), plan_id=seen)
    assert caught.value.code == "plan-stale"
    assert (house.everything(), house.backups()) == (before, [])
    current = house.plan()["plan"]["id"]
    assert api.apply(house.target(), plan_id=current)["outcome"] == "migrated"
    with pytest.raises(PlanError, match="nothing left to do"):
        api.apply(house.target(), plan_id=current)


def test_policy_from_the_target_reaches_apply(house: House) -> None:
    """hold: it waits; ignore: it is neither done nor reported as waiting; allow: it is done."""
    house.run("CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 2)")
    house.models("CREATE TABLE t (a INT, c TEXT)")
    held = house.apply(policy={"add-column": "hold"})
    assert (held["outcome"], kinds(held, "held")) == ("held", ["add_column", "drop_column"])
    ignored = house.apply(policy={"t": "ignore"})
    assert (ignored["outcome"], ignored["held"], ignored["plan_id"]) == ("up_to_date", [], None)
    assert kinds(house.apply(policy={"drop-column": "allow"})) == ["add_column"]
    allowed = house.apply(policy={"drop-column": "allow", "extra-constraint": "allow"})
    assert (allowed["outcome"], sorted(kinds(allowed))) == ("migrated", ["drop_column"])
    assert house.ask("SELECT * FROM t") == [(1, None)]


def test_an_id_out_of_an_applys_answer_can_be_approved(house: House) -> None:
    """What an apply left held is approved under the id that its answer showed, also after it was migrated."""
    house.run("CREATE TABLE t (a INT, b INT); INSERT INTO t VALUES (1, 2)")
    house.models("CREATE TABLE t (a INT, c TEXT)")
    first = house.apply()
    (held,) = first["held"]
    assert (first["outcome"], held["kind"], held["count"]) == ("migrated", "drop_column", 1)
    second = house.apply(held["operation"])
    assert (second["outcome"], kinds(second)) == ("migrated", ["drop_column"])
    house.models("CREATE TABLE t (a INT)")
    with pytest.raises(PlanError, match="names no operation"):
        house.apply(held["operation"])


class Wordless(SqliteDialect):
    """A dialect that cannot write a statement for one table."""

    def script(
        self, desired: Schema, actual: Schema, changes: Sequence[Change], *, catalogue_edits: bool = True
    ) -> Script:
        """Refuses whatever concerns the table `u`."""
        if any(change.difference.table == "u" for change in changes):
            raise RehearsalError("u cannot be edited", code="rehearsal-failed")
        return super().script(desired, actual, changes, catalogue_edits=catalogue_edits)


def test_what_cannot_be_written_is_left_to_a_person() -> None:
    """An operation without statements is manual and tells why; the rest of the plan goes on."""
    before = "CREATE TABLE t(id INTEGER PRIMARY KEY); CREATE TABLE u(id INTEGER PRIMARY KEY)"
    after = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); CREATE TABLE u(id INTEGER PRIMARY KEY, a)"
    plan = make_plan(Wordless(), drift_between(before, after), schema_of(after), schema_of(before), Facts())
    found = {o.difference.table: o for o in plan.operations}
    assert [o.difference.table for o in plan.runnable()] == ["t"]
    assert (found["u"].judgement.risk, found["u"].judgement.code) == ("manual", "unreadable-table")
    assert "cannot be edited" in found["u"].judgement.reason
