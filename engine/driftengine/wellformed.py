"""Whether a document that is read back has the shape in which driftd writes it. Pure.

Manifests, journal lines and rows of the history lie where disks fail and where others can write. Their seals and hashes
tell damage; they do not tell a document that somebody made, whose hash fits. So each is held against its shape as a whole
before anything of it is used: what is no such document is refused with a reason, never half believed.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

#: A type (`bool` is no `int`, an `int` is a `float`), None, a tuple of shapes of which one fits, a frozenset of words,
#: `[shape]`, `{str: shape}`, `{int: shape}` (the names spell numbers), `{"name": shape, "left_out?": shape}` (whatever
#: else there is counts as nothing), or a predicate.
Shape: TypeAlias = Any


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError, also where it is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def require(value: object, shape: Shape) -> None:
    """Raises ValueError, with the place that does not fit, for a value of another shape."""
    # A history and a journal are read whole at each look: what fits, as nearly all does, is found without its places.
    _, fits = _judges.get(id(shape)) or _judges.setdefault(id(shape), (shape, _judge(shape)))
    if fits(value):
        return
    misfit = _misfit(value, shape, "")
    if misfit is not None:
        raise ValueError(f"{misfit or 'the whole'} is not of the shape in which driftd writes it")


Judge: TypeAlias = "Callable[[Any], bool]"

_judges: dict[int, tuple[Shape, Judge]] = {}  # by the shape's identity; holding it keeps that number its own


def _judge(shape: Shape) -> Judge:
    """Whether a value fits, as one function: taking the shape apart again for each value costs ten times as much."""
    if isinstance(shape, dict):
        return _judge_members(shape)
    if isinstance(shape, list):
        one = _judge(shape[0])
        return lambda value: isinstance(value, list) and all(map(one, value))
    if isinstance(shape, tuple):
        several = tuple(map(_judge, shape))
        return lambda value: any(fits(value) for fits in several)
    if shape is str:
        return lambda value: isinstance(value, str)
    return lambda value: _is_plain(value, shape)


def _judge_members(shape: dict[Any, Shape]) -> Judge:
    (first, *_) = shape
    if first is str:
        each = _judge(shape[str])
        return lambda value: isinstance(value, dict) and all(map(each, value.values()))
    if first is int:
        return lambda value: _misfit_members(value, shape, "") is None
    members = [(name.rstrip("?"), not name.endswith("?"), _judge(one)) for name, one in shape.items()]

    def fits(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        for name, needed, member in members:
            if name in value:
                if not member(value[name]):
                    return False
            elif needed:
                return False
        return True

    return fits


def _misfit(value: Any, shape: Shape, place: str) -> str | None:
    """The first place that does not fit, None where all of it does."""
    if isinstance(shape, dict):
        return _misfit_members(value, shape, place)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return place
        found = (_misfit(one, shape[0], f"{place}[{number}]") for number, one in enumerate(value))
        return next((one for one in found if one is not None), None)
    if isinstance(shape, tuple):
        return None if any(_misfit(value, one, place) is None for one in shape) else place
    return None if _is_plain(value, shape) else place


def _misfit_members(value: Any, shape: dict[Any, Shape], place: str) -> str | None:
    if not isinstance(value, dict):
        return place
    (first, *_) = shape
    if first in {str, int}:
        wanted = dict.fromkeys(value, shape[first])
        if first is int and not all(name.isascii() and name.isdigit() and len(name) < 10 for name in value):
            return place
    else:
        needed = [name for name in shape if not name.endswith("?") and name not in value]
        if needed:
            return f"{place}.{needed[0]}".lstrip(".")
        plain = {name.rstrip("?"): one for name, one in shape.items()}
        wanted = {name: one for name, one in plain.items() if name in value}
    found = (_misfit(value[name], one, f"{place}.{name}".lstrip(".")) for name, one in wanted.items())
    return next((one for one in found if one is not None), None)


def _is_plain(value: Any, shape: Shape) -> bool:
    if shape is None:
        return value is None
    if isinstance(shape, frozenset):
        return isinstance(value, str) and value in shape
    if isinstance(shape, type):
        kinds = (int, float) if shape is float else (shape,)
        return isinstance(value, kinds) and (shape in {bool, object} or not isinstance(value, bool))
    return bool(shape(value))


def is_moment(value: object) -> bool:
    """A point in time as driftd writes it: ISO 8601 with its zone."""
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def is_count(value: object) -> bool:
    """A number of rows or bytes."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_wish(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(one, str) for one in value)


