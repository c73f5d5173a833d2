"""Links, pipes and folders where driftd keeps its files, strangers who may write there, and the rights of all that it makes.

The number of tries is how many such files were laid in its way, or how many rights were looked at.
"""

from __future__ import annotations

import json
import os
import re
import stat
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import unprivileged
from driftd import lock_file
from driftd.doctor.strangers import open_to_all
from driftd.socket_file import take_socket
from driftengine import api, approvals, memory
from driftengine.backup_files import folder_for, journal_of, stranger_in
from driftengine.errors import DriftError, HistoryError
from support.crash_points import ALL
from support.migrations import House
from support.sidecars import MODELS, NARROWER, WIDER, columns, house, make, running
from support.sockets import socket_folder
from support.starters import starting

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a second user: run the tests as root")
KINDS = ("link", "dangling link", "hard link", "pipe", "folder", "link to a folder")
OLD = "backup_20200101_000000_000"


class Victim:
    """A folder of somebody else's, into which links lead; nothing in it may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "folder").mkdir(parents=True)
        (folder / "file").write_text("precious\n", encoding="utf-8")
        (folder / "file").chmod(0o640)
        self._before = self._now()

    def lay(self, kind: str, path: Path) -> None:
        """Lays something of that kind at a path."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if kind == "hard link":
            path.hardlink_to(self.folder / "file")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            leads = {"link": "file", "dangling link": "missing", "link to a folder": "folder"}[kind]
            path.symlink_to(self.folder / leads)

    def is_untouched(self) -> bool:
        """True while everything is as it was: what there is, content, rights, owners and names."""
        return self._now() == self._before

    def _now(self) -> list[tuple[str, int, int, str]]:
        found = sorted(self.folder.rglob("*"))
        texts = (one.read_text(encoding="utf-8", errors="replace") if one.is_file() else "" for one in found)
        return [
            (str(one), one.lstat().st_mode, one.lstat().st_uid, text)
            for one, text in zip(found, texts, strict=True)
        ]


# --- the backup folder

