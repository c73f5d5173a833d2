"""SQLAlchemy's own schemas: in step right after `create_all`, and the way of a change through the probe."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from driftengine import api
from driftengine.desired import ModelSource
from probes.carrying import built
from probes.corpus import BY_MODELS
from probes.everything import EVERYTHING
from probes.words import HEAD, T, code_of
from support.migrations import House

if TYPE_CHECKING:
    from pathlib import Path


def service_creates(folder: Path) -> None:
    """The service makes its database itself, in a process of its own."""
    code = (
        "from models import Base; from sqlalchemy import create_engine;"
        "e = create_engine('sqlite:///app.db'); Base.metadata.create_all(e); e.dispose()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=60)


def python_target(folder: Path, spec: str) -> api.Target:
    """The target of a folder with models.py and app.db."""
    models = ModelSource((spec,), sys.executable, directory=str(folder))
    return api.Target("app", f"sqlite:///{folder / 'app.db'}", models, api.BackupSettings(folder / "backups"))


def test_every_type_and_option_is_in_step_right_after_create_all(tmp_path: Path) -> None:
    """No phantom drift: whatever SQLAlchemy can say, the database that it just made says the same."""
    (tmp_path / "models.py").write_text(HEAD + EVERYTHING, encoding="utf-8")
    service_creates(tmp_path)
    target = python_target(tmp_path, "models:Base")
    checked = api.check(target)
    assert checked["differences"] == []
    assert checked["in_sync"]
    assert checked["unmanaged"] == []
    applied = api.apply(target)
    assert (applied["outcome"], applied["backup"]) == ("up_to_date", None)
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        columns = connection.execute("SELECT count(*) FROM pragma_table_xinfo('every type')").fetchone()[0]
    assert columns >= 48


def carry_out(target: api.Target, kinds: str) -> None:
    """The change is seen, waits for nothing but approval, and is gone afterwards."""
    seen = api.check(target)
    assert not seen["in_sync"]
    operations = seen["plan"]["operations"]
    assert sorted(o["kind"] for o in operations) == sorted(kinds.split()), seen["differences"]
    approvals = sorted({o["code"] for o in operations if o["held"] and not o["waits_for"]})
    done = api.apply(target, approve=approvals)
    assert (done["error"], done["held"], done["blocked"]) == (None, [], [])
    assert sorted(o["kind"] for o in done["applied"]) == sorted(kinds.split())
    assert api.check(target)["differences"] == []
    again = api.apply(target)
    assert (again["outcome"], again["backup"]) == ("up_to_date", None)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("column added", "add_column"),
        ("enum grows", "change_check"),
        ("view changed", "change_view"),
        ("foreign keys in a circle", "add_foreign_key"),
    ],
)
def test_a_change_goes_the_whole_way_through_the_probe(tmp_path: Path, name: str, kinds: str) -> None:
    """A probe by Python models: the service's interpreter builds them, and tells what the file of DDL told."""
    case = next(one for probes in BY_MODELS.values() for one in probes if one.name == name)
    text = (
        HEAD
        + f"old, new = MetaData(), MetaData()\nm = old\n{code_of(case.before)}\nm = new\n{code_of(case.after)}"
    )
    (tmp_path / "models.py").write_text(text, encoding="utf-8")
    House(tmp_path).run(built(case.before))
    assert api.apply(python_target(tmp_path, "models:old"))["outcome"] == "up_to_date"
    carry_out(python_target(tmp_path, "models:new"), kinds)


def test_old_rows_get_what_the_model_itself_would_have_written(tmp_path: Path) -> None:
    """A NOT NULL column with a Python-side default, scalar or callable, is filled for the rows that are there."""
    added = "Column('a', Integer, default=7, nullable=False), Column('b', Uuid, default=uuid.uuid4, nullable=False)"
    text = HEAD + f"old, new = MetaData(), MetaData()\nm = old\n{T.format('')}\nm = new\n{T.format(added)}"
    (tmp_path / "models.py").write_text(text, encoding="utf-8")
    house = House(tmp_path)
    house.run(built("") + "INSERT INTO t VALUES (1), (2)")
    assert api.apply(python_target(tmp_path, "models:old"))["outcome"] == "up_to_date"
    carry_out(python_target(tmp_path, "models:new"), "add_column add_column")
    rows = house.ask("SELECT a, length(b), count(DISTINCT b) FROM t GROUP BY a")
    assert rows == [(7, 32, 2)]
