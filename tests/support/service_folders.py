"""The folder of a service that is written in Python: its database, its models, and this process as the service."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from driftd.startup import registry
from support.sidecars import WIDER, make

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest


@contextmanager
def service_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a database whose models (`models.sql`) want one column more.

    Nothing of the machine's configuration is found. Afterwards this process runs on no schema any more.
    """
    for name in [one for one in os.environ if one.startswith(("DRIFTD_", "XDG_", "MCP_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.chdir(folder)
    make(folder / "app.db")
    write_models(folder, WIDER)
    try:
        yield folder
    finally:
        while database := next(iter(registry._running), None):
            registry.end(database)


def write_models(folder: Path, text: str) -> None:
    """The models as DDL."""
    (folder / "models.sql").write_text(text, encoding="utf-8")
