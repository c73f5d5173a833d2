"""Approvals outlive the process that was told, and end with the plan and the rows that they were given for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from driftengine import ahead, api, approvals, journal
from driftengine.approvals import Approval
from driftengine.backup_files import folder_for, journal_of
from driftengine.errors import HistoryError, PlanError
from driftengine.journal import Record
from support.migrations import House
from support.stages import prepared, reasons, session_of, staged

BEFORE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT);"
ROWS = "INSERT INTO t VALUES (1, 'x'), (2, 'y');"
GROWN = "INSERT INTO t VALUES (3, 'z'), (4, 'z'), (5, 'z');"


@pytest.fixture(params=["delete", "wal"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    house = House(tmp_path, journal=request.param)
    house.run(BEFORE + ROWS)
    house.models(BEFORE)
    return house


DROPPED = "CREATE TABLE t (id INTEGER PRIMARY KEY);"


def held(house: House) -> None:
    """The models wish to lose a column that they had."""
    house.models(BEFORE)
    house.apply()
    house.models(DROPPED)


def test_an_approval_survives_the_daemon(house: House) -> None:
    """Given to one session, known to the next, good for that plan: staged and applied with it."""
    held(house)
    with session_of(house) as session:
        looked = session.look()
        assert (looked["state"], looked["runnable"], looked["approved"]) == ("held", 0, [])
        assert (looked["held"][0]["code"], looked["held"][0]["count"]) == ("drop-column", 2)
        (given,) = session.approve(["drop-column"], by="user 1000")
        assert given == looked["held"][0]["operation"]
    assert api.approvals(house.target()) == {looked["plan_id"]: {given: Approval("user 1000", 2)}}
    assert api.history_verify(house.target())["ok"]
    with session_of(house) as session:
        looked = session.look()
        assert (looked["state"], looked["runnable"], looked["held"]) == ("drifted", 1, [])
        assert (looked["approved"], session.approved) == ([given], (given,))
        assert staged(session)["outcome"] == "ready"
        done = session.apply(allowed_by="a window")
        assert (done["outcome"], len(reasons(house))) == ("migrated", 1)
        looked = session.look()
        assert looked["in_sync"]
        assert looked["last_migration"]["migration_id"] == done["migration_id"]
        assert (looked["last_migration"]["operations"], looked["last_migration"]["allowed_by"]) == (
            1,
            "approved by user 1000; a window",
        )
    assert api.approvals(house.target()) == {}


def test_an_approval_ends_with_its_plan(house: House) -> None:
    """The same plan once more, after a restore: nobody has approved that."""
    held(house)
    backup = api.backup_create(house.target())["backup"]["id"]
    with session_of(house) as session:
        session.approve(["drop-column"], by="user 1000")
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"
        api.backup_restore(house.target(), backup)
        looked = session.look()
        assert (looked["state"], looked["approved"]) == ("held", [])
        assert session.apply(allowed_by="a test")["outcome"] == "held"


def test_an_approval_of_another_plan_is_passed_over(house: House) -> None:
    """The models move on: the approval does not count for the new plan, and does not stand in its way."""
    held(house)
    with session_of(house) as session:
        session.approve(["drop-column"], by="user 1000")
        house.models(DROPPED.replace(")", ", c INT)"))
        done = session.apply(allowed_by="a test")
        assert (done["outcome"], [one["code"] for one in done["held"]]) == ("migrated", ["drop-column"])


def test_an_approval_of_nothing_is_refused(house: House) -> None:
    """All or none: a wrong word beside a right one approves nothing."""
    held(house)
    with session_of(house) as session:
        with pytest.raises(PlanError) as caught:
            session.approve(["drop-column", "drop-colum"], by="user 1000")
        assert caught.value.code == "approval-unknown"
        assert session.look()["approved"] == []
    assert api.approvals(house.target()) == {}


def test_what_ends_an_approval() -> None:
    """A migration and a restore, whichever plan they were of, and withdrawing; no first meeting, backup or other approval."""
    given = [
        Record("approved", "", detail={"plan_id": "p", "operations": ["p-1"], "by": "a"}),
        Record("approved", "", detail={"plan_id": "p", "operations": ["p-2", "p-1"], "by": "b"}),
        Record("approved", "", detail={"plan_id": "q", "operations": ["q-1"], "by": "b"}),
    ]
    standing = {"p": {"p-1": Approval("a"), "p-2": Approval("b")}, "q": {"q-1": Approval("b")}}
    meeting = Record("migrated", "", detail={"hash": "h", "kind": "meeting"})
    assert approvals.standing([*given, meeting, Record("backup", ""), Record("restoring", "")]) == standing
    for event in (Record("migrated", "", detail={"hash": "h", "kind": "migration"}), Record("restored", "")):
        assert approvals.standing([*given, event]) == {}
        assert approvals.standing([*given, event, given[2]]) == {"q": {"q-1": Approval("b")}}
    withdrawn = Record("withdrawn", "", detail={"plans": ["p"]})
    assert approvals.standing([*given, withdrawn]) == {"q": {"q-1": Approval("b")}}


def test_approvals_that_cannot_be_read_approve_nothing(house: House) -> None:
    """The journal is no file: told as a warning, and the look goes on."""
    with session_of(house) as session:
        session.look()
        folder = Path(api.backup_create(house.target())["backup"]["path"]).parent
        (folder / "journal.jsonl").unlink()
        (folder / "journal.jsonl").mkdir()
        looked = session.look(fresh=True)
        assert looked["approved"] == []
        assert "approvals cannot be read" in looked["warnings"][0]


def test_an_approval_of_a_certain_plan_is_for_no_other(house: House) -> None:
    """What was shown is not what would be done any more: refused, and nothing is approved, by code neither."""
    held(house)
    with session_of(house) as session:
        shown = session.look()["plan_id"]
        house.models(DROPPED.replace(")", ", c INT)"))
        with pytest.raises(PlanError) as caught:
            session.approve(["drop-column"], by="user 1000", plan_id=shown)
        assert (caught.value.code, shown in caught.value.what) == ("plan-stale", True)
        assert api.approvals(house.target()) == {}
        now = session.look()["plan_id"]
        assert now in str(caught.value.why)
        assert session.approve(["drop-column"], by="user 1000", plan_id=now)


def events(house: House) -> list[str]:
    """The lines of the journal that tell of approvals."""
    records = journal.read(journal_of(folder_for(house.folder / "backups", house.database))).records
    return [record.event for record in records if record.event in {"approved", "withdrawn"}]


@pytest.mark.parametrize("meanwhile", [BEFORE, DROPPED.replace(")", ", c INT)")], ids=["none", "another"])
def test_an_approval_does_not_come_back_with_its_plan(house: House, meanwhile: str) -> None:
    """The models there and back: the same plan as before, and the look in between has ended the approval, once, for all."""
    held(house)
    with session_of(house) as session:
        plan = session.look()["plan_id"]
        session.approve(["drop-column"], by="user 1000")
        house.models(meanwhile)
        session.look()
        session.look(fresh=True)
        assert events(house) == ["approved", "withdrawn"]
        house.models(DROPPED)
        looked = session.look()
        assert (looked["plan_id"], looked["state"], looked["approved"]) == (plan, "held", [])
        assert session.apply(allowed_by="a test")["outcome"] == "held"
    assert house.apply()["outcome"] == "held"
    assert api.history_verify(house.target())["ok"]


def test_where_it_cannot_be_written_down_it_has_ended_all_the_same(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that cannot be written: a warning, no approval in this process, and a new one is for itself alone."""
    held(house)
    with session_of(house) as session:
        (given,) = session.approve(["drop-column"], by="user 1000")

        def full(*_: object) -> None:
            raise HistoryError("no", code="journal-unwritable", why="a test", fix="none")

        with monkeypatch.context() as patch:
            patch.setattr(approvals, "withdraw", full)
            house.models(BEFORE)
            assert "cannot be written down" in session.look()["warnings"][0]
            house.models(DROPPED)
            assert session.look()["approved"] == []
            assert session.apply(allowed_by="a test")["outcome"] == "held"
        assert session.approve(["drop-column"], by="user 2000") == (given,)
    (standing,) = api.approvals(house.target()).values()
    assert standing == {given: Approval("user 2000", 2)}


