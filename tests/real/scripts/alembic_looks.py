"""Time Alembic's comparison for a module in a folder: `python alembic_looks.py FOLDER MODULE ATTRIBUTE DATABASE REPEATS`."""

from __future__ import annotations

import importlib
import json
import sys
import time

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine


def main() -> None:
    """Print the seconds of each comparison in this process, and how many differences the last one found."""
    folder, module, attribute, database, repeats = sys.argv[1:]
    sys.path.insert(0, folder)
    metadata = getattr(importlib.import_module(module), attribute)
    engine = create_engine(f"sqlite:///{database}")
    options = {"compare_type": True, "compare_server_default": True}
    seconds, found = [], []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        with engine.connect() as connection:
            found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        seconds.append(time.perf_counter() - start)
    engine.dispose()
    sys.stdout.write(json.dumps({"seconds": seconds, "differences": len(found)}))


if __name__ == "__main__":
    main()
