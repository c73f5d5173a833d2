"""Build what a release's models describe, in an empty database: `python create_all.py MODULE ATTRIBUTE DATABASE`."""

from __future__ import annotations

import importlib
import sys

from sqlalchemy import create_engine


def main() -> None:
    """Run `create_all` of the named models."""
    module, attribute, database = sys.argv[1:]
    engine = create_engine(f"sqlite:///{database}")
    getattr(importlib.import_module(module), attribute).metadata.create_all(engine)
    engine.dispose()


if __name__ == "__main__":
    main()