def test_mode_observe_ends_no_approval(house: House) -> None:
    """It writes nothing, and nothing of it is ever applied."""
    held(house)
    with session_of(house) as session:
        session.approve(["drop-column"], by="user 1000")
    house.models(BEFORE)
    with session_of(house, mode="observe") as session:
        assert session.look()["in_sync"]
    assert events(house) == ["approved"]


def test_far_more_rows_than_were_approved_are_held_again(house: House) -> None:
    """Told with both numbers, by a look, by an apply and by `driftd apply`; approved for as many, it goes ahead."""
    held(house)
    with session_of(house) as session:
        (given,) = session.approve(["drop-column"], by="user 1000")
        house.run(GROWN)
        looked = session.look()
        assert (looked["state"], looked["approved"], looked["held"][0]["count"]) == ("held", [], 5)
        (warning,) = looked["warnings"]
        assert given in warning
        assert "5 rows now, and 2 when user 1000" in warning
        done = session.apply(allowed_by="a test")
        assert (done["outcome"], done["warnings"]) == ("held", [warning])
    done = house.apply()
    assert (done["outcome"], done["warnings"]) == ("held", [warning])
    with session_of(house) as session:
        assert session.approve(["drop-column"], by="user 2000") == (given,)
    done = house.apply()
    assert done["outcome"] == "migrated"
    entry = api.history(house.target(), done["migration_id"])["migrations"][0]
    assert entry["allowed_by"] == "approved by user 2000; a test"


