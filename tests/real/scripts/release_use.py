"""Use a database as a release's code does: `python release_use.py DATABASE SPEC ...`.

Every table of the models is read whole through its types, every mapped class through the ORM. Then one row of each
table is taken out and put in again, and a mapped object is made, saved and read, so that what the models write fits
the tables. All of it in one transaction that is rolled back; prints how many rows were read.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import sqlalchemy
from sqlalchemy.orm import Session

# What makes a new object by itself, by the module of the models: class and what it cannot do without.
NEW: dict[str, tuple[str, dict[str, Any]]] = {
    "optuna.storages._rdb.models": ("StudyModel", {"study_name": "made by the newer release"}),
    "mlflow.store.tracking.dbmodels.models": (
        "SqlExperiment",
        {"name": "made by the newer release", "lifecycle_stage": "active"},
    ),
    "jupyterhub.orm": ("User", {"name": "made by the newer release"}),
}


def read(session: Session, tables: list[Any]) -> int:
    """Read every row; returns how many there are."""
    return sum(len(session.execute(sqlalchemy.select(table)).fetchall()) for table in tables)


def put_again(session: Session, table: Any) -> None:
    """Take one row out and put it in again, through the types of the models."""
    row = session.execute(sqlalchemy.select(table).limit(1)).mappings().first()
    if row is None:
        return
    key = list(table.primary_key.columns) or list(table.columns)
    same = sqlalchemy.and_(*(column == row[column.name] for column in key))
    gone = session.execute(table.delete().where(same))
    assert gone.rowcount == 1, table.name
    computed = {column.name for column in table.columns if column.computed is not None}
    values = {name: value for name, value in row.items() if name not in computed}
    session.execute(table.insert().values(**values))


def main() -> None:
    """Use the database that the command line names."""
    database, *specs = sys.argv[1:]
    engine = sqlalchemy.create_engine(f"sqlite:///{database}")
    found = [(module, getattr(importlib.import_module(module), name)) for module, name in map(_parts, specs)]
    tables = {table.name: table for _, base in found for table in base.metadata.tables.values()}
    with Session(engine) as session:
        count = read(session, list(tables.values()))
        for _, base in found:
            for mapper in getattr(getattr(base, "registry", None), "mappers", ()):
                session.query(mapper.class_).all()
        session.expunge_all()
        for table in tables.values():
            put_again(session, table)
        for module, _ in found:
            if module in NEW:
                name, values = NEW[module]
                made = getattr(sys.modules[module], name)(**values)
                session.add(made)
                session.flush()
                session.refresh(made)
        session.rollback()
    engine.dispose()
    sys.stdout.write(str(count))


def _parts(spec: str) -> tuple[str, str]:
    module, _, name = spec.partition(":")
    return module, name


if __name__ == "__main__":
    main()
