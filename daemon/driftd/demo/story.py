"""The story itself. Every scene says what will happen, runs the real command, and sees that it did."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from driftd.demo.sidecar import running
from driftd.demo.surprise import expect
from driftd.demo.tracker import TASKS, models_diff, shipped

if TYPE_CHECKING:
    from collections.abc import Callable

    from driftd.demo.sidecar import Sidecar
    from driftd.demo.tracker import Tracker

    Tell = Callable[[str], None]
    Entry = dict[str, Any]

# What all versions of the models have: these values must survive.
KEPT = ("task.id", "project.name", "title", "state", "assignee")
ADDED, DROPPED = "estimate", "legacy_code"
DROPPED_LINE = "    legacy_code: Mapped[str | None] = mapped_column(String(10))\n"
LATER = ("Sharpen the spade", "Call the plumber")
ADDED_LINE = "    estimate: Mapped[float | None] = mapped_column()\n"


def tell_story(tracker: Tracker, tell: Tell) -> None:
    """All scenes, in order; raises Surprise."""
    tell("A small task tracker, two models and no migration scripts.")
    tracker.build()
    tell(
        "\n# Its database does not exist yet. The service's first start makes it;\n"
        "# no daemon is needed for that."
    )
    _start(tracker, tell, "migrated, 2 operations", tasks=0)
    tracker.fill()
    before = tracker.rows((*KEPT, f"task.{DROPPED}"))
    expect(len(before), TASKS, "tasks in the tracker")
    tell(f"\n# It is used, and holds {TASKS} tasks. From now on the daemon sits beside it.\n$ driftd run &")
    with running(tracker) as sidecar:
        sidecar.until(lambda one: _rests(one, "in_sync"), "the database is in sync")
        tell(f"[1] {sidecar.pid}")
        _stage_ahead(tracker, sidecar, tell)
        _restart(tracker, sidecar, tell)
        _see_rows(tracker, tell, before, "; each has the new priority, 3")
        _follow(tracker, sidecar, tell)
        _hold(tracker, sidecar, tell)
        _see_rows(tracker, tell, before, f", but for {DROPPED}")
        _end(tracker, sidecar, tell)
    _undo(tracker, tell, before)
    _scene(tracker, tell, "Everything was recorded, inside the database.", 0, "history")
    _scene(tracker, tell, "Nobody has touched that record.", 0, "history", "verify")


def _stage_ahead(tracker: Tracker, sidecar: Sidecar, tell: Tell) -> None:
    tell("\n# The models move on. They are saved, and nobody calls driftd:\n")
    saved = _save(tracker, tell, shipped("models_after.py"))
    entry, seen = sidecar.until(lambda one: "comment" in _planned(one), "the drift is seen")
    tell(f"  {seen - saved:.1f} s after the save: {entry['differences']} differences are seen")
    entry, ready = sidecar.until(lambda one: _rests(one, "ready"), "the plan is staged")
    stage = entry["stage"]
    expect((stage["freshness"], stage["plan_id"]), ("exact", entry["plan"]["id"]), "the stage")
    backups = json.loads(tracker.ask("backup", "list", "--json"))["backups"]
    verified = [(one["id"], one["verified"]) for one in backups]
    expect(verified, [(stage["backup"]["id"], True)], "the backups, verified or not")
    expect(tracker.columns() & {"priority"}, set(), "the new column, before anybody applied it")
    tell(f"  {ready - saved:.1f} s after the save: a verified backup, and the plan rehearsed on a copy")
    _scene(tracker, tell, "What is there to do, before anybody asked for it?", 0, "status")


def _restart(tracker: Tracker, sidecar: Sidecar, tell: Tell) -> None:
    tell(
        "\n# The service is started as it always was. Its new code meets the old database:\n$ python serve.py"
    )
    code, said = tracker.serve()
    tell(said.rstrip("\n"))
    expect((code, "no such column" in said), (1, True), "a start without driftd, which fails")
    tell("\n# Started by driftd, what is ready is applied first,\n# in one transaction: all or nothing.")
    _start(tracker, tell, "migrated, 6 operations", tasks=TASKS)
    sidecar.until(lambda one: _rests(one, "in_sync"), "the database is in sync again")
    tell("\n# From now on there is nothing to do, and nothing to wait for:")
    _start(tracker, tell, "", tasks=TASKS)


def _start(tracker: Tracker, tell: Tell, migrated: str, *, tasks: int) -> None:
    """Start the service through driftd, and see that it serves."""
    tell("$ driftd exec -- python serve.py")
    code, said = tracker.serve("exec", "--")
    tell(said.rstrip("\n"))
    expect(code, 0, "the service's exit code")
    expect("migrated" in said, bool(migrated), "whether the start has migrated")
    expect(
        (migrated in said, f"serving {tasks} tasks" in said), (True, True), "what the service and driftd say"
    )


def _follow(tracker: Tracker, sidecar: Sidecar, tell: Tell) -> None:
    tell("\n# On a developer's machine the database may follow at once. In driftd.toml:\n")
    tell('  -mode = "window"\n  +mode = "dev"')
    tracker.configure("dev")
    before, _ = sidecar.until(
        lambda one: one["mode"] == "dev" and _rests(one, "in_sync"), "the new mode is taken over"
    )
    tell("\n# The daemon has taken that over. Another column, saved:\n")
    saved = _save(tracker, tell, _edited(tracker.models, DROPPED_LINE, DROPPED_LINE + ADDED_LINE))
    entry, done = sidecar.until(
        lambda one: _rests(one, "in_sync") and one["last_migration"] != before["last_migration"],
        "the save is followed",
    )
    expect(entry["last_migration"]["operations"], 1, "operations of the migration")
    expect(tracker.columns() & {ADDED}, {ADDED}, "the new column")
    tell(f"  {done - saved:.1f} s after the save: the column is in the database")


def _hold(tracker: Tracker, sidecar: Sidecar, tell: Tell) -> None:
    tell("\n# A column goes from the models. That would lose data, so it waits, also here:\n")
    saved = _save(tracker, tell, _edited(tracker.models, DROPPED_LINE, ""))
    entry, held = sidecar.until(lambda one: _rests(one, "held"), "what would lose data is held")
    waits = [(one["name"], one["count"]) for one in entry["held"]]
    expect(waits, [(DROPPED, TASKS)], "what waits, and how many rows it concerns")
    expect(tracker.columns() & {DROPPED}, {DROPPED}, "the column that waits")
    tell(f"  {held - saved:.1f} s after the save: held")
    _scene(tracker, tell, "What would be lost? The exit code says that a person is needed.", 1, "status")
    _scene(
        tracker, tell, f"Somebody agrees that {DROPPED} may go.", 0, "approve", entry["held"][0]["operation"]
    )
    sidecar.until(
        lambda one: _rests(one, "in_sync") and one["last_migration"] != entry["last_migration"],
        "what was approved is applied",
    )
    expect(tracker.columns() & {DROPPED}, set(), "the column that was approved to go")


def _undo(tracker: Tracker, tell: Tell, before: list[tuple[object, ...]]) -> None:
    """The last scene but the record: one operation is taken back, and what was written since stays."""
    tell(f"\n# {len(LATER)} tasks are added. And then somebody misses {DROPPED}.")
    tracker.add(LATER)
    _scene(
        tracker, tell, "The drop is taken back: no daemon is needed, and nothing else changes.", 0, "rollback"
    )
    after = tracker.rows((*KEPT, f"task.{DROPPED}"))
    expect(after[: len(before)], before, "the tasks' values, with what was dropped")
    later = [(row[KEPT.index("title")], row[-1]) for row in after[len(before) :]]
    expect(later, [(title, None) for title in LATER], "the tasks that were written since")
    expect(tracker.columns() & {ADDED, "priority"}, {ADDED, "priority"}, "the columns of other migrations")
    tell(
        f"\n# all {len(before)} values of {DROPPED} are back, and the {len(LATER)} new tasks are still there"
    )


def _end(tracker: Tracker, sidecar: Sidecar, tell: Tell) -> None:
    tell(f"\n# The daemon is told to end. This is all it had to say:\n$ kill {sidecar.pid}")
    expect(sidecar.end(), 0, "the daemon's exit code")
    for line in sidecar.log:
        tell(line)
    expect([path for path in (tracker.socket,) if path.exists()], [], "sockets that are left")
    expect(tracker.processes(), [], "processes that are left")
    tell("# It has ended, and no process of it is left.")


def _save(tracker: Tracker, tell: Tell, models: str) -> float:
    """Shows what is edited, and saves it; when that was."""
    for line in models_diff(tracker.models, models):
        tell(f"  {line}")
    tell("")
    return tracker.save(models)


def _edited(text: str, old: str, new: str) -> str:
    expect(text.count(old), 1, f"how often the models have {old.strip()!r}")
    return text.replace(old, new)


def _rests(entry: Entry, state: str) -> bool:
    """Whether it is in that state with nothing under way."""
    return bool(entry["state"] == state and not entry["busy"])


def _planned(entry: Entry) -> set[str]:
    """The names of what the plan is about."""
    return {one["name"] for one in entry["plan"]["operations"]} if entry["plan"] else set()


def _see_rows(tracker: Tracker, tell: Tell, before: list[tuple[object, ...]], besides: str) -> None:
    """Every value that all versions know is what it was, and old rows have the new column's default."""
    after = tracker.rows((*KEPT, "priority"))
    expect([row[:-1] for row in after], [row[: len(KEPT)] for row in before], "the tasks' values")
    expect({row[-1] for row in after}, {3}, "the new column's value in old rows")
    tell(f"\n# all {len(after)} tasks are still there, value by value{besides}")


def _scene(tracker: Tracker, tell: Tell, caption: str, code: int, *arguments: str) -> None:
    tell(f"\n# {caption}\n$ driftd {' '.join(arguments)}")
    expect(tracker.run(*arguments), code, f"the exit code of `driftd {' '.join(arguments)}`")
