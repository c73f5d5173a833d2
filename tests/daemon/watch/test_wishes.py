"""What is watched for a target, and which events matter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftd.watch.wishes import (
    CLOSED,
    COME_AND_GO,
    CREATED,
    DELETED,
    MODIFIED,
    MOVED,
    Wish,
    follow,
    relevant,
    wishes_for,
)

if TYPE_CHECKING:
    from pathlib import Path

LOUD = Wish("/p", frozenset({"models.py", "schema.sql"}))
PACKAGE = Wish("/p", frozenset({"models.py"}), sources=True)
QUIET = Wish("/p", frozenset({"app.db"}), quiet=True)
WRITTEN = {CLOSED, MODIFIED}
KINDS = sorted(COME_AND_GO | WRITTEN)


@dataclass
class PaperDisk:
    """A disk on paper."""

    folders: set[str] = field(default_factory=set)
    links: dict[str, str] = field(default_factory=dict)

    def link(self, path: str) -> str | None:
        """As `Disk.link`."""
        return self.links.get(path)

    def is_folder(self, path: str) -> bool:
        """As `Disk.is_folder`."""
        return path == "/" or path in self.folders


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_wished_for_matters_with_every_change(kind: str) -> None:
    """Created, deleted, moved and written: all of them, and only for that name."""
    assert relevant(LOUD, kind, ["/p/schema.sql"])
    assert not relevant(LOUD, kind, ["/p/other.py"])
    assert not relevant(LOUD, kind, ["/q/schema.sql"])
    assert not relevant(LOUD, kind, ["/p/sub/schema.sql"])


@pytest.mark.parametrize("kind", ["opened", "closed_no_write", "attrib", "accessed", ""])
def test_reading_matters_to_nobody(kind: str) -> None:
    """Opening, closing unwritten and attributes are no change, whatever the wish."""
    assert not any(
        relevant(wish, kind, [f"/p/{name}"]) for wish in (LOUD, PACKAGE, QUIET) for name in wish.names
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_quiet_wish_hears_only_what_comes_and_goes(kind: str) -> None:
    """Writing into a database is no news here; replacing it is."""
    assert relevant(QUIET, kind, ["/p/app.db"]) is (kind not in WRITTEN)


@pytest.mark.parametrize("name", ["app.db-wal", "app.db-shm", "app.db-journal", "other.db"])
def test_what_stands_beside_a_database_does_not_matter(name: str) -> None:
    """Anybody's opening and closing of the database makes and deletes these, ours included."""
    assert not any(relevant(QUIET, kind, [f"/p/{name}"]) for kind in KINDS)


def test_either_end_of_a_move_may_matter() -> None:
    """A file is saved by moving a new one over it, and lost by moving it away."""
    assert relevant(LOUD, MOVED, ["/p/.tmp123", "/p/models.py"])
    assert relevant(LOUD, MOVED, ["/p/models.py", "/p/models.py.old"])
    assert not relevant(LOUD, MOVED, ["/p/a", "/p/b"])


@pytest.mark.parametrize(
    "name", ["new.py", "speedups.so", "speedups.cpython-313.pyd", "ünï cödé.py", "a\nb.py"]
)
def test_new_modules_matter_in_a_package(name: str) -> None:
    """What could be imported from now on, in a folder whose sources are wished for, and only there."""
    assert relevant(PACKAGE, CREATED, [f"/p/{name}"])
    assert relevant(PACKAGE, CLOSED, [f"/p/{name}"])
    assert not relevant(LOUD, CREATED, [f"/p/{name}"])


@pytest.mark.parametrize(
    "name",
    ["4913", "models.py~", ".models.py.swp", ".#models.py", "#models.py#", ".hidden.py", "models.pyc", "notes.txt",
     "models.py___jb_tmp___", "sedX1y2z3"],
)  # fmt: skip
def test_what_editors_leave_behind_does_not_matter(name: str) -> None:
    """Temporary, hidden and backup files of editors cannot be imported."""
    assert not any(relevant(PACKAGE, kind, [f"/p/{name}"]) for kind in KINDS)


@pytest.mark.parametrize(
    ("name", "matters"),
    [("sub", True), ("sub.package", True), ("__pycache__", False), (".git", False), (".mypy_cache", False)],
)
def test_subfolders_that_come_and_go(name: str, matters: bool) -> None:
    """A subpackage matters, caches do not; that something happened inside is heard there, not here."""
    assert relevant(PACKAGE, CREATED, [f"/p/{name}"], is_folder=True) is matters
    assert not relevant(PACKAGE, MODIFIED, [f"/p/{name}"], is_folder=True)
    assert not relevant(LOUD, CREATED, [f"/p/{name}"], is_folder=True)


