"""The text of a `driftd.toml`: what differs from the defaults, each value proved, the rest as comments. Pure but for `save`."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import tomli

from driftd.cli.text import escape, plural
from driftd.config import shipped_text
from driftd.unfinished import beside, keep
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from driftd.initial.databases import Database
    from driftd.initial.look import Found, Models

MOST_SHOWN = 5  # others that are listed as comments


def target_name(project: Path) -> str:
    """What the target is called: as the project calls itself, else as its folder."""
    name = project.name
    try:
        document = tomli.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
        name = str(document["project"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # most projects have none, or an older one
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_") or "app"


def configuration(found: Found, output: Path) -> str:
    """The whole file. What was not found is a comment that says what to write."""
    base = output.parent
    name = target_name(found.project)
    lines = [
        "# Written by `driftd init`. Every setting that is not here has its default: `driftd config show --origin`.",
        "# Relative paths are relative to this file. `driftd config show --shipped` is an example of all settings.",
        "",
        f"[targets.{name}]",
        *_database_lines(found, base),
        *_models_lines(found, base),
        *_python_lines(found, base),
        "",
        f"[targets.{name}.backup]",
        "# Relative to this file. The default is the same name in the working directory, wherever a command is typed.",
        'directory = "backups/migrations"',
    ]
    return "\n".join(lines) + "\n"


def _database_lines(found: Found, base: Path) -> list[str]:
    if _where_orchestrator_keeps(found, base):
        told = "# Where the MCP Task Orchestrator keeps its tasks, with the variables that move them."
        return [told, f"url = {json.dumps(orchestrator_url())}", ""]
    if not found.databases:
        return [
            "# No database was found. Name the file that the service opens:",
            '# url = "sqlite:///app.db"',
        ]
    best, *others = found.databases
    lines = [f"# {_told_of(best, found)}", f"url = {_quoted(_url(best, base))}"]
    if others:
        lines.append("# Others that were found; the one with the most tables of the models was taken:")
        lines += [
            f"# url = {_quoted(_url(one, base))}   # {_told_of(one, found)}" for one in others[:MOST_SHOWN]
        ]
    return [*lines, ""]


def _where_orchestrator_keeps(found: Found, base: Path) -> bool:
    """May the URL be the shipped one, whose path begins in the file's folder?"""
    usual = base / ".task_orchestrator" / "task_orchestrator.db"
    return found.orchestrator and (not found.databases or found.databases[0].path == usual.resolve())


def _models_lines(found: Found, base: Path) -> list[str]:
    if not found.models:
        lines = [
            "# No models were found that can be loaded. Name them:",
            '# models = ["package.module:Base"]',
        ]
        return [*lines, *(f"# {_broken(one)}" for one in found.broken[:MOST_SHOWN])]
    best, *others = found.models
    lines = [f"# Loaded: {plural(len(best.tables), 'table')}.", f"models = {_list(_specs(best, base))}"]
    if root := _root(found, best, base):
        lines += ["# The folder that they are imported from.", f"pythonpath = {_list([root])}"]
    if others or found.broken:
        lines.append("# Others that were found; those with the most tables were taken:")
        lines += [
            f"# models = {_list(_specs(one, base))}   # {plural(len(one.tables), 'table')}"
            for one in others[:MOST_SHOWN]
        ]
        lines += [f"# {_broken(one)}" for one in found.broken[:MOST_SHOWN]]
    return lines


def _python_lines(found: Found, base: Path) -> list[str]:
    """The interpreter where `auto` would not find it: `auto` is .venv beside the file, else the one that runs driftd."""
    beside = base / ".venv" / "bin" / "python"
    automatic = str(beside) if beside.exists() else sys.executable
    if found.python == automatic or all(
        spec.endswith(".sql") for one in found.models[:1] for spec in one.specs
    ):
        return []
    return [
        "",
        "# The interpreter that the models were loaded with.",
        f"python = {_quoted(_short(Path(found.python), base))}",
    ]


def orchestrator_url() -> str:
    """The URL that the shipped configuration has for the MCP Task Orchestrator."""
    return str(tomli.loads(shipped_text("config.toml"))["targets"]["orchestrator"]["url"])


def _specs(models: Models, base: Path) -> list[str]:
    return [_short(Path(spec), base) if spec.endswith(".sql") else spec for spec in models.specs]


def _root(found: Found, models: Models, base: Path) -> str:
    """The folder for `pythonpath`; "" where the file's own folder is enough, or the models are installed."""
    root = models.root
    if root is None and not found.orchestrator and not all(spec.endswith(".sql") for spec in models.specs):
        root = found.project
    return "" if root is None or root == base else _short(root, base)


def _told_of(database: Database, found: Found) -> str:
    where = (
        f"named in {_short(database.named_in, found.project)}"
        if database.named_in
        else "a SQLite file of the project"
    )
    if database.tables is None:
        return escape(
            f"{where}; {'its tables cannot be read' if database.exists else 'the file is not there yet'}"
        )
    wanted = found.models[0].tables if found.models else ()
    shared = f"{database.shared(wanted)} of the models' {plural(len(wanted), 'table')}" if wanted else ""
    return escape(
        "; ".join(part for part in (where, shared or plural(len(database.tables), "table")) if part)
    )


def _broken(models: Models) -> str:
    why = models.error.why.splitlines()[0] if models.error and models.error.why else ""
    return escape(f"cannot be loaded: {', '.join(models.specs)}: {why}")


def _url(database: Database, base: Path) -> str:
    return f"sqlite:///{_short(database.path, base)}"


def _short(path: Path, base: Path) -> str:
    """Relative where it lies below the file's folder, else absolute."""
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def _quoted(text: str) -> str:
    """As a text of TOML; a dollar of a path is none of a variable."""
    return json.dumps(text.replace("$", "$$"), ensure_ascii=False)


def _list(texts: list[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def save(text: str, output: Path, *, force: bool) -> None:
    """Writes the file whole or not at all. Raises ConfigurationError (`configuration-exists`, `configuration-unwritable`)."""
    try:
        _require_file(output)
        with beside(output) as (descriptor, partial):
            os.fchmod(descriptor, 0o644)
            keep(descriptor, text.encode())
            if force:
                partial.replace(output)
            else:
                # Unlike a rename, a link never replaces what somebody has put there meanwhile.
                output.hardlink_to(partial)
    except FileExistsError:
        raise exists(output) from None
    except OSError as error:
        raise ConfigurationError(
            f"{output} cannot be written",
            code="configuration-unwritable",
            why=error.strerror or str(error),
            fix="choose another place: driftd init --output PATH",
        ) from error


def _require_file(output: Path) -> None:
    """Raises OSError where a device or a pipe stands: it would be exchanged for a file."""
    if output.exists() and not output.is_file():
        raise OSError(errno.EINVAL, "what stands there is no ordinary file")


def exists(output: Path) -> ConfigurationError:
    """There is a configuration already, and a person may have written it."""
    return ConfigurationError(
        f"{output} exists already",
        code="configuration-exists",
        why="it is not overwritten unasked",
        fix="look at what is configured: driftd config show; to replace it: driftd init --force",
    )
