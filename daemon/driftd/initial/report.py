"""What `init` reports: a document, ready for JSON. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from driftd.initial.databases import Database
    from driftd.initial.look import Found, Models

LOOKED_FOR = (
    "classes of DeclarativeBase, declarative_base(), generate_base(), MetaData(), SQLAlchemy() and SQLModel tables in *.py",
    "CREATE TABLE in *.sql, outside of migrations",
    "an installed mcp_task_orchestrator",
    "sqlite:/// URLs in sources and settings, and files with SQLite's header",
)


def init_document(found: Found, written: Path | None, text: str) -> dict[str, Any]:
    """`{schema_version, project, written, text, python, models, databases, broken, others, whole, looked_for}`.

    `models` and `databases` have the ones that were taken first.
    """
    wanted = found.models[0].tables if found.models else ()
    return {
        "schema_version": 1,
        "project": str(found.project),
        "written": str(written) if written else None,
        "text": text,
        "python": found.python,
        "models": [_models(one) for one in found.models],
        "databases": [_database(one, wanted) for one in found.databases],
        "orchestrator": found.orchestrator,
        "broken": [{**_models(one), "error": one.error.as_document()} for one in found.broken if one.error],
        "others": list(found.others),
        "whole": found.whole,
        "looked_for": list(LOOKED_FOR),
    }


def _models(models: Models) -> dict[str, Any]:
    return {
        "specs": list(models.specs),
        "root": str(models.root) if models.root else None,
        "tables": list(models.tables),
    }


def _database(database: Database, wanted: tuple[str, ...]) -> dict[str, Any]:
    return {
        "path": str(database.path),
        "named_in": str(database.named_in) if database.named_in else None,
        "exists": database.exists,
        "readable": database.tables is not None,
        "shared_tables": database.shared(wanted),
    }
