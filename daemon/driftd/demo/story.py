"""The story itself. Every scene says what will happen, runs the real command, and sees that it did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from driftd.demo.stage import TASKS, models_diff

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftd.demo.stage import Stage

    Tell = Callable[[str], None]

# What both versions of the models have: these values must survive.
KEPT = ("task.id", "project.name", "title", "state", "assignee")
NEW_TABLE, DROPPED = "comment", "legacy_code"


class Surprise(Exception):  # noqa: N818  # the story's own word
    """Something went differently than told."""


def tell_story(stage: Stage, tell: Tell) -> None:
    """All scenes, in order; raises Surprise."""
    tell("A small task tracker, two models and no migration scripts.")
    stage.build()
    _scene(stage, tell, "Its database does not exist yet: the first apply creates it.", 0, "apply")
    stage.fill()
    _scene(stage, tell, f"The tracker has been used, it holds {TASKS} tasks.", 0, "check")
    before = stage.rows((*KEPT, f"task.{DROPPED}"))
    _expect(len(before), TASKS, "tasks in the tracker")
    _migrate(stage, tell)
    _see_rows(stage, tell, before)
    _again(stage, tell)
    _approve(stage, tell)
    _see_rows(stage, tell, before)
    _scene(stage, tell, "Nothing is left to do.", 0, "apply")
    _scene(stage, tell, "Everything was recorded, inside the database.", 0, "history")
    _scene(stage, tell, "Nobody has touched that record.", 0, "history", "verify")
    _scene(stage, tell, "What was dropped is still in a verified backup.", 0, "backup", "list")


def _migrate(stage: Stage, tell: Tell) -> None:
    stage.put_models("models_after.py")
    tell("\nThe models move on:\n")
    for line in models_diff():
        tell(f"  {line}")
    _scene(stage, tell, "The database has drifted from them.", 1, "check")
    _scene(stage, tell, "What would be done about it?", 1, "plan")
    _scene(
        stage, tell, "Done, but for what would lose data: that waits, and the exit code says so.", 1, "apply"
    )


def _again(stage: Stage, tell: Tell) -> None:
    made = stage.backups()
    _scene(
        stage,
        tell,
        "A second apply finds only what waits. It changes nothing and makes no backup.",
        1,
        "apply",
    )
    _expect(stage.backups(), made, "backups after an apply with nothing to do")


def _approve(stage: Stage, tell: Tell) -> None:
    # An approval names an operation of the plan as it is now: ids of the plan before it no longer fit.
    document = json.loads(stage.ask("plan", "--json"))
    operations = (document.get("plan") or {}).get("operations", [])
    _expect([one["name"] for one in operations], [DROPPED], "operations that are left")
    held = operations[0]["id"]
    _scene(stage, tell, f"Somebody agrees that {DROPPED} may go.", 0, "apply", "--approve", held)


def _see_rows(stage: Stage, tell: Tell, before: list[tuple[object, ...]]) -> None:
    """Every value that both versions know is what it was, and the new column has its default."""
    after = stage.rows((*KEPT, "priority"))
    _expect([row[: len(KEPT)] for row in after], [row[: len(KEPT)] for row in before], "the tasks' values")
    _expect({row[-1] for row in after}, {3}, "the new column's value in old rows")
    tell(f"\n# all {len(after)} tasks are still there, value by value; the new priority is 3 in each of them")


def _scene(stage: Stage, tell: Tell, caption: str, code: int, *arguments: str) -> None:
    tell(f"\n# {caption}\n$ driftd {' '.join(arguments)}")
    _expect(stage.run(*arguments), code, f"the exit code of `driftd {' '.join(arguments)}`")


def _expect(found: object, told: object, what: str) -> None:
    if found != told:
        raise Surprise(f"{what}: {told!r} was told, {found!r} was found"[:400])
