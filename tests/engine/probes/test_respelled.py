"""Every schema of the probes in other spellings: the canonical forms are the same, whoever wrote the DDL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine.dialects.sqlite.introspect import read_schema
from driftengine.diff import compare
from probes.carrying import built
from probes.corpus import BY_DDL, BY_MODELS
from probes.respelling import respelled

if TYPE_CHECKING:
    from driftengine.schema import Schema
    from probes.record import Probe

SPELLINGS = 4


def schema_and_statements(script: str) -> tuple[Schema, list[str], frozenset[str]]:
    """What SQLite makes of a script, the statements that it keeps, and the folded names of everything."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(script)
        schema = read_schema(connection)
    kept = [row for row in schema.stored if row.sql and not row.name.startswith("sqlite_")]
    shadows = {key for key, table in schema.virtual_tables.items() if table.shadow_of}
    names = {*schema.tables, *schema.views, *schema.indexes, *schema.triggers}
    names |= {column.key for table in schema.tables.values() for column in table.columns}
    order = ["table", "index", "view", "trigger"]
    texts = sorted(
        (row for row in kept if row.name.lower() not in shadows), key=lambda r: order.index(r.type)
    )
    return schema, [row.sql or "" for row in texts], frozenset(names)


@pytest.mark.parametrize("about", BY_MODELS)
@pytest.mark.parametrize("models", [True, False], ids=["models", "ddl"])
def test_another_spelling_is_no_drift(about: str, *, models: bool) -> None:
    """Quotes, case, comments, white space and parentheses: compared in both directions, nothing differs."""
    probes: list[Probe] = (BY_MODELS if models else BY_DDL)[about]
    scripts = {built(text) if models else text for p in probes for text in (p.before, p.after)}
    compared = 0
    for script in sorted(scripts):
        schema, statements, names = schema_and_statements(script)
        for turn in range(SPELLINGS):
            text = ";\n".join(respelled(one, names, turn) for one in statements)
            other, _, _ = schema_and_statements(text)
            assert compare(schema, other).differences == (), text
            assert compare(other, schema).differences == (), text
            assert not any(table.problem for table in other.tables.values()), text
            compared += 2
    assert compared >= SPELLINGS * len(probes)
