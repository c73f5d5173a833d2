"""From hints to renames, and from renames to differences, by values alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from driftengine.changes import ADD, RENAME, Rename, rename_of
from driftengine.desired import Hint
from driftengine.dialects.chosen import DIALECT
from driftengine.dialects.sqlite import scratch
from driftengine.diff import Base
from driftengine.errors import PlanError, RehearsalError
from driftengine.hinted import Twin, renames_wanted
from driftengine.renames import compared, identity_moved, inverse, ordered, touches

if TYPE_CHECKING:
    from driftengine.schema import Schema


def schema(ddl: str) -> Schema:
    """What these statements make."""
    return DIALECT.understand(scratch.build((), [("ddl", ddl)]))


def wanted_of(models: str, database: str, **given: str) -> list[tuple[str, str, str]]:
    """(place, old, new) of what is renamed; `given` with __ for the dot."""
    names = {place.replace("__", "."): old for place, old in given.items()}
    found = renames_wanted(schema(models), schema(database), (), names)
    return [
        (f"{one.table}.{one.column}" if one.column else one.table, one.old, one.new) for one in found.renames
    ]


@pytest.mark.parametrize(
    ("models", "database", "given", "expected"),
    [
        ("CREATE TABLE t(b)", "CREATE TABLE t(a)", {"t__b": "a"}, [("t.b", "a", "b")]),
        ("CREATE TABLE t(B)", "CREATE TABLE t(A)", {"T__b": "a"}, [("t.b", "A", "B")]),
        ("CREATE TABLE u(b)", "CREATE TABLE t(a)", {"u": "t", "u__b": "a"}, [("u", "t", "u"), ("u.b", "a", "b")]),
        ("CREATE TABLE u(b)", "CREATE TABLE u(a)", {"u": "t", "u__b": "a"}, [("u.b", "a", "b")]),
        ("CREATE TABLE t(b, c)", "CREATE TABLE t(a, b)", {"t__b": "a", "t__c": "b"}, [("t.c", "b", "c"), ("t.b", "a", "b")]),
        ("CREATE TABLE t(b, c)", "CREATE TABLE t(b, c)", {"t__b": "a", "t__c": "b"}, []),
        ("CREATE TABLE t(b, c)", "CREATE TABLE t(a, c)", {"t__b": "a", "t__c": "b"}, [("t.b", "a", "b")]),
        ("CREATE TABLE t(a, b)", "CREATE TABLE t(a)", {"t__b": "a"}, []),
        ("CREATE TABLE t(b)", "CREATE TABLE t(a, b)", {"t__b": "a"}, []),
        ("CREATE TABLE t(b)", "CREATE TABLE t(b)", {"t__b": "a"}, []),
        ("CREATE TABLE t(b)", "CREATE TABLE t(B)", {"t__b": "B"}, [("t.b", "B", "b")]),
        ("CREATE TABLE t(b)", "CREATE TABLE t(b)", {"t__b": "B"}, []),
        ("CREATE TABLE b(x); CREATE TABLE c(y)", "CREATE TABLE a(x); CREATE TABLE b(y)", {"b": "a", "c": "b", "c__y": "z"}, [("c", "b", "c"), ("b", "a", "b")]),
        ("CREATE TABLE b(y); CREATE TABLE c(y)", "CREATE TABLE b(x)", {"c": "b", "b__y": "x"}, [("b.y", "x", "y")]),
        ("CREATE TABLE a(x); CREATE TABLE b(x)", "CREATE TABLE a(x); CREATE TABLE b(x)", {"a": "b", "b": "a"}, [("b", "a", "b"), ("a", "b", "a")]),
    ],
)  # fmt: skip
def test_when_a_former_name_means_a_rename(
    models: str, database: str, given: dict[str, str], expected: list[tuple[str, str, str]]
) -> None:
    """While the database has the old name, the models have not, and the new one is free or made free."""
    assert sorted(wanted_of(models, database, **given)) == sorted(expected)


def test_former_names_are_tried_in_order() -> None:
    """The first that the database has counts."""
    hints = (Hint("t", "c", ("b", "a")),)
    for database, old in (
        ("CREATE TABLE t(a)", "a"),
        ("CREATE TABLE t(b)", "b"),
        ("CREATE TABLE t(a, b)", "b"),
    ):
        [one] = renames_wanted(schema("CREATE TABLE t(c)"), schema(database), hints, {}).renames
        assert one.old == old


def test_both_names() -> None:
    """Where both are there and the models have given the old one up, that is told apart from a rename."""
    found = renames_wanted(schema("CREATE TABLE t(b)"), schema("CREATE TABLE t(a, b)"), (), {"t.b": "a"})
    assert found.twins == (Twin("t", "b", "a"),)


def test_an_exchange_is_known_to_be_done() -> None:
    """By the history alone."""
    both = schema("CREATE TABLE t(a, b)")
    given = {"t.a": "b", "t.b": "a"}
    assert len(renames_wanted(both, both, (), given).renames) == 2
    done = {("column|t|a|rename|exchange", "b"), ("column|t|b|rename|exchange", "a")}
    assert renames_wanted(both, both, (), given, done).renames == ()


def test_a_wrong_place() -> None:
    """It is refused, with the nearest name; an old name that is nowhere is no mistake."""
    with pytest.raises(PlanError, match=r"the nearest names are t\.bee") as told:
        wanted_of("CREATE TABLE t(bee)", "CREATE TABLE t(a)", t__be="a")
    assert told.value.code == "rename-unknown"
    assert wanted_of("CREATE TABLE t(bee)", "CREATE TABLE t(a)", t__bee="x") == []


def test_the_way_back() -> None:
    """The inverse of the inverse is the way itself, and it is carried out in the order that works."""
    way = ordered((Rename("u", "", "t", "u"), Rename("u", "b", "a", "b"), Rename("u", "c", "b", "c")))
    assert [one.new for one in way] == ["u", "c", "b"]
    assert inverse(inverse(way)) == way
    before = schema("CREATE TABLE t(a, b)")
    after = DIALECT.renamed(before, way)
    assert DIALECT.renamed(after, ordered(inverse(way))).tables["t"].columns == before.tables["t"].columns


def test_renames_stand_in_front_and_the_rest_is_told_under_the_new_names() -> None:
    """A table and a column, with a type that changed and a column that comes."""
    renames = (Rename("u", "", "t", "u"), Rename("u", "b", "a", "b"))
    drift = compared(
        DIALECT,
        schema("CREATE TABLE u(b TEXT, c INT)"),
        schema("CREATE TABLE t(a VARCHAR)"),
        None,
        (),
        renames,
    )
    told = [(d.change, d.object, d.table, d.name, d.aspect) for d in drift.differences]
    assert told == [
        (RENAME, "table", "u", "u", ""),
        (RENAME, "column", "u", "b", ""),
        ("change", "column", "u", "b", "type"),
        (ADD, "column", "u", "c", ""),
    ]
    assert drift.differences[0].detail == "t → u"
    assert tuple(rename_of(d) for d in drift.differences[:2]) == drift.renames == renames


def test_what_does_not_fit_is_no_rename() -> None:
    """Neither an old name that is gone, nor a new one that nobody wants, nor what the configuration ignores."""
    wanted, actual = schema("CREATE TABLE t(b)"), schema("CREATE TABLE t(a)")
    one = Rename("t", "b", "a", "b")
    assert compared(DIALECT, wanted, actual, None, (), (Rename("t", "b", "x", "b"),)).renames == ()
    assert compared(DIALECT, wanted, actual, None, (), (Rename("t", "x", "a", "x"),)).renames == ()
    for pattern in ("t", "t.b", "t.a"):
        assert compared(DIALECT, wanted, actual, None, (pattern,), (one,)).renames == ()
    assert compared(DIALECT, wanted, actual, None, (), (one,)).renames == (one,)


def test_origins_under_new_names() -> None:
    """Base is renamed likewise: what somebody changed in the renamed table is still theirs."""
    before = schema("CREATE TABLE t(a TEXT, z INT)")
    base = Base(before, before, frozenset({"column|t|gone|remove|"}))
    actual = schema("CREATE TABLE t(a VARCHAR, z INT, mine, gone)")
    drift = compared(
        DIALECT,
        schema("CREATE TABLE u(b TEXT, z REAL)"),
        actual,
        base,
        (),
        (Rename("u", "", "t", "u"), Rename("u", "b", "a", "b")),
    )
    origins = {(d.name, d.change): (d.origin, d.known) for d in drift.differences}
    assert origins["u", RENAME] == ("models", True)
    assert origins["b", RENAME] == ("models", True)
    assert origins["b", "change"] == ("database", True)
    assert origins["z", "change"] == ("models", True)
    assert origins["mine", "remove"] == ("database", False)
    assert origins["gone", "remove"][1]


def test_one_that_is_refused_does_not_stop_the_others() -> None:
    """It is a difference with the database's message, and its place in the models waits for it."""
    drift = compared(
        DIALECT,
        schema("CREATE TABLE u(a); CREATE TABLE w(a)"),
        schema("CREATE TABLE t(a); CREATE INDEX u ON t(a); CREATE TABLE v(a)"),
        None, (), (Rename("u", "", "t", "u"), Rename("w", "", "v", "w")),
    )  # fmt: skip
    refused, going, new = drift.differences
    assert (refused.aspect, going.aspect, new.change) == ("refused", "", ADD)
    assert "already another table or index" in refused.detail
    assert touches(new, rename_of(refused))
    with pytest.raises(RehearsalError):
        DIALECT.renamed(schema("CREATE TABLE t(a); CREATE INDEX u ON t(a)"), (rename_of(refused),))


def test_identities_move() -> None:
    """That of a column, and of what stands in a renamed table."""
    renames = (Rename("u", "", "t", "u"), Rename("u", "b", "a", "b"))
    assert identity_moved("column|t|a|change|type", renames) == "column|u|b|change|type"
    # As a row from before names were escaped has it, and as it is written.
    for one in ("check|t|x|y|remove|", r"check|t|x\|y|remove|"):
        assert identity_moved(one, renames) == r"check|u|x\|y|remove|"
    assert identity_moved("column|other|a|remove|", renames) == "column|other|a|remove|"
