"""What a record of a schema does, as a short hash: the same for two spellings of one thing, on any machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from driftengine.schema import Table

LENGTH = 16  # hex digits


def digest_of(record: Any) -> str:
    """The hash of a record (a column, a constraint, a table, an index, ...) by its effect; "" for None.

    Texts that only say how something was spelled take no part, as in comparison. A table counts with its columns.
    """
    if record is None:
        return ""
    text = json.dumps(_plain(record), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def _plain(value: Any) -> Any:
    """The value in lists, texts and numbers; sets in an order of their own."""
    if dataclasses.is_dataclass(value):
        compared = [f.name for f in dataclasses.fields(value) if f.compare]
        shown = {name: _plain(getattr(value, name)) for name in compared}
        columns = (
            [_plain(c) for c in sorted(value.columns, key=lambda c: c.key)]
            if isinstance(value, Table)
            else []
        )
        return [type(value).__name__, shown, columns]
    if isinstance(value, (frozenset, set)):
        return sorted((_plain(one) for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    return value
