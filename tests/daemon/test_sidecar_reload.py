"""The configuration moves under a running daemon, and other daemons come: who is served, who is refused, what is told."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from support.sidecars import CONFIGURATION, MODELS, PATIENCE, WIDER, Sidecar, columns, house, make, running

if TYPE_CHECKING:
    from pathlib import Path

    from support.sidecars import Document

WEB = '\n[targets.web]\nurl = "sqlite:///web.db"\nmodels = ["models.sql"]\n'
WINDOW = CONFIGURATION.format(mode="window")


def configure(folder: Path, text: str) -> None:
    """Saves the configuration as an editor does."""
    (folder / "next.toml").write_text(text, encoding="utf-8")
    (folder / "next.toml").replace(folder / "driftd.toml")


def until_reloaded(sidecar: Sidecar, text: str) -> Document:
    """Saves a configuration; what its taking over has changed, as the event tells it."""
    with sidecar.followed() as follower:
        configure(sidecar.folder, text)
        while (event := follower.next())["event"] != "reloaded":
            pass
    return {word: event[word] for word in ("added", "removed", "changed", "kept")}


def problems(sidecar: Sidecar) -> list[str]:
    """The codes of what the daemon as a whole complains of."""
    return [one["code"] for one in sidecar.result("status")["daemon"]["problems"]]


def ended(folder: Path, *options: str) -> tuple[int, str]:
    """Another daemon that must end by itself: its exit code, and what it said."""
    other = Sidecar(folder, options=options)
    (folder / "driftd.log").touch()
    before = len(other.log)
    code = other.launch().wait(PATIENCE)
    return code, other.log[before:]


def test_a_saved_configuration_is_taken_over(tmp_path: Path) -> None:
    """A target is added, changed and removed by saving the file; one that is kept is not looked at again."""
    make(tmp_path / "app.db")
    make(tmp_path / "web.db")
    with running(house(tmp_path)) as sidecar:
        looked_at = sidecar.state("in_sync")["looked_at"]
        told = until_reloaded(sidecar, WINDOW + WEB)
        assert told == {"added": ["web"], "removed": [], "changed": [], "kept": ["app"]}
        sidecar.state("in_sync", target="web")
        told = until_reloaded(sidecar, WINDOW + WEB + 'mode = "observe"\n')
        assert told == {"added": [], "removed": [], "changed": ["web"], "kept": ["app"]}
        assert sidecar.state("in_sync", target="web")["mode"] == "observe"
        told = until_reloaded(sidecar, WINDOW)
        assert told == {"added": [], "removed": ["web"], "changed": [], "kept": ["app"]}
        assert sidecar.error("check", target="web")["code"] == "target-unknown"
        assert sidecar.entry()["looked_at"] == looked_at
        assert not sidecar.children()
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        sidecar.state("ready")


def test_a_target_that_was_removed_is_free_for_another_daemon(tmp_path: Path) -> None:
    """Its lock goes with it: a daemon of its own may serve it at once, and back again."""
    make(tmp_path / "app.db")
    make(tmp_path / "web.db")
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "models.sql").write_text(MODELS, encoding="utf-8")
    alone = WINDOW.replace("app", "web").replace("web.db", "../web.db")
    configure(tmp_path / "beside", alone)
    with running(house(tmp_path, configuration=WINDOW + WEB)) as sidecar:
        sidecar.state("in_sync", target="web")
        code, said = ended(tmp_path / "beside")
        assert code == 2
        assert "error[target-served]" in said
        until_reloaded(sidecar, WINDOW)
        with running(Sidecar(tmp_path / "beside")) as other:
            other.state("in_sync", target="web")
            configure(tmp_path, WINDOW + WEB)
            refused = sidecar.error("reload")
            assert refused["code"] == "target-served"
            assert other.process is not None
            assert str(other.process.pid) in refused["why"] + refused["what"]
            assert [one["target"] for one in sidecar.result("status")["targets"]] == ["app"]
            assert problems(sidecar) == ["target-served"]
            assert other.stop() == 0
        sidecar.result("reload")  # the watcher may have been faster, now that the database is free
        assert [one["target"] for one in sidecar.result("status")["targets"]] == ["app", "web"]
        assert problems(sidecar) == []


def test_half_a_configuration_is_told_and_the_old_one_stays(tmp_path: Path) -> None:
    """Saved in two pieces: a problem with its line is shown, the target is served on; the second piece ends it."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        text = WINDOW + WEB
        (tmp_path / "driftd.toml").write_text(text[:-20], encoding="utf-8")
        refused = sidecar.error("reload")
        assert refused["code"].startswith("configuration-")
        assert problems(sidecar) == [refused["code"]]
        told = sidecar.command("status", "--socket", "d.sock")
        assert told.code == 1
        assert refused["code"] in told.out
        (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
        sidecar.state("ready")
        assert until_reloaded(sidecar, text)["added"] == ["web"]
        assert problems(sidecar) == []


def test_a_configuration_that_vanishes_and_comes_back_changes_nothing(tmp_path: Path) -> None:
    """Its removal is a problem that is told; the daemon serves on, and the same file again is well."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        looked_at = sidecar.state("in_sync")["looked_at"]
        (tmp_path / "driftd.toml").unlink()
        assert sidecar.error("reload")["code"].startswith("configuration-")
        assert sidecar.entry()["state"] == "in_sync"
        assert until_reloaded(sidecar, WINDOW)["kept"] == ["app"]
        assert problems(sidecar) == []
        assert sidecar.entry()["looked_at"] == looked_at


def test_no_other_file_is_served_while_the_one_that_was_found_is_away(tmp_path: Path) -> None:
    """Found in the working directory at the start, moved away: neither the shipped configuration nor another takes its place."""
    make(tmp_path / "app.db")
    sidecar = house(tmp_path)
    sidecar.configured = ()
    with running(sidecar):
        sidecar.state("in_sync")
        (tmp_path / "driftd.toml").rename(tmp_path / "aside")
        refused = sidecar.error("reload")
        assert (refused["code"], "is gone" in refused["what"]) == ("configuration-missing", True)
        assert [one["target"] for one in sidecar.result("status")["targets"]] == ["app"]
        (tmp_path / "aside").rename(tmp_path / "driftd.toml")
        assert sidecar.result("reload")["kept"] == ["app"]


def test_one_database_that_cannot_be_had_costs_no_other_target(tmp_path: Path) -> None:
    """All targets change and one new one is refused: those that were served are served as before."""
    make(tmp_path / "app.db")
    make(tmp_path / "web.db")
    (tmp_path / "beside").mkdir()
    with running(house(tmp_path, configuration=WINDOW)) as sidecar:
        looked_at = sidecar.state("in_sync")["looked_at"]
        (tmp_path / "beside" / "models.sql").write_text(MODELS, encoding="utf-8")
        configure(tmp_path / "beside", WINDOW.replace("app", "web").replace("web.db", "../web.db"))
        with running(Sidecar(tmp_path / "beside")) as other:
            other.state("in_sync", target="web")
            configure(tmp_path, WINDOW.replace("window", "observe") + WEB)
            assert sidecar.error("reload")["code"] == "target-served"
            entry = sidecar.entry()
            assert (entry["mode"], entry["state"], entry["looked_at"]) == ("window", "in_sync", looked_at)


def test_a_link_that_leads_to_another_database_is_followed(tmp_path: Path) -> None:
    """The path of the target is a symbolic link; pointed elsewhere, that is what is looked at, locked and shown."""
    make(tmp_path / "v1.db")
    make(tmp_path / "v2.db", WIDER)
    (tmp_path / "app.db").symlink_to("v1.db")
    with running(house(tmp_path)) as sidecar:
        assert sidecar.state("in_sync")["database"] == str(tmp_path / "v1.db")
        (tmp_path / "new").symlink_to("v2.db")
        (tmp_path / "new").replace(tmp_path / "app.db")
        entry = sidecar.until(
            lambda one: one["database"] == str(tmp_path / "v2.db") and one["state"] == "held"
        )
        assert [one["name"] for one in entry["held"]] == ["state"]


def test_what_cannot_be_changed_while_it_runs_is_told(tmp_path: Path) -> None:
    """Another socket path takes effect at the next start: the log says so, and the old socket answers on."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert until_reloaded(sidecar, WINDOW.replace("d.sock", "e.sock"))["kept"] == ["app"]
        assert "daemon.socket has changed: it takes effect when driftd is started again" in sidecar.log
        assert not (tmp_path / "e.sock").exists()
        assert sidecar.result("status")["daemon"]["socket"] == str(tmp_path / "d.sock")
        said = len(sidecar.log)
        until_reloaded(sidecar, WINDOW)
        assert "takes effect" not in sidecar.log[said:], "it is what it was"


def test_two_targets_that_change_places_are_served(tmp_path: Path) -> None:
    """The databases of two targets are swapped in one reload: each lock goes from one hand to the other."""
    make(tmp_path / "app.db")
    make(tmp_path / "web.db", WIDER)
    with running(house(tmp_path, configuration=WINDOW + WEB)) as sidecar:
        sidecar.state("in_sync")
        sidecar.state("held", target="web")
        swapped = (
            (WINDOW + WEB).replace("app.db", "x.db").replace("web.db", "app.db").replace("x.db", "web.db")
        )
        assert sorted(until_reloaded(sidecar, swapped)["changed"]) == ["app", "web"]
        sidecar.state("held")
        sidecar.state("in_sync", target="web")


def test_two_targets_of_one_database_are_refused_before_anything_is_given_up(tmp_path: Path) -> None:
    """At a reload the target that is there is served on; a daemon that starts with them has a bad configuration: 78."""
    make(tmp_path / "app.db")
    twins = WINDOW + WEB.replace("web.db", "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        configure(tmp_path, twins.replace('mode = "window"', 'mode = "observe"'))
        assert sidecar.error("reload")["code"] == "target-served-here"
        assert sidecar.entry()["state"] == "in_sync"
        assert sidecar.entry()["mode"] == "window"
        assert sidecar.stop() == 0
    code, said = ended(tmp_path)
    assert code == 78
    assert "error[target-served-here]" in said
    assert "app and web" in said


def test_a_hanging_look_does_not_keep_a_reload_waiting(tmp_path: Path) -> None:
    """Models that never finish loading are taken out of the configuration: their process goes, the reload is done."""
    make(tmp_path / "app.db")
    (tmp_path / "stuck.py").write_text("import threading\nthreading.Event().wait()\n", encoding="utf-8")
    stuck = '\n[targets.stuck]\nurl = "sqlite:///stuck.db"\nmodels = ["stuck:Base"]\n'
    with running(house(tmp_path, configuration=WINDOW + stuck)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.entry("stuck")["busy"] == "look"
        assert until_reloaded(sidecar, WINDOW)["removed"] == ["stuck"]
        assert sidecar.children() == []


def test_a_second_daemon_is_refused_whichever_way_it_comes(tmp_path: Path) -> None:
    """The same configuration, the same socket, the same database behind a link: each is told, the first serves on."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        assert sidecar.process is not None
        pid = str(sidecar.process.pid)
        code, said = ended(tmp_path)
        assert code == 2
        assert "error[" in said
        assert pid in said
        (tmp_path / "linked").mkdir()
        (tmp_path / "linked" / "app.db").symlink_to(tmp_path / "app.db")
        shutil.copy(tmp_path / "models.sql", tmp_path / "linked")
        configure(tmp_path / "linked", WINDOW)
        code, said = ended(tmp_path / "linked")
        assert code == 2
        assert "error[target-served]" in said
        assert pid in said
        code, said = ended(tmp_path / "linked", "--socket", str(tmp_path / "d.sock"))
        assert code == 2
        assert pid in said
        assert sidecar.result("status")["verdict"] == "healthy"


def test_a_socket_that_a_killed_daemon_left_is_taken_over(tmp_path: Path) -> None:
    """SIGKILL leaves socket and lock files; the next daemon starts all the same."""
    make(tmp_path / "app.db")
    with running(house(tmp_path)) as sidecar:
        sidecar.state("in_sync")
        sidecar.stop(signal.SIGKILL)
        assert sidecar.socket.exists()
        assert sidecar.command("status").code == 3
        sidecar.start()
        sidecar.state("in_sync")
        assert sidecar.command("status").code == 0
        assert sidecar.stop() == 0
    assert columns(tmp_path / "app.db") == ["id", "title"]
