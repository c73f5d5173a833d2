"""What Alembic makes of probes: `python alembic_probes.py FILE`, which holds `{head, pairs: [[before, after], ...]}`.

Answers in JSON, for each pair: how many differences it finds in a database that `before` has just made from `before`
itself, and from `after`; and whether it says anything else of `after` than it said of `before`. A comparison that fails
says nothing.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine

OPTIONS = {"compare_type": True, "compare_server_default": True, "render_as_batch": True}


def metadata_of(head: str, code: str) -> MetaData:
    """The MetaData that the code leaves as `m`."""
    names: dict[str, Any] = {"m": MetaData()}
    # Not inherited: under this file's own future import SQLAlchemy would be given annotations as text.
    exec(compile(head + code, "models", "exec", dont_inherit=True), names)  # noqa: S102  # the models of the probes
    made: MetaData = names["m"]
    return made


def asked(connection: Connection, metadata: MetaData) -> tuple[int, str]:
    """How many differences, and the migration that Alembic would write."""
    context = MigrationContext.configure(connection, opts=OPTIONS)
    found = compare_metadata(context, metadata)
    operations = produce_migrations(context, metadata).upgrade_ops
    return len(found), render_python_code(operations, render_as_batch=True) if operations else ""


def looked_at(head: str, before: str, after: str) -> dict[str, Any]:
    """One pair, by a fresh database."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata_of(head, before).create_all(connection)
        noise, said = asked(connection, metadata_of(head, before))
        found, more = asked(connection, metadata_of(head, after))
    engine.dispose()
    return {"noise": noise, "found": found, "told": more != said}


def main() -> None:
    """Print one answer for each pair."""
    warnings.simplefilter("ignore")
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answers = []
    for before, after in given["pairs"]:
        try:
            answers.append(looked_at(given["head"], before, after))
        except Exception as error:  # noqa: BLE001  # whatever goes wrong inside Alembic is its answer
            answers.append({"noise": 0, "found": 0, "told": False, "failed": repr(error)})
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main()
