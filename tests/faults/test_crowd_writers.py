"""Services write and read all the time while driftd backs up, migrates, takes back and restores: nothing torn, nothing lost.

`DRIFTD_FAULTS=all` makes 200 backups in place of 40; each test prints its tries, and how long writers have waited.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from command_line import driftd
from driftengine import api
from driftengine.errors import BusyError
from support.crash_points import ALL
from support.crowd import BANK, NEW_BANK, at_work, audited, figures, make_bank, noted, transfers
from support.migrations import House
from support.sidecars import CONFIGURATION, house, running

if TYPE_CHECKING:
    from support.crowd import Crowd

pytestmark = pytest.mark.timeout(1200)

BACKUPS = 100 if ALL else 20  # with each journal mode
STORIES = 10 if ALL else 1
FILLED = 6000  # rows of half a kilobyte
CROWD = [("IMMEDIATE", "stays"), ("DEFERRED", "goes"), ("DEFERRED", "stays")]
CONFIG = f"{CONFIGURATION}\n[targets.app.window]\ntimeout = 60\n"
# Old code survives it, and no row is read for it.
WIDER_BANK = BANK.replace("token TEXT NOT NULL", "token TEXT NOT NULL, note TEXT") + (
    "CREATE INDEX transfer_writer ON transfer (writer);\n"
)
TRIES = 5  # of somebody who is told that the database is in use
BUSY = {"database-busy", "window-deadline", "deadline"}


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_no_backup_is_torn(tmp_path: Path, journal: str) -> None:
    """Each backup is one moment's state: sound, nothing missing that was acknowledged before, nothing begun behind its end."""
    bank = House(tmp_path, journal, settings={"window_timeout": 60})
    make_bank(bank.database, journal, FILLED)
    bank.models(BANK)
    made: list[tuple[float, float, Path]] = []
    with at_work(bank.database, CROWD, readers=2) as crowd:
        for number in range(BACKUPS):
            with crowd.phase("backup"):
                path = backed_up(bank, by_hand=number % 10 == 9)
            made.append((*crowd.phases[-1][1:], path))
            time.sleep(0.02)  # so that some are quiet, for the figures
    assert crowd.odd() == []
    assert audited(bank.database) == []
    story = transfers(bank.database)
    assert {row[-1] for row in story} >= crowd.acknowledged()
    for since, until, path in made:
        one_moment(path, story, crowd, since, until)
    lengths = {len(transfers(path)) for _, _, path in made}
    assert len(lengths) > BACKUPS // 2, "hardly anybody wrote meanwhile"
    noted([f"{journal}: {len(made)} backups, {len(story)} transfers", *figures(crowd.waits())])


def backed_up(bank: House, *, by_hand: bool) -> Path:
    """One more backup, by the library or by the command; who is told that others are always in the way tries again."""
    (bank.folder / "driftd.toml").write_text(CONFIG.format(mode="window"), encoding="utf-8")
    for _ in range(TRIES):
        if by_hand:
            document = driftd("backup", "create", "--json", folder=bank.folder).document
        else:
            try:
                document = api.backup_create(bank.target())
            except BusyError as error:
                document = {"error": error.as_document()}
        if "error" not in document:
            return Path(document["backup"]["path"])
        assert document["error"]["code"] in BUSY, document
    raise AssertionError(f"no backup had its turn: {document}")


def one_moment(path: Path, story: list[tuple[Any, ...]], crowd: Crowd, since: float, until: float) -> None:
    """The copy is what the database was at one moment between the two."""
    assert audited(path, immutable=True) == []
    found = transfers(path)
    assert found == story[: len(found)]
    tokens = {row[-1] for row in found}
    assert tokens >= crowd.acknowledged(since)
    assert tokens <= crowd.begun(until)


@pytest.mark.parametrize("story", range(STORIES))
@pytest.mark.parametrize(("served", "journal"), [(True, "wal"), (False, "delete")])
def test_no_commit_is_lost_and_only_old_or_new_is_seen(
    tmp_path: Path, served: bool, journal: str, story: int
) -> None:
    """Through apply, rollback, a window and a restore: every acknowledged row is there, or in the restore's safety backup."""
    make_bank(tmp_path / "app.db", journal, FILLED)
    sidecar = house(tmp_path, models=BANK, configuration=CONFIG)
    with (
        running(sidecar) if served else nullcontext(),
        at_work(tmp_path / "app.db", CROWD, readers=2) as crowd,
    ):
        stood = {done(crowd, tmp_path, "apply", "meeting", {"up_to_date"})}
        models(tmp_path, NEW_BANK)
        stood.add(done(crowd, tmp_path, "apply", "apply with a copied table", {"migrated"}))
        stood.add(done(crowd, tmp_path, "rollback", "rollback", {"migrated"}))
        models(tmp_path, WIDER_BANK)
        if served:
            sidecar.until(lambda entry: entry["stage"] is not None and not entry["busy"])
        stood.add(done(crowd, tmp_path, "gate", "window", {"migrated", "up_to_date"}))
        with crowd.phase("backup"):
            backup = driftd("backup", "create", "--json", folder=tmp_path).document["backup"]["id"]
        time.sleep(0.1)
        with crowd.phase("restore"):
            restored = driftd("backup", "restore", backup, "--json", folder=tmp_path).document
        time.sleep(0.1)
    assert crowd.odd() == []
    seen = {sql for reader in crowd.readers for sql in reader.told["seen"]}
    assert seen <= stood, seen - stood
    assert audited(tmp_path / "app.db") == []
    kept = [transfers(tmp_path / "app.db")]
    if "error" in restored:
        assert restored["error"]["code"] in BUSY, restored
    else:
        kept.append(transfers(Path(restored["safety_backup"]["path"])))
        assert audited(Path(restored["safety_backup"]["path"]), immutable=True) == []
    tokens = [{row[-1] for row in rows} for rows in kept]
    assert crowd.acknowledged() <= set().union(*tokens)
    assert [len(one) for one in tokens] == [len(rows) // 2 for rows in kept]
    bank = House(tmp_path, journal)
    assert api.history_verify(bank.target())["problems"] == []
    assert api.backup_verify(bank.target())["ok"]
    noted([f"{journal}, served={served}, {story}: {len(kept[0])} transfers", *figures(crowd.waits())])


def models(folder: Path, sql: str) -> None:
    """The models move on."""
    (folder / "models.sql").write_text(sql, encoding="utf-8")


def done(crowd: Crowd, folder: Path, command: str, phase: str, outcomes: set[str]) -> str:
    """A command that comes to one of these outcomes; where others were in the way it may be typed again, as it says.

    Returns the stored DDL of the table by which readers tell schemas apart.
    """
    for _ in range(TRIES):
        with crowd.phase(phase):
            document = driftd(command, "--json", folder=folder).document
        if document["outcome"] in outcomes:
            assert (document["held"], document["blocked"]) == ([], []), document
            return House(folder).stored("transfer")
        assert document["outcome"] == "deferred", document
        assert document["error"]["code"] in BUSY, document
    raise AssertionError(f"{command} never had its turn: {document}")
