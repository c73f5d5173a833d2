"""Files that are written beside others, and files that are made with their rights: whole or not there."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from driftd import lock_file
from driftd.unfinished import beside, keep, sweep
from driftengine.dialects.sqlite import new_file


def test_what_a_dead_writer_has_left_goes_and_the_living_go_on(tmp_path: Path) -> None:
    """The name alone tells nothing: a file of the same folder that is no writer's stays."""
    path = tmp_path / "a[b].toml"
    left = tmp_path / f".{path.name}.abcdefgh.driftd-unfinished"
    left.touch()
    others = [tmp_path / ".a[b].toml.swp", tmp_path / ".b.toml.abcdefgh.driftd-unfinished"]
    for other in others:
        other.touch()
    with beside(path) as (descriptor, unfinished):
        assert not left.exists()
        sweep(path)
        keep(descriptor, b"text")
        unfinished.replace(path)
    assert path.read_bytes() == b"text"
    assert sorted(tmp_path.iterdir()) == sorted([path, *others])


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The file that is there stays as it is."""
    path = tmp_path / "a.toml"
    path.write_text("before")
    with pytest.raises(ZeroDivisionError), beside(path):
        raise ZeroDivisionError
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("a.toml", "before")]


@pytest.mark.parametrize("nameless", [True, False])
def test_a_new_file_has_its_rights_when_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nameless: bool
) -> None:
    """Also where the file system knows no files without a name; the umask takes nothing, and nothing is overwritten."""
    if not nameless:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no such files here")

        monkeypatch.setattr(os, "link", refuse)
    tmp_path.chmod(0o775)
    before = os.umask(0o077)
    try:
        descriptor = lock_file.make_file(str(tmp_path / "lock"), (0o664, None, None))
        if sys.platform == "linux":  # whoever looks for the holders of locks finds them by this name
            assert (tmp_path / "lock").samefile(f"/proc/self/fd/{descriptor}")
            assert Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path / "lock"
        os.close(descriptor)
        new_file.make(tmp_path / "app.db")
    finally:
        os.umask(before)
    rights = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert rights == {"lock": 0o664, "app.db": 0o664}
    (tmp_path / "app.db").write_text("rows")
    new_file.make(tmp_path / "app.db")
    assert (tmp_path / "app.db").read_text() == "rows"
    with pytest.raises(FileExistsError):
        lock_file.make_file(str(tmp_path / "lock"), (0o600, None, None))
