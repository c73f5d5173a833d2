"""`init`: what was found, what was written, and what to type next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from driftd.cli.render.common import hints
from driftd.cli.text import Look, escape, plural

if TYPE_CHECKING:
    from collections.abc import Mapping


def render_init(document: Mapping[str, Any], look: Look) -> str:
    """Models, database, file, and the next command; where something is missing, what was looked for."""
    lines = [*_models_lines(document, look), *_database_lines(document, look)]
    if document["others"]:
        named = ", ".join(escape(kind) for kind in document["others"])
        lines.append(look.wrap(f"The project also names {named}: driftd works on SQLite only.", 0))
    if not document["whole"]:
        lines.append("The project is too large to be looked through; what lies deeper was not seen.")
    if not _complete(document):
        lines += ["", "What was looked for:"]
        lines += [look.wrap(f"- {one}", 2, 4) for one in document["looked_for"]]
    return "\n".join([*lines, *_next(document, look)])


def _complete(document: Mapping[str, Any]) -> bool:
    return bool(document["models"] and (document["databases"] or document["orchestrator"]))


def _models_lines(document: Mapping[str, Any], look: Look) -> list[str]:
    if not document["models"]:
        lines = [look.paint("no models found that can be loaded", "bold", "yellow")]
    else:
        best = document["models"][0]
        named = ", ".join(_short(spec, document) for spec in best["specs"])
        more = _more(document["models"])
        lines = [f"{look.paint('models', 'bold')}    {named}  ({plural(len(best['tables']), 'table')}{more})"]
        lines.append(look.paint(f"          loaded with {_short(document['python'], document)}", "dim"))
    for one in document["broken"]:
        lines.append(f"{look.paint('broken', 'yellow')}    {', '.join(map(escape, one['specs']))}")
        lines += [look.wrap(escape(line), 10) for line in one["error"]["why"].splitlines()[:2]]
    return lines


def _database_lines(document: Mapping[str, Any], look: Look) -> list[str]:
    if not document["databases"]:
        if document["orchestrator"]:
            return [f"{look.paint('database', 'bold')}  where the MCP Task Orchestrator keeps its tasks"]
        return [look.paint("no SQLite database found", "bold", "yellow")]
    best = document["databases"][0]
    told = f"{plural(best['shared_tables'], 'table')} of the models"
    if not best["readable"]:
        told = "its tables cannot be read" if best["exists"] else "not there yet"
    named = f", named in {_short(best['named_in'], document)}" if best["named_in"] else ""
    return [
        f"{look.paint('database', 'bold')}  {_short(best['path'], document)}  ({told}{_more(document['databases'])})",
        *([look.paint(f"          {named[2:]}", "dim")] if named else []),
    ]


def _more(found: list[Any]) -> str:
    return f"; {plural(len(found) - 1, 'other')} in the file" if len(found) > 1 else ""


def _short(path: str, document: Mapping[str, Any]) -> str:
    """A path without the project's folder."""
    return escape(path.removeprefix(document["project"].rstrip(os.sep) + os.sep))


def _next(document: Mapping[str, Any], look: Look) -> list[str]:
    written = document["written"]
    if written is None:
        return hints(
            [
                (
                    "driftd check --url sqlite:///FILE --models PACKAGE.MODULE:BASE",
                    "Nothing was written. Name them yourself",
                ),
                ("driftd init --force", "or write a file with what was found, to be completed"),
            ],
            look,
        )
    config = "" if os.path.basename(written) == "driftd.toml" else f" --config {escape(written)}"  # noqa: PTH119
    lines = ["", f"wrote {_short(written, document)}"]
    if not _complete(document):
        return [*lines, "it has comments where something is missing: complete it first"]
    return [*lines, *hints([(f"driftd check{config}", "next, see whether there is drift")], look)]