def test_the_end_of_the_folder_itself_matters() -> None:
    """Whatever was wished for in it is gone."""
    assert all(relevant(wish, DELETED, ["/p"], is_folder=True) for wish in (LOUD, PACKAGE, QUIET))


def test_the_wishes_of_a_plain_project() -> None:
    """Sources and configuration are listened to aloud, the database and the parents quietly."""
    disk = PaperDisk({"/srv", "/srv/app", "/srv/app/shop", "/srv/data"})
    wishes = wishes_for(
        ["/srv/app/shop/models.py", "/srv/app/schema.sql"],
        ["/srv/app/shop"],
        "/srv/app/driftd.toml",
        "/srv/data/shop.db",
        disk,
    )
    assert wishes == (
        Wish("/srv", frozenset({"app", "data"}), quiet=True),
        Wish("/srv/app", frozenset({"schema.sql", "driftd.toml"})),
        Wish("/srv/app", frozenset({"shop"}), quiet=True),
        Wish("/srv/app/shop", frozenset({"models.py"}), sources=True),
        Wish("/srv/data", frozenset({"shop.db"}), quiet=True),
    )


def test_a_missing_folder_is_waited_for_from_above() -> None:
    """Each missing level is waited for in the one above it, up to one that is there."""
    wishes = wishes_for([], [], None, "/var/lib/app/data/shop.db", PaperDisk({"/var", "/var/lib"}))
    assert wishes == (
        Wish("/var/lib", frozenset({"app"}), quiet=True),
        Wish("/var/lib/app", frozenset({"data"}), quiet=True),
        Wish("/var/lib/app/data", frozenset({"shop.db"}), quiet=True),
    )


def test_a_linked_source_is_watched_at_both_ends() -> None:
    """The link may be pointed elsewhere, and the real file may be written."""
    disk = PaperDisk({"/p", "/q"}, {"/p/models.py": "../q/real.py"})
    wishes = wishes_for(["/p/models.py"], [], disk=disk)
    assert Wish("/p", frozenset({"models.py"}), quiet=True) in wishes
    assert Wish("/q", frozenset({"real.py"})) in wishes


def test_a_release_folder_behind_a_link_is_watched_with_its_link() -> None:
    """Switching `current` to another release is seen where `current` stands; no wish goes through a link."""
    disk = PaperDisk({"/srv", "/srv/r2", "/srv/r2/shop"}, {"/srv/current": "r2"})
    wishes = wishes_for(["/srv/current/shop/models.py"], ["/srv/current/shop"], disk=disk)
    assert Wish("/srv", frozenset({"current"}), quiet=True) in wishes
    assert Wish("/srv/r2/shop", frozenset({"models.py"}), sources=True) in wishes
    assert not any(wish.folder.startswith("/srv/current") for wish in wishes)


def test_a_loop_of_links_ends() -> None:
    """Links that lead to each other are given up like the system does."""
    disk = PaperDisk({"/p"}, {"/p/a": "b", "/p/b": "a"})
    _, links = follow("/p/a", disk.link)
    assert links == ("/p/a", "/p/b")


PARTS = st.sampled_from(["a", "b", "c", "models.py"])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts))


@given(
    st.lists(PATHS, max_size=4), st.lists(PATHS, max_size=3), st.none() | PATHS, st.sets(PATHS, max_size=6)
)
def test_wishes_are_merged_and_complete(
    files: list[str], folders: list[str], database: str | None, there: set[str]
) -> None:
    """At most one loud and one quiet wish a folder; every source's change, and every folder's end, is heard."""
    wishes = wishes_for(files, folders, None, database, PaperDisk(there))
    keys = [(wish.folder, wish.quiet) for wish in wishes]
    assert keys == sorted(set(keys))
    for path in files:
        assert any(relevant(wish, CLOSED, [path]) for wish in wishes)
    if database:
        assert any(relevant(wish, CREATED, [database]) for wish in wishes)
    for folder in {wish.folder for wish in wishes if not wish.quiet}:
        assert folder == "/" or any(
            relevant(wish, CREATED, [folder], is_folder=True) for wish in wishes if wish.folder != folder
        )


def test_the_real_disk(tmp_path: Path) -> None:
    """A link to a folder is a link, a missing path is neither, and what cannot be read counts as missing."""
    root = tmp_path.resolve()
    (root / "real").mkdir()
    (root / "link").symlink_to("real")
    (root / "real" / "models.py").touch()
    wishes = wishes_for([str(root / "link" / "models.py")], [], None, str(root / "gone" / "x.db"))
    assert Wish(str(root / "real"), frozenset({"models.py"})) in wishes
    assert Wish(str(root), frozenset({"link", "real", "gone"}), quiet=True) in wishes
    long = str(root / ("x" * 5000))
    assert wishes_for([long + "/m.py"], [])
