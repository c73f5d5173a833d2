"""What a person orders over the socket: it waits its turn, is carried out once, and the target is looked at behind it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from driftd.client import Client
from support.sidecars import MODELS, WIDER, columns, execute, house, make, running
from support.starters import starting

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecars import Sidecar


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A service's database with a row."""
    make(tmp_path / "app.db")
    return tmp_path / "app.db"


def changed_by_hand(sidecar: Sidecar) -> None:
    """Somebody adds a column, after driftd has met the database; returns when the daemon has seen it."""
    assert sidecar.command("apply").code == 0
    sidecar.state("in_sync")
    execute(sidecar.folder / "app.db", "ALTER TABLE task ADD COLUMN note TEXT")
    held = sidecar.state("held")["held"]
    assert [one["name"] for one in held] == ["note"]


def test_what_was_done_by_hand_is_agreed_to(tmp_path: Path, database: Path) -> None:
    """adopt: the answer, who did it in the log, and the target is in sync with one difference accepted."""
    with running(house(tmp_path)) as sidecar:
        changed_by_hand(sidecar)
        with sidecar.followed() as follower:
            document = sidecar.result("adopt", words=["task.note"])
            assert (document["outcome"], document["in_sync"]) == ("adopted", True)
            assert follower.until(lambda one: one["busy"] == "order")["state"] == "applying"
            entry = follower.state("in_sync")
        assert entry["accepted"] == 1
        assert columns(database) == ["id", "title", "note"]
        assert "adopt by user " in sidecar.log


def test_what_was_done_by_hand_is_undone(tmp_path: Path, database: Path) -> None:
    """revert: a dry run changes nothing, the order itself is a migration, and the column is gone."""
    with running(house(tmp_path)) as sidecar, Client(sidecar.socket, timeout=30) as client:
        changed_by_hand(sidecar)
        tried = client.do_revert(dry_run=True)
        assert (tried["outcome"], tried["dry_run"], tried["operations"]) == ("migrated", True, 1)
        assert columns(database) == ["id", "title", "note"]
        done = client.do_revert(["task.note"])
        assert (done["outcome"], done["operations"], done["error"]) == ("migrated", 1, None)
        assert columns(database) == ["id", "title"]
        entry = sidecar.state("in_sync")
        assert entry["last_migration"]["migration_id"] == done["migration_id"]
        assert "over the socket" in entry["last_migration"]["allowed_by"]


def test_an_order_that_is_refused_is_told_and_does_no_harm(tmp_path: Path, database: Path) -> None:
    """An unknown word comes back as the error that it is, and the target goes on as it was."""
    with running(house(tmp_path)) as sidecar:
        changed_by_hand(sidecar)
        assert sidecar.error("adopt", words=["task.nota"])["code"] == "word-unknown"
        assert sidecar.error("rollback", migration="m_none")["code"] == "migration-unknown"
        assert sidecar.state("held")["problem"] is None
        assert columns(database) == ["id", "title", "note"]


def test_observe_and_a_pause_refuse_orders(tmp_path: Path, database: Path) -> None:
    """The daemon never writes in mode observe, nor while somebody works by hand."""
    with running(house(tmp_path, mode="observe")) as sidecar:
        sidecar.state("in_sync")
        for command in ("adopt", "revert", "rollback"):
            assert sidecar.error(command)["code"] == "mode-observe"
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        sidecar.result("pause")
        for command in ("adopt", "revert", "rollback"):
            assert sidecar.error(command)["code"] == "target-paused"
    assert columns(database) == ["id", "title"]


def test_while_a_service_starts_nothing_is_ordered(tmp_path: Path, database: Path) -> None:
    """Its window is answered; an order is refused as long as it is open, and done when it is closed."""
    with running(house(tmp_path)) as sidecar:
        changed_by_hand(sidecar)
        with starting(database) as service:
            assert service.ask(sidecar)["outcome"] == "held"
            assert sidecar.error("revert")["code"] == "service-starting"
            assert "note" in columns(database)
        assert sidecar.result("revert")["outcome"] == "migrated"
        assert "note" not in columns(database)


def test_orders_given_at_once_are_carried_out_one_after_the_other(tmp_path: Path, database: Path) -> None:
    """Two people revert the same: the second finds nothing left to undo."""
    with running(house(tmp_path)) as sidecar, ThreadPoolExecutor(2) as people:
        changed_by_hand(sidecar)
        orders = [people.submit(sidecar.result, "revert") for _ in range(2)]
        outcomes = sorted(one.result()["outcome"] for one in orders)
        assert outcomes == ["migrated", "up_to_date"]
        assert columns(database) == ["id", "title"]


def test_who_hangs_up_does_not_stop_an_order(tmp_path: Path, database: Path) -> None:
    """The work goes on to its end, as that of a stage does."""
    with running(house(tmp_path)) as sidecar:
        changed_by_hand(sidecar)
        with sidecar.followed() as follower:
            with sidecar._connected() as stream:
                stream.write(b'{"command": "revert"}\n')
                stream.flush()
            follower.state("in_sync")
        assert columns(database) == ["id", "title"]


def test_who_hangs_up_leaves_the_next_order_its_turn(tmp_path: Path, database: Path) -> None:
    """Several hang up over orders that are under way or wait: whoever asks then gets an answer, and all was carried out once."""
    with running(house(tmp_path)) as sidecar:
        changed_by_hand(sidecar)
        for _ in range(5):
            with sidecar._connected() as stream:
                stream.write(b'{"command": "revert"}\n')
                stream.flush()
        assert sidecar.result("revert")["outcome"] == "up_to_date"
        assert columns(database) == ["id", "title"]
        undone = sidecar.command("history", "--json").document["migrations"]
        assert [one["kind"] for one in undone].count("migration") == 1, "it was undone once"


def test_in_mode_dev_a_rollback_is_not_done_again(tmp_path: Path, database: Path) -> None:
    """A save is followed at once; rolled back, it is held until the models change or somebody approves it."""
    with running(house(tmp_path, mode="dev")) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        migration = sidecar.until(lambda one: one["state"] == "in_sync" and one["last_migration"] is not None)
        assert columns(database) == ["id", "title", "state"]
        done = sidecar.result("rollback")
        assert (done["outcome"], done["undoes"]["left"]) == ("migrated", [])
        assert done["undoes"]["migration_id"] == migration["last_migration"]["migration_id"]
        held = sidecar.state("held")["held"]
        assert [(one["name"], one["code"]) for one in held] == [("state", "rolled-back")]
        assert columns(database) == ["id", "title"]
        told = sidecar.command("status")
        assert "do it again: add column state (task)" in told.out
        pasted = next(line.split() for line in told.out.splitlines() if "driftd approve" in line)
        assert sidecar.command(*pasted[1:]).code == 0
        sidecar.state("in_sync")
        assert columns(database) == ["id", "title", "state"]
        (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")


def test_a_rollback_takes_the_turn_of_a_stage(tmp_path: Path, database: Path) -> None:
    """Ordered while staging: the stage is given up, the rollback done, and what is left staged again."""
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        sidecar.state("ready")
        assert sidecar.command("apply").code == 0
        sidecar.state("in_sync")
        (tmp_path / "models.sql").write_text(
            WIDER.replace("state TEXT", "due TEXT, state TEXT"), encoding="utf-8"
        )
        sidecar.until(lambda one: one["state"] in {"staging", "ready"})
        assert sidecar.result("rollback")["outcome"] == "migrated"
        entry = sidecar.state("ready", "held")
        assert {one["name"] for one in entry["plan"]["operations"]} == {"due", "state"}
        assert columns(database) == ["id", "title"]
