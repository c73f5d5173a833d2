"""From hints to renames: what the models, the configuration or a flag say that was called otherwise. Pure.

A hint stays in the models for years. So it means a rename only while the database has the old name and not the new one.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.errors import PlanError
from driftengine.renames import EXCHANGE, Rename, folded, in_circle, ordered

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from driftengine.desired import Hint
    from driftengine.schema import Schema

Place = tuple[str, str]  # the key of a table, and that of a column or ""
Wishes = dict[
    Place, tuple[str, ...]
]  # by the new place, the former names in the order in which they are tried


@dataclass(frozen=True, slots=True)
class Twin:
    """A new name in the models, with the old one beside: both in the database, or (`Wanted.kept`) both in the models."""

    table: str
    column: str
    old: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be renamed, and where both names are there already.

    `kept` are those of which the database has the old name alone, and the models describe both: a copy, or a rename and
    something new under the old name.
    """

    renames: tuple[Rename, ...] = ()
    twins: tuple[Twin, ...] = ()
    kept: tuple[Twin, ...] = ()


def renames_wanted(
    wanted: Schema,
    actual: Schema,
    hints: Iterable[Hint],
    given: Mapping[str, str],
    done: Collection[tuple[str, str]] = (),
) -> Wanted:
    """The renames that the hints of the models, and what is `given` over them, ask for in this database.

    `given` goes from "table.column" or "table" to the former name. One whose former name is gone has been done; one whose
    former name the models still describe is none, unless that moves on itself. `done` are identities with former names of
    exchanges that have been carried out: nothing else tells that. Raises PlanError (`rename-unknown`, `rename-unclear`).
    """
    hints = tuple(hint for hint in hints if hint.renamed_from)
    if not hints and not given:
        return Wanted()
    wishes = _wishes(wanted, hints, given)
    tables = {place[0]: olds for place, olds in wishes.items() if not place[1]}
    names = {key: table.name for key, table in actual.tables.items()}
    news = {key: table.name for key, table in wanted.tables.items()}
    found, twins, kept = _settled("", tables, names, news, done)
    renames = [Rename(new, "", names[old], news[new]) for new, old in found.items()]
    both = [Twin(new, "", old) for new, old in twins.items()]
    reused = [Twin(new, "", old) for new, old in kept.items()]
    for key, table in wanted.tables.items():
        columns = {place[1]: olds for place, olds in wishes.items() if place[0] == key and place[1]}
        present = actual.tables.get(found.get(key, key))
        if columns and present is not None and not (key not in found and _moves_away(key, found)):
            names = {column.key: column.name for column in present.columns}
            spelled = {column.key: column.name for column in table.columns}
            inside, twins, kept = _settled(key, columns, names, spelled, done)
            renames += [Rename(key, new, names[old], spelled[new]) for new, old in inside.items()]
            both += [Twin(key, new, old) for new, old in twins.items()]
            reused += [Twin(key, new, old) for new, old in kept.items()]
    return Wanted(ordered(renames), tuple(both), tuple(reused))


def _moves_away(key: str, found: Mapping[str, str]) -> bool:
    return key in found.values()


def _wishes(wanted: Schema, hints: Iterable[Hint], given: Mapping[str, str]) -> Wishes:
    places: dict[str, Place] = {}
    for key, table in wanted.tables.items():
        places[folded(table.name)] = key, ""
        places |= {folded(f"{table.name}.{column.name}"): (key, column.key) for column in table.columns}
    found: Wishes = {}
    for hint in hints:
        place = places.get(folded(f"{hint.table}.{hint.column}" if hint.column else hint.table))
        if place is not None and hint.renamed_from:
            found[place] = hint.renamed_from
    for name, old in given.items():
        if folded(name) not in places:
            near = difflib.get_close_matches(folded(name), places, n=3)
            raise PlanError(
                f"a former name is given for {name}, which the models do not describe",
                code="rename-unknown",
                why=f"the nearest names are {', '.join(near)}" if near else "nothing is called so",
                fix="write it as table or table.column, by the new name",
            )
        found[places[folded(name)]] = (old,)
    return found


def _settled(
    table: str,
    wishes: Mapping[str, tuple[str, ...]],
    names: Mapping[str, str],
    news: Mapping[str, str],
    done: Collection[tuple[str, str]],
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The renames among some names, from new key to old; where the database has both names; and where the models have.

    `names` are those in the database, `news` those of the models, by key.
    """
    candidates: dict[str, str] = {}
    for new, olds in wishes.items():
        old = next((folded(old) for old in olds if _is_there(old, names, news[new])), None)
        if old is not None:
            candidates[new] = old
    found = dict(candidates)
    while True:
        away = set(found.values())
        left = {
            new: old
            for new, old in found.items()
            if old == new or ((new not in names or new in away) and (old not in news or old in found))
        }
        if left == found:
            break
        found = left
    _require_one_each(table, found, names, news)
    found = {new: old for new, old in found.items() if not _was_done(table, new, found, names, news, done)}
    twins = {
        new: old for new, old in candidates.items() if new not in found and new in names and old not in news
    }
    kept = {
        new: old for new, old in candidates.items() if new not in names and old in news and new not in found
    }
    return found, twins, kept


def _is_there(old: str, names: Mapping[str, str], new: str) -> bool:
    """True where the database has the former name; of two that differ in case alone, where it is spelled otherwise."""
    key = folded(old)
    return key in names and (key != folded(new) or names[key] != new)


def _was_done(
    table: str,
    new: str,
    found: Mapping[str, str],
    names: Mapping[str, str],
    news: Mapping[str, str],
    done: Collection[tuple[str, str]],
) -> bool:
    """True for an exchange of names that the history tells of: the names alone look the same before and after."""
    old = found[new]
    if not in_circle(new, found):
        return False
    one = Rename(table or new, new if table else "", names[old], news[new])
    return (f"{one.identity}{EXCHANGE}", one.old) in done


def _require_one_each(
    table: str, found: Mapping[str, str], names: Mapping[str, str], news: Mapping[str, str]
) -> None:
    claimed: dict[str, str] = {}
    for new, old in found.items():
        if old in claimed:
            before = f"{table}." if table else ""
            raise PlanError(
                f"{before}{news[claimed[old]]} and {before}{news[new]} both say that they were {names[old]}",
                code="rename-unclear",
                why="only one of them can hold what is there",
                fix="leave the hint renamed_from on one of them",
            )
        claimed[old] = new
