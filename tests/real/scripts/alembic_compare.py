"""Time Alembic's own comparison: `python alembic_compare.py MODULE ATTRIBUTE DATABASE REPEATS`, answers in JSON."""

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
    module, attribute, database, repeats = sys.argv[1:]
    metadata = getattr(importlib.import_module(module), attribute).metadata
    engine = create_engine(f"sqlite:///{database}")
    seconds, found = [], []
    for _ in range(int(repeats)):
        start = time.perf_counter()
        with engine.connect() as connection:
            found = compare_metadata(
                MigrationContext.configure(connection, opts={"compare_type": True}), metadata
            )
        seconds.append(time.perf_counter() - start)
    engine.dispose()
    sys.stdout.write(json.dumps({"seconds": seconds, "differences": len(found)}))


if __name__ == "__main__":
    main()