_MOVERS = frozenset({"models", "database", "both"})  # as in `changes`


def _is_note(value: object) -> bool:
    """Who moved, and of newer rows what the models wanted and what it was before."""
    if isinstance(value, list) and len(value) == 3:
        return _is_plain(value[0], _MOVERS) and all(one is None or isinstance(one, str) for one in value[1:])
    return _is_plain(value, _MOVERS)


def is_stored(values: object) -> bool:
    """A row of sqlite_schema: type, name, table, and DDL or None."""
    if not isinstance(values, list) or len(values) != 4 or not isinstance(values[-1], str | None):
        return False
    return all(isinstance(one, str) for one in values[:-1])


_UNDOES = {"migration": str, "operations": [int]}
_WISHES = {"met?": [_is_wish], "unmet?": [_is_wish]}
_BACKUP = {"id": str, "path?": (str, None), "sha256?": (str, None)}
_OPERATION = {
    "id": str, "kind": str, "table": (str, None), "name": (str, None), "detail?": (str, None), "code": (str, None),
    "risk?": (str, None), "sql?": [str], "reason?": (str, None), "undo?": (str, None), "strategy?": (str, None),
}  # fmt: skip
_PACKED = {"encoding": str, "data": str}

#: The document of a history row, without `base`.
HISTORY: Shape = {
    "database_id": str,
    "plan": (None, {"id?": str, "operations?": [_OPERATION]}),
    "allowed_by": str,
    "evidence": {
        "applied?": [int],
        "approved?": [int],
        "held?": [int],
        "blocked?": {int: object},
        "lost?": [int],
        "done?": list,
        "undoes?": (None, _UNDOES),
        "wishes?": _WISHES,
        "waiting?": [str],
        "moved?": {str: _is_note},
        "accepted?": {str: [_is_wish]},
        "fills?": {str: str},
        "statements?": [str],
        "window?": (str, None),
    },
    "durations": dict,
    "versions": dict,
    "undo": (None, {"before?": _PACKED}),
    "backup": (None, _BACKUP),
}


def _is_cell(value: object) -> bool:
    """A value of SQLite's in JSON; bytes are base64."""
    return (
        value is None or isinstance(value, (int, float, str)) or _misfit(value, {"base64": str}, "") is None
    )


_READS = {str: [str]}
_TEXTS = {"what": str, "code": str, "why": str, "fix": str}

#: What the probe answers: a schema, values, why there are none, or why another probe is to be asked.
ANSWER: Shape = (
    {
        "status": frozenset({"ok"}),
        "stored": [is_stored],
        "defaults": [{"table": str, "column": str, "sql?": (str, None), "callable?": (str, None)}],
        "hints": [{"table": str, "column": str, "renamed_from": [str], "backfill": (str, None)}],
        "sources": [str],
        "unsupported": [str],
        "versions": {str: str},
        "reads": _READS,
    },
    {"status": frozenset({"ok"}), "values": [_is_cell]},
    {"status": frozenset({"error"}), "sources": [str], "reads": (None, _READS), **_TEXTS},
    {"status": frozenset({"unfit"}), "why": str, "kind": str},
)

#: A line of the journal.
LINE: Shape = {
    "event": str,
    "at": str,
    "database_id": str,
    "detail": {
        "hash?": (str, None),
        "previous?": (str, None),
        "migration_id?": (str, None),
        "kind?": str,
        "allowed_by?": (str, None),
        "database?": (str, None),
        "plan_id?": str,
        "operations?": [str],
        "plans?": [str],
        "by?": str,
        "counts?": {str: object},
        "takes_back?": (str, None),
        "undoes?": (None, _UNDOES),
        "wishes?": _WISHES,
    },
}

#: A manifest, without its seal.
MANIFEST: Shape = {
    "id": str,
    "database": str,
    "database_id": str,
    "created_at": is_moment,
    "size_bytes": is_count,
    "sha256": str,
    "page_size": is_count,
    "row_counts": {str: is_count},
    "schema_sha256": str,
    "reason": str,
    "migration_id": (str, None),
    "pinned": bool,
    "verified": bool,
    "foreign_key_violations": {str: is_count},
    "notes": [str],
    "versions": {str: object},
}
