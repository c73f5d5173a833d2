"""What a row of the history holds and is seldom asked for: its schema, each object once, and its plan; unpacked when asked for.

Nothing here begins or ends a transaction, or reads a file.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from driftengine.errors import HistoryError
from driftengine.journal import canonical
from driftengine.schema import StoredObject
from driftengine.wellformed import is_count, is_stored, parsed, require

LARGEST = 256 << 20  # bytes of a schema; a thousand tables take less than one million
PACKED = (None, {"encoding": str, "data": str})  # the shape of what a row holds
DAMAGE = (ValueError, TypeError, LookupError, zlib.error)  # what reading a damaged document ends in


@dataclass(frozen=True, slots=True)
class Base:
    """The schema that driftd left behind, and the objects that the models described then."""

    actual: tuple[StoredObject, ...]
    desired: tuple[StoredObject, ...]


class PackedBase:
    """The base of a row. Of all the rows of a history one or two are ever asked for theirs, at each look.

    Unpacking it is nine tenths of reading a row. `actual` and `desired` raise HistoryError (`history-unreadable`).
    """

    __slots__ = ("_packed", "_row_id")

    def __init__(self, packed: Mapping[str, str], row_id: int) -> None:
        self._packed, self._row_id = packed, row_id

    @property
    def actual(self) -> tuple[StoredObject, ...]:
        """What driftd left behind."""
        return self._unpacked().actual

    @property
    def desired(self) -> tuple[StoredObject, ...]:
        """What the models described then."""
        return self._unpacked().desired

    def _unpacked(self) -> Base:
        try:
            return _unpacked(self._packed["encoding"], self._packed["data"])
        except DAMAGE as error:
            raise unreadable(self._row_id, error) from error

    def __eq__(self, other: object) -> bool:
        if isinstance(other, PackedBase):
            return self._packed == other._packed
        return isinstance(other, Base) and self._unpacked() == other

    __hash__ = None  # type: ignore[assignment]  # equal to the Base in it, whose hash it would have to unpack


class Folded(Mapping[str, Any]):
    """The plan of a row, read from the row's document whenever somebody looks into it.

    Whoever keeps rows for long folds them: the plan is two thirds of what each would take, some twenty kilobytes.
    """

    __slots__ = ("_document",)

    def __init__(self, document: str) -> None:
        self._document: str | bytes = document

    def fold(self) -> None:
        """Smaller from now on, at the cost of a read of the row."""
        if isinstance(self._document, str):
            self._document = zlib.compress(self._document.encode(), 1)

    def unfolded(self) -> dict[str, Any]:
        """The plan as it was written."""
        kept = self._document
        return dict(parsed(kept if isinstance(kept, str) else zlib.decompress(kept))["plan"])

    def __getitem__(self, key: str) -> Any:
        return self.unfolded()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.unfolded())

    def __len__(self) -> int:
        return len(self.unfolded())


def pack(base: Base | PackedBase) -> dict[str, str]:
    """The base for JSON: each object once, compressed. A thousand tables take some ten kilobytes."""
    places: dict[StoredObject, int] = {}
    for stored in (*base.actual, *base.desired):
        places.setdefault(stored, len(places))
    content = {
        "objects": [[stored.type, stored.name, stored.table, stored.sql] for stored in places],
        "actual": [places[stored] for stored in base.actual],
        "desired": [places[stored] for stored in base.desired],
    }
    packed = zlib.compress(canonical(content).encode(), 9)
    return {"encoding": "zlib+base64", "data": base64.b64encode(packed).decode()}


def unpack(packed: Mapping[str, str]) -> Base:
    """The base that `pack` was given. Raises ValueError, TypeError, LookupError or zlib.error where it is damaged."""
    if packed["encoding"] != "zlib+base64":
        raise ValueError(f"unknown encoding {packed['encoding']!r}")
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(base64.b64decode(packed["data"], validate=True), LARGEST)
    if not unpacker.eof:  # torn, or some kilobytes that would fill the memory
        raise ValueError("its schema is torn, or too large")
    content = parsed(text)
    require(content, SCHEMAS)
    objects = [StoredObject(*values) for values in content["objects"]]
    return Base(
        tuple(objects[place] for place in content["actual"]),
        tuple(objects[place] for place in content["desired"]),
    )


@lru_cache(maxsize=8)
def _unpacked(encoding: str, data: str) -> Base:
    return unpack({"encoding": encoding, "data": data})


def unreadable(row_id: int, error: Exception) -> HistoryError:
    """The error of a row whose document is damaged."""
    return HistoryError(
        f"row {row_id} of driftd_history cannot be read",
        code="history-unreadable",
        why=f"its document is damaged ({error})",
        fix="driftd history verify shows what is wrong; a backup holds the rows as they were",
    )


SCHEMAS = {"objects": [is_stored], "actual": [is_count], "desired": [is_count]}
