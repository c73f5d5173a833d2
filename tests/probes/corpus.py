"""All probes, by where they come from and by what they are about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy

from probes import (
    ddl_columns,
    ddl_keys,
    ddl_objects,
    ddl_values,
    models_columns,
    models_keys,
    models_objects,
    models_values,
)

if TYPE_CHECKING:
    from probes.record import Probe

#: STRICT tables came with SQLAlchemy 2.1.
HAS_STRICT = tuple(int(part) for part in sqlalchemy.__version__.split(".")[:2]) >= (2, 1)

BY_MODELS: dict[str, list[Probe]] = {
    "columns": models_columns.COLUMNS,
    "types": models_columns.TYPES,
    "values": models_values.VALUES,
    "keys": models_keys.KEYS + (models_keys.STRICT if HAS_STRICT else []),
    "constraints": models_keys.CONSTRAINTS,
    "references": models_keys.REFERENCES,
    "indexes": models_objects.INDEXES,
    "objects": models_objects.OBJECTS,
}
BY_DDL: dict[str, list[Probe]] = {
    "columns": ddl_columns.COLUMNS,
    "types": ddl_columns.TYPES,
    "values": ddl_values.VALUES,
    "keys": ddl_keys.KEYS,
    "constraints": ddl_keys.CONSTRAINTS,
    "references": ddl_keys.REFERENCES,
    "indexes": ddl_objects.INDEXES,
    "objects": ddl_objects.OBJECTS,
}
