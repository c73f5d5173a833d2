"""Short lives: a schema, rows, one release, applied without and then with approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.random_life import Life

if TYPE_CHECKING:
    from pathlib import Path

    from support.random_schemas import Story


def tell(story: Story, folder: Path) -> None:
    """Lives through the story, without approvals and then with all of them, and looks after each step."""
    life = Life(folder, story.journal)
    life.make(story.before)
    life.write(story.rows)
    if life.house.ask("PRAGMA integrity_check") != [("ok",)]:
        return  # SQLite itself let in what it complains about: a computed value of another type in a STRICT table
    if story.met:
        life.take(("models", story.before))
        met = life.house.apply()
        assert met["outcome"] == "up_to_date", met
        assert not met["backup"], "what is in step needs no backup"
    else:
        life.by_hand = True
    life.take(("change_by_hand", story.by_hand))
    life.take(("models", story.after))
    life.take(("apply",))
    life.take(("apply", True))
