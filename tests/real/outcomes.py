"""What must hold after every migration of a published release's database, asked without driftd's help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from real import reading

if TYPE_CHECKING:
    from pathlib import Path

    from real.commands import Answer, Case

Content = dict[str, tuple[list[str], list[reading.Row]]]
OWN_TABLES = {"driftd_history"}


def assert_follows(database: Path, described: Path) -> None:
    """Every table that `create_all` builds is there and equal in effect; every index of the models too."""
    wanted = reading.tables(described)
    assert set(wanted) <= set(reading.tables(database))
    assert {name: reading.shape(database, name) for name in wanted} == {
        name: reading.shape(described, name) for name in wanted
    }
    present = reading.stored(database)
    assert {
        key: sql for key, sql in reading.stored(described).items() if key[0] == "index"
    }.items() <= present.items()


def assert_rows_kept(database: Path, before: Content, *, dropped: frozenset[str] = frozenset()) -> None:
    """Each row of before is there under the same rowid, each value with the same storage class, and no row is new.

    `dropped` are the "table.column" names whose removal was approved.
    """
    for table, (columns, rows) in before.items():
        places = [place for place, column in enumerate(columns) if f"{table}.{column}" not in dropped]
        kept = [columns[place] for place in places]
        old = [(row[0], *(row[1 + 2 * place + part] for place in places for part in (0, 1))) for row in rows]
        now = reading.rows(database, table, kept)
        # The history alone grows by a row; what stands in it is never rewritten.
        assert (now[: len(old)] if table in OWN_TABLES else now) == old, table


def assert_only_own_tables_are_new(database: Path, described: Path, before: Content) -> None:
    """No temporary table or anything else is left behind."""
    expected = set(before) | set(reading.tables(described)) | OWN_TABLES
    assert set(reading.tables(database)) == expected


def assert_left_alone(database: Path, before: dict[tuple[str, str], str | None], names: set[str]) -> None:
    """Objects that the models do not describe still have the very same text."""
    after = reading.stored(database)
    assert {key: sql for key, sql in before.items() if key[1] in names} == {
        key: sql for key, sql in after.items() if key[1] in names
    }


def assert_backed_up(answer: Answer, case: Case, before: Content) -> None:
    """The backup that the answer names is where it says, is what it says, and holds all the old rows."""
    backup = answer.document["backup"]
    assert backup["verified"] is True
    path = case.folder / backup["path"]
    assert path in case.backups()
    assert reading.sha256(path) == backup["sha256"]
    assert reading.content(path) == before


def assert_nothing_more_to_do(case: Case, outcome: str = "up_to_date", code: int = 0) -> None:
    """A second apply changes nothing: no backup, no entry in the history, not a byte of the schema."""
    backups = case.backups()
    stored, content = reading.stored(case.database), reading.content(case.database)
    answer = case.run("apply")
    assert (answer.exit, answer.document["outcome"]) == (code, outcome), answer.document
    assert answer.document["backup"] is None
    assert answer.document["migration_id"] is None
    assert case.backups() == backups
    assert (reading.stored(case.database), reading.content(case.database)) == (stored, content)


def assert_in_sync_from_the_start(case: Case) -> None:
    """The first meeting may note what it saw, and does nothing else; every later run does nothing at all."""
    stored, content = reading.stored(case.database), reading.content(case.database)
    check = case.run("check")
    assert (check.exit, check.document["in_sync"], check.document["differences"]) == (0, True, [])
    answer = case.run("apply")
    assert (answer.exit, answer.document["outcome"]) == (0, "up_to_date"), answer.document
    after = reading.stored(case.database)
    assert stored == {key: sql for key, sql in after.items() if key[1] not in OWN_TABLES}
    assert content == {name: rows for name, rows in reading.content(case.database).items() if name in content}
    assert_nothing_more_to_do(case)
    assert case.backups() == []


def unmanaged(answer: Answer) -> set[tuple[str, str]]:
    """(type, name) of all that `check` reports as unmanaged."""
    return {(entry["type"], entry["name"]) for entry in answer.document["unmanaged"]}