def test_fewer_rows_than_were_approved_are_approved(house: House) -> None:
    """What was allowed to go may become less, and more again up to twice that number."""
    held(house)
    with session_of(house) as session:
        given = session.approve(["drop-column"], by="user 1000")
        house.run("DELETE FROM t WHERE id = 1")
        assert session.look()["approved"] == list(given)
        house.run(GROWN)
        assert session.apply(allowed_by="a test")["outcome"] == "migrated"


def test_a_stage_that_was_made_for_more_rows_is_not_used(house: House) -> None:
    """Rows that come between the look that was approved and the stage's mark: the stage is exact, and still not theirs."""
    held(house)
    with session_of(house) as session:
        session.approve(["drop-column"], by="user 1000")
        house.run(GROWN)
        taken = session.begin_stage()
        made = prepared(session)
        session.end_stage()
        assert session.keep(made, taken)["stage"]["freshness"] == "exact"
        assert session.apply(allowed_by="a test")["outcome"] == "held"
    assert house.ask("SELECT count(a) FROM t") == [(5,)]


def test_a_stage_of_the_rest_says_which_approval_no_longer_counts(house: House) -> None:
    """The daemon shows the warnings of the last stage: what the look before it said is among them."""
    held(house)
    house.models(f"{DROPPED} CREATE TABLE beside (id INTEGER PRIMARY KEY);")
    with session_of(house) as session:
        session.approve(["drop-column"], by="user 1000")
        house.run(GROWN)
        (warning,) = session.look()["warnings"]
        assert staged(session)["warnings"] == [warning]


def test_rows_that_come_while_it_is_applied_are_counted_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second try, under the write lock, asks again."""
    held(house)
    with session_of(house) as session:
        session.approve(["drop-column"], by="user 1000")
        make = ahead.staged

        def busy(*args: object, **settings: object) -> object:
            monkeypatch.setattr(ahead, "staged", make)
            made = make(*args, **settings)  # type: ignore[arg-type]  # as it is called
            with closing(sqlite3.connect(house.database)) as service, service:
                service.execute(GROWN)
            return made

        monkeypatch.setattr(ahead, "staged", busy)
        assert session.apply(allowed_by="a test")["outcome"] == "held"
    assert house.ask("SELECT count(a) FROM t") == [(5,)]


def test_what_an_approval_is_worth() -> None:
    """The first name stays until somebody approves more rows; what is no number counts nothing."""
    first = Record(
        "approved", "", detail={"plan_id": "p", "operations": ["p-1"], "by": "a", "counts": {"p-1": 2}}
    )
    same = Record(
        "approved", "", detail={"plan_id": "p", "operations": ["p-1"], "by": "b", "counts": {"p-1": 2}}
    )
    more = Record(
        "approved", "", detail={"plan_id": "p", "operations": ["p-1"], "by": "b", "counts": {"p-1": 3}}
    )
    none = Record(
        "approved", "", detail={"plan_id": "p", "operations": ["p-1"], "by": "b", "counts": {"p-1": "x"}}
    )
    assert approvals.standing([first, same, none]) == {"p": {"p-1": Approval("a", 2)}}
    assert approvals.standing([first, more, same]) == {"p": {"p-1": Approval("b", 3)}}
    assert approvals.standing([none]) == {"p": {"p-1": Approval("b")}}


def test_what_lacks_a_value_cannot_be_approved(house: House) -> None:
    """There would still be none: the refusal says how to give one, and nothing is approved."""
    held(house)
    house.models("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, n INTEGER NOT NULL);")
    with session_of(house) as session:
        with pytest.raises(PlanError) as caught:
            session.approve(["value-needed"], by="user 1000")
        assert (caught.value.code, "t.n" in caught.value.what) == ("value-needed", True)
    assert api.approvals(house.target()) == {}
