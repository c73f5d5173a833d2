"""Does every policy speak of something that there is: a code, or a table of the models or of the database?"""

from __future__ import annotations

import difflib
from contextlib import closing
from typing import TYPE_CHECKING

from driftd.doctor.findings import Finding, warning
from driftd.explain import operation_codes
from driftengine.dialects.sqlite import connect
from driftengine.errors import DriftError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from driftd.doctor.subject import Subject
    from driftengine.desired import Desired


def check_policy(desired: Desired, subject: Subject) -> list[Finding]:
    """A warning for each entry of `policy` that speaks of nothing. Looks at the database only where there is an entry."""
    if not subject.target.policy:
        return []
    tables = {stored.name for stored in desired.stored if stored.type == "table"} | _tables(subject)
    return [
        warning(
            f"the policy for {word} speaks of nothing",
            code="policy-unknown",
            why=f"it is neither a code nor a table of the models or the database{_nearest(word, tables)}",
            fix="correct it, or remove it: `driftd explain` lists the codes",
        )
        for word in unknown(subject.target.policy, tables)
    ]


def unknown(words: Iterable[str], tables: Collection[str]) -> list[str]:
    """The words that are neither a code of an operation nor one of the tables, in any case of letters."""
    known = {*operation_codes(), *(name.lower() for name in tables)}
    return [word for word in words if word.lower() not in known]


def _nearest(word: str, tables: Collection[str]) -> str:
    near = difflib.get_close_matches(word.lower(), [*operation_codes(), *sorted(tables)], n=1)
    return f"; the nearest is {near[0]}" if near else ""


def _tables(subject: Subject) -> set[str]:
    """The tables of the database; none where it cannot be read, of which another check tells."""
    location = connect.parse_url(subject.target.url, directory=subject.directory)
    try:
        if connect.state_of(location) != "present":
            return set()
        with (
            closing(connect.connect(location, write=False, timeout=1.0)) as connection,
            connect.translated(location),
        ):
            return {
                str(name)
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
                )
            }
    except DriftError:
        return set()
