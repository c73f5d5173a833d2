"""`config show`: the document, and its lines for people."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from driftd.cli.text import Look, cells, escape
from driftd.config.model import DAEMON, TARGET, Setting
from driftd.config.values import duration_text, size_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from driftd.config import Configuration, Section, Value

_COMMENT_COLUMN = 56
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def configuration_document(configuration: Configuration, only: str | None = None) -> dict[str, Any]:
    """`{schema_version, source: {path, how}, selected, settings: [{key, value, origin, place}], unread}`."""
    settings = list(_entries("daemon", configuration.daemon, DAEMON))
    for name, section in configuration.targets.items():
        if only in {None, name}:
            settings += _entries(f"targets.{_key(name)}", section, TARGET)
    source = configuration.source
    return {
        "schema_version": 1,
        "source": {"path": str(source.path) if source.path else None, "how": source.how},
        "selected": configuration.selected,
        "settings": settings,
        "unread": list(configuration.unread),
    }


def render_configuration(document: Mapping[str, Any], look: Look, *, origin: bool = False) -> str:
    """One `key = value` a line, with a comment that tells the origin where it is asked for."""
    lines = [look.paint(_source_line(document["source"]), "dim"), ""]
    for one in document["settings"]:
        text = f"{escape(one['key'])} = {escape(one['text'])}"
        comment = _origin(one) if origin else ""
        gap = max(2, _COMMENT_COLUMN - cells(text))
        lines.append(text + (" " * gap + look.paint(comment, "dim") if comment else ""))
    if document["unread"]:
        names = ", ".join(escape(name) for name in document["unread"])
        lines += ["", f"# set in the environment, but no setting of driftd: {names}"]
    return "\n".join(lines)


def _entries(prefix: str, section: Section, settings: Sequence[Setting]) -> list[dict[str, Any]]:
    found = []
    for setting in settings:
        if setting.kind == "table":
            entries = section.tables.get(setting.name, {})
            found += [
                _entry(f"{prefix}.{setting.name}.{_key(key)}", one, setting) for key, one in entries.items()
            ]
        elif value := section.values.get(setting.name):
            found.append(_entry(f"{prefix}.{setting.name}", value, setting))
    return found


def _entry(key: str, value: Value, setting: Setting) -> dict[str, Any]:
    plain = list(value.value) if isinstance(value.value, tuple) else value.value
    return {
        "key": key,
        "value": plain,
        "text": _text(plain, setting),
        "origin": value.origin,
        "place": value.place,
    }


def _text(value: Any, setting: Setting) -> str:
    """The value as it would be written in a file."""
    if setting.kind == "duration":
        text = duration_text(value)
        return text if text.isdecimal() else f'"{text}"'
    if setting.kind == "size":
        text = size_text(value)
        return text if text.isdecimal() else f'"{text}"'
    return json.dumps(value, ensure_ascii=False)


def _origin(entry: Mapping[str, Any]) -> str:
    """Who said so: `# line 12` of the file that the first line names, a variable, a flag, or the default."""
    if entry["origin"] in {"file", "shipped"}:
        return f"# line {entry['place'].rpartition(':')[2]}"
    return f"# {escape(entry['place'] or entry['origin'])}"


def _source_line(source: Mapping[str, Any]) -> str:
    if source["path"] is None:
        return "# no file was read: --url says it all"
    because = {
        "flag": "named by --config",
        "environment": "named by DRIFTD_CONFIG",
        "found": "found there",
        "shipped": "shipped with driftd; no other file was found",
    }[source["how"]]
    return f"# {escape(source['path'])} ({because})"


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)
