"""`driftd demo`: the whole story, told by the real commands."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from driftd.demo import play
from driftd.demo.stage import Stage, models_diff

if TYPE_CHECKING:
    from pathlib import Path


def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    """Every scene goes as told, exit code 0, nothing on stderr, and its folder is gone."""
    done = driftd("demo", folder=tmp_path, TMPDIR=str(tmp_path))
    assert (done.code, done.err) == (0, "")
    for line in ("$ driftd check", "$ driftd plan", "$ driftd apply", "$ driftd history verify"):
        assert line in done.out
    assert (
        done.out.index("Migrated")
        < done.out.index("Held: nothing was changed")
        < done.out.index("Up to date")
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_the_demo_admits_when_something_goes_differently(
    keep: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A scene that ends otherwise than told ends the demo with 1 and says which; the folder goes unless it is kept."""

    def fail(_stage: Stage, *arguments: str) -> int:
        return 5 if arguments == ("check",) else 0

    monkeypatch.setattr(Stage, "run", fail)
    monkeypatch.setattr(Stage, "fill", lambda _stage: None)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    told: list[str] = []
    assert play(told.append, keep=keep) == 1
    assert any(
        "The demo went wrong: the exit code of `driftd check`: 0 was told, 5 was found" in line
        for line in told
    )
    assert len(list(tmp_path.iterdir())) == int(keep)
    assert not keep or str(next(tmp_path.iterdir())) in told[-1]


def test_the_demos_models_differ_as_told() -> None:
    """The diff that is shown has what the story is about: each kind of change once."""
    diff = "\n".join(models_diff())
    for part in (
        "+class Comment",
        "-    legacy_code",
        "+    priority",
        "+    due_on",
        "+        CheckConstraint",
        "+        Index",
    ):
        assert part in diff
    assert "+    assignee: Mapped[str | None]" in diff