BACKUPS = ("", "journal.jsonl", f"{OLD}.json", f"{OLD}.db", f"{OLD}.json.partial", f"{OLD}.db.partial", "rehearsal-x",
           "rehearsal-x/lock.db")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_in_a_backup_folder_is_followed(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    """Backups are made, listed, pruned and swept, or refused in words; nothing waits, and nothing outside is touched."""
    for number, name in enumerate(BACKUPS):
        home = House(tmp_path / f"house{number}", journal="delete")
        home.folder.mkdir()
        home.run(MODELS + "INSERT INTO task VALUES (1, 'a');")
        home.models(WIDER)
        victim = Victim(tmp_path / f"victim{number}")
        victim.lay(kind, folder_for(home.folder / "backups", os.path.realpath(home.database)) / name)
        doing = (api.backup_create, api.backup_list, api.backup_prune, api.history_verify)
        ends = [_ended(home.apply), *(_ended(partial(one, home.target())) for one in doing)]
        assert victim.is_untouched(), (name, ends)
        assert home.ask("SELECT id, title FROM task") == [(1, "a")]
        assert not any("Errno" in str(one) for one in ends), (name, ends)
    record_property("tries", len(BACKUPS))


def _ended(what: Callable[[], object]) -> object:
    """What came of it: an answer, or the code of an error in words."""
    try:
        return what()
    except DriftError as error:
        return error.code


# --- beside the database, at the socket, in the cache


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_beside_a_database_is_followed(
    tmp_path: Path, kind: str, record_property: Callable[[str, object], None]
) -> None:
    """Each lock and the answer's file: the service starts, and nothing outside is touched."""
    places = (lock_file.DAEMON, lock_file.STARTUP, lock_file.RESULT, lock_file.INUSE, ".startup.result.new")
    several = [places] if not ALL else [places, *((one,) for one in places)]
    for number, chosen in enumerate(several):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        sidecar = house(folder, models=WIDER)
        make(folder / "app.db")
        victim = Victim(folder / "victim")
        for ending in chosen:
            victim.lay(kind, folder / f"app.db{ending}")
        victim.lay(kind, folder / ".cache" / "driftd")
        done = sidecar.command("exec", "--timeout", "3", "--", "echo", "started")
        assert (done.code, done.out) == (0, "started\n"), done.err
        # Links to a folder of one's own are one's own: the cache may lie elsewhere.
        assert victim.is_untouched() or kind == "link to a folder", chosen
    record_property("tries", sum(map(len, several)) + len(several))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_at_the_socket_is_followed_or_removed(
    kind: str, record_property: Callable[[str, object], None]
) -> None:
    """What lies at its path or at its lock's is left alone, and the error says so."""
    for place in ("d.sock", "d.sock.lock"):
        with socket_folder() as folder:
            victim = Victim(folder / "victim")
            victim.lay(kind, folder / place)
            laid = (folder / place).lstat()
            with pytest.raises(DriftError) as caught:
                take_socket(folder / "d.sock").release()
            assert caught.value.code == "socket-unusable"
            assert os.path.samestat((folder / place).lstat(), laid)
            assert victim.is_untouched()
    record_property("tries", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_remembered_is_followed(tmp_path: Path, kind: str) -> None:
    """A remembered document is read from a file of our own alone, and written over the name, not through it."""
    victim = Victim(tmp_path / "victim")
    (tmp_path / "desired").mkdir(mode=0o700)
    path = tmp_path / "desired" / "one.json"
    victim.lay(kind, path)
    assert memory.read(path) is None
    memory.write(path, {"a": 1})
    assert victim.is_untouched()


# --- strangers


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A backup folder in which there is a journal with an approval."""
    home = House(tmp_path / "house", journal="delete")
    home.folder.mkdir()
    home.run(MODELS)
    folder = folder_for(home.folder / "backups", os.path.realpath(home.database))
    approvals.record(folder, str(home.database), "plan", ["plan-1"], "a person", {"plan-1": 1})
    assert list(approvals.given(folder)) == ["plan"]
    return folder


@pytest.mark.parametrize("what", ["folder", "folder above", "journal"])
def test_an_approval_that_anybody_could_have_written_is_none(shared: Path, what: str) -> None:
    """A backup folder or journal that everybody may write: what is approved there holds no more, and nothing is added."""
    opened = {"folder": shared, "folder above": shared.parent, "journal": journal_of(shared)}[what]
    opened.chmod(0o777)
    assert approvals.given_if_readable(shared) == {}
    with pytest.raises(HistoryError) as caught:
        approvals.given(shared)
    assert caught.value.code == "journal-open"
    with pytest.raises(HistoryError):
        approvals.record(shared, str(shared), "plan", ["plan-2"], "a person", {})
    opened.chmod(0o1777 if opened.is_dir() else 0o600)
    assert list(approvals.given(shared)) == ["plan"]


@needs_root
def test_a_folder_or_journal_of_somebody_else_is_not_believed(shared: Path) -> None:
    """In a folder of ours the journal of another user, and for a user the folder of another: root's counts for all."""
    os.chown(journal_of(shared), unprivileged.NOBODY, unprivileged.NOBODY)
    assert approvals.given_if_readable(shared) == {}
    assert stranger_in(shared) == f"{journal_of(shared)} belongs to user {unprivileged.NOBODY}"
    for one in (shared, shared.parent):
        os.chown(one, unprivileged.NOBODY, unprivileged.NOBODY)
    assert list(approvals.given(shared)) == ["plan"]  # as root in the folder of its owner


@needs_root
def test_what_a_stranger_has_approved_is_not_dropped() -> None:
    """Another user writes an approval into a backup folder that is open to all: the daemon goes on waiting, and says why."""
    with socket_folder() as folder:
        sidecar = house(folder, mode="dev")
        make(folder / "app.db")
        with running(sidecar):
            sidecar.state("in_sync")
            (folder / "models.sql").write_text(NARROWER)
            entry = sidecar.state("held")
            backups = folder_for(folder / "backups", os.path.realpath(folder / "app.db"))
            for one in (backups.parent, backups):
                one.mkdir(exist_ok=True)
                one.chmod(0o777)
            unprivileged.run(_FORGE, journal_of(backups), entry["plan"]["id"], entry["held"][0]["operation"])
        with running(sidecar):
            # With an approval that counts, this mode has dropped the column by now.
            assert sidecar.state("held", "in_sync")["approved"] == []
            assert columns(folder / "app.db") == ["id", "title"]
            assert sidecar.command("approve", entry["held"][0]["operation"]).code == 1
            told = sidecar.command("doctor", "--json").document["findings"]
            assert {one["what"] for one in told if one["code"] == "writable-by-all"} == {
                f"everybody may write {backups}",
                f"everybody may write {backups.parent}",
            }


_FORGE = """
import json, os, sys
line = {"schema_version": 1, "event": "approved", "at": "2026-01-01T00:00:00.000Z", "database_id": ""}
line["detail"] = {"plan_id": sys.argv[2], "operations": [sys.argv[3]], "by": "root", "counts": {sys.argv[3]: 1000000}}
if os.path.exists(sys.argv[1]):
    os.rename(sys.argv[1], sys.argv[1] + ".old")
with open(sys.argv[1], "w") as file:
    file.write(json.dumps(line) + chr(10))
os.chmod(sys.argv[1], 0o666)
"""


def test_doctor_tells_what_everybody_may_write(tmp_path: Path) -> None:
    """The configuration, models, database and backups, each file and folder, with the command that closes it."""
    folder = tmp_path / "a project"
    folder.mkdir()
    sidecar = house(folder)
    make(folder / "app.db")
    places = [folder, folder / "driftd.toml", folder / "models.sql", folder / "app.db"]
    for one in places:
        one.chmod(one.stat().st_mode | 0o002)
    told = sidecar.command("doctor", "--json").document["findings"]
    found = [one for one in told if one["code"] == "writable-by-all"]
    assert {one["what"] for one in found} == {f"everybody may write {one}" for one in places}
    assert {one["fix"] for one in found} == {f"chmod o-w '{one}'" for one in places}
    assert not open_to_all(Path("/tmp"))  # noqa: S108  # nobody may touch what belongs to others there


@needs_root
def test_another_user_gets_nothing_from_files_and_socket(
    record_property: Callable[[str, object], None],
) -> None:
    """As nobody, beside a database that all may read: no file of driftd's can be written, and the socket is shut."""
    with socket_folder() as folder:
        sidecar = house(folder)
        make(folder / "app.db")
        (folder / "app.db").chmod(0o644)
        with running(sidecar):
            sidecar.state("in_sync")
            assert sidecar.command("backup", "create").code == 0
            paths = [str(one) for one in folder.rglob("*")]
            told = json.loads(unprivileged.run(_TRY, *paths))
            assert told["written"] == []
            assert {Path(one).name for one in told["read"]} & {"journal.jsonl", "d.sock.lock"} == set()
            assert told["connected"] == []
        record_property("tries", 3 * len(paths))


_TRY = """
import json, os, socket, sys
told = {"read": [], "written": [], "connected": []}
for path in sys.argv[1:]:
    for name, flags in (("read", os.O_RDONLY), ("written", os.O_WRONLY | os.O_APPEND)):
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK))
            told[name].append(path)
        except OSError:
            pass
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(path)
            told["connected"].append(path)
    except OSError:
        pass
print(json.dumps(told))
"""


# --- the rights of all that is made


def _table(text: str) -> dict[str, str]:
    """`docs/security.md`: the mode of each file, by a pattern of its name."""
    rows = re.findall(r"^\| `([^`]+)` \| (0[0-7]{3}|as the database) \|", text, re.MULTILINE)
    return dict(rows)


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
@pytest.mark.timeout(300)
def test_every_file_has_the_rights_that_the_page_says(
    umask: int, record_property: Callable[[str, object], None]
) -> None:
    """Through a whole story, with any umask of daemon and commands: nothing is made that the page does not list."""
    with socket_folder() as folder:
        sidecar = house(folder)
        make(folder / "app.db", journal="wal")
        (folder / "app.db").chmod(0o640)
        given = {one.name for one in folder.iterdir()} | {"driftd.log"}
        (folder / "driftd.log").touch()
        before = os.umask(umask)
        try:
            found = _story(sidecar)
        finally:
            os.umask(before)
        table, momentary = (
            _table(PAGE.partition("### For a moment")[0]),
            _table(PAGE.partition("### For a moment")[2]),
        )
        table |= momentary
        seen: dict[str, str] = {}
        for name, mode in found.items():
            if name in given:
                continue
            pattern = next((one for one in table if re.fullmatch(_as_pattern(one), name)), "")
            assert pattern, f"{name} is not on the page"
            wanted = 0o640 if table[pattern] == "as the database" else int(table[pattern], 8)
            assert stat.S_IMODE(mode) == wanted, (name, oct(mode))
            seen[pattern] = name
        assert set(table) - set(seen) - set(momentary) == set()
        record_property("tries", len(found))


def _story(sidecar: Any) -> dict[str, int]:
    """All that lies in the folder at some time, by its path there, with its mode."""
    folder: Path = sidecar.folder
    found: dict[str, int] = {}

    def look() -> None:
        for one in folder.rglob("*"):
            try:
                found[str(one.relative_to(folder))] = one.lstat().st_mode
            except FileNotFoundError:
                continue  # it has just gone

    with running(sidecar):
        sidecar.state("in_sync")
        assert sidecar.command("exec", "--", "true").code == 0
        (folder / "models.sql").write_text(NARROWER)
        held = sidecar.state("held")["held"][0]["operation"]
        look()
        assert sidecar.command("approve", held).code == 0
        sidecar.state("ready")
        look()
        with starting(folder / "app.db", socket=False) as service:
            service.knock()
            assert service.read()["outcome"] == "migrated"
            look()
        sidecar.state("in_sync")
        assert sidecar.command("rollback").code == 0
        assert sidecar.command("backup", "create").code == 0
        assert sidecar.command("check").code == 1
        look()
    return found


def _as_pattern(name: str) -> str:
    """`BACKUPS/NAME-HASH/backup_TIME.db`: these three are known, any other word in capitals is anything without a slash."""
    known = name.replace("DATABASE", "app.db").replace("BACKUPS", "backups").replace("SOCKET", "d")
    return re.sub(r"[A-Z]{4,}", "[^/]+", re.escape(known))
