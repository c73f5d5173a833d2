"""Make an empty database as a release makes it: `python release_create.py create_all|migrations DATABASE SPEC ...`.

Prints, as JSON, what the types of the models demand of a value: {table: {column: what}}, where `what` is a list of the
words of an Enum, or the name of a kind.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

import sqlalchemy
from sqlalchemy import types

KINDS = (
    (types.JSON, "json"),
    (types.Boolean, "boolean"),
    (types.Integer, "integer"),
    (types.Float, "float"),
    (types.Numeric, "numeric"),
    (types.Interval, "datetime"),
    (types.DateTime, "datetime"),
    (types.Date, "date"),
    (types.LargeBinary, "binary"),
)


def kind_of(column_type: Any) -> Any:
    """What a value must be for this type to read it back; None where any text will do."""
    names = [base.__name__ for base in type(column_type).__mro__]
    if any("ENCRYPTED" in name.upper() for name in names):
        return "secret"
    found = [name.upper() for name in names if name.upper().startswith("JSON")]
    if found:
        return "json-list" if found[0] == "JSONLIST" else "json"
    if isinstance(column_type, types.TypeDecorator):
        return kind_of(column_type.load_dialect_impl(sqlalchemy.create_engine("sqlite://").dialect))
    if isinstance(column_type, types.Enum):
        return list(column_type.enums)
    return next((kind for known, kind in KINDS if isinstance(column_type, known)), None)


def main() -> None:
    """Make the database that the command line names."""
    origin, database, *specs = sys.argv[1:]
    found = [spec.split(":") for spec in specs]
    metadata = [getattr(importlib.import_module(module), attribute).metadata for module, attribute in found]
    tables = {table for one in metadata for table in one.tables.values()}
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    if origin == "migrations":
        from mlflow.store.db.utils import _initialize_tables

        _initialize_tables(engine)
    else:
        for table in tables:
            # No database can make an index that names no column.
            table.indexes = {index for index in table.indexes if list(index.expressions)}
        for one in metadata:
            one.create_all(engine)
    engine.dispose()
    kinds = {t.name: {c.name: kind_of(c.type) for c in t.columns if kind_of(c.type)} for t in tables}
    sys.stdout.write("\n" + json.dumps(kinds, sort_keys=True))


if __name__ == "__main__":
    main()
