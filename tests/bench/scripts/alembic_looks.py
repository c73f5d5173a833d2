"""Time Alembic's comparison, once for each line of stdin: `python alembic_looks.py FOLDER MODULE ATTRIBUTE DATABASE`."""

from __future__ import annotations

import importlib
import json
import sys
import time

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine


def main() -> None:
    """Print the seconds of each, and how many differences it found."""
    folder, module, attribute, database = sys.argv[1:]
    sys.path.insert(0, folder)
    metadata = getattr(importlib.import_module(module), attribute)
    engine = create_engine(f"sqlite:///{database}")
    options = {"compare_type": True, "compare_server_default": True}
    for _ in sys.stdin:
        start = time.perf_counter()
        with engine.connect() as connection:
            found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
        seconds = time.perf_counter() - start
        sys.stdout.write(json.dumps({"seconds": seconds, "differences": len(found)}) + "\n")
        sys.stdout.flush()
    engine.dispose()


if __name__ == "__main__":
    main()
