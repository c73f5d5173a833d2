"""The status as people read it: the verdict first, what to do last, and never a name that moves the cursor."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from driftd.cli.render.changes import change_lines, event_line
from driftd.cli.render.entry import age, clock, tail
from driftd.cli.render.status import Flags, render_entries, render_reloaded, render_status
from driftd.cli.text import Look, cells
from driftd.entry import needs_attention
from driftd.states import STATES
from support.statuses import PLAN_ID, entry, operation, plan, stage, status, waiting

NOW = datetime(2026, 7, 12, 12, 0, tzinfo=UTC)
NO_FLAGS = Flags()
EVIL = "x\x1b[2J\u202e"
OPERATIONS = [
    operation(1, "create_table", "comment", "comment"),
    operation(2, "add_column", "task", "priority"),
    operation(3, "drop_not_null", "task", "assignee"),
]
DROP = operation(4, "drop_column", "task", "code", risk="destructive", held=True)
OWNER = operation(5, "add_column", "task", "owner", code="value-needed", held=True)
CHECK = operation(6, "add_check", "task", "task_state", risk="guarded")
HELD = waiting(DROP, "dropping it loses its values", [{"key": n, "value": f"v{n}"} for n in range(5)], 812)
BLOCKED = waiting(CHECK, "rows are there that it forbids", [{"key": 9, "value": EVIL}], 1)
PROBLEM = {
    "code": "models-import-error",
    "what": "the models app.models:Base cannot be imported",
    "why": "/srv/app/models.py:31: NameError: name 'Colum' is not defined",
    "fix": "correct /srv/app/models.py, line 31",
}


def shown(document: dict[str, Any], *, flags: Flags = NO_FLAGS, verbose: bool = False) -> str:
    """The document without colour at 80 columns, at noon."""
    return render_status(document, Look(), flags=flags, now=NOW, verbose=verbose)


def test_all_is_well_is_the_first_line() -> None:
    """A healthy target takes three lines under the verdict, and there is nothing to type."""
    migration = {"migration_id": "m_1", "at": "2026-07-12T09:30:15Z", "operations": 4, "allowed_by": "ada"}
    assert (
        shown(status(entry(last_migration=migration)))
        == """\
all is well

  app  in sync for 3 min
    /srv/app.db  (window mode)
    last migration: 2 h 29 min ago, 4 operations, m_1"""
    )


def test_who_allowed_the_last_migration_is_said_once() -> None:
    """An approval says so itself."""
    told = {"migration_id": "m_1", "at": "2026-07-12T09:30:15Z", "operations": 1}
    for by, words in (("ada", "m_1, allowed by ada"), ("approved by user ada", "m_1, approved by user ada")):
        lines = shown(status(entry(last_migration={**told, "allowed_by": by})), verbose=True)
        assert " ".join(lines.split()).count(words) == 1


def test_what_is_no_terminal_gets_names_and_paths_whole() -> None:
    """A terminal's lines end at its edge, which a script does not have."""
    long = "/srv/" + "deep/" * 30 + "app.db"
    document = status(entry("a" * 90, database=long), entry("b"))
    text = render_status(document, Look(whole=True), flags=NO_FLAGS, now=NOW)
    assert ("a" * 90 in text, long in text, "..." in text) == (True, True, False)
    assert "..." in shown(document)


def test_a_stage_says_how_fresh_it_is_and_whether_it_fits() -> None:
    """What is planned stands in short, then the stage: freshness, age, time, window."""
    ready = entry(state="ready", plan=plan(*OPERATIONS), stage=stage(), approved=[f"{PLAN_ID}-2"])
    assert (
        shown(status(ready))
        == """\
all is well

  app  ready for 3 min
    /srv/app.db  (window mode)
    plan 8f3a21c0d4e5: 2 to add, 1 to change, 0 to remove.
      + create table comment
      + add column priority (task)  approved
      ~ drop NOT NULL of assignee (task)
    stage: exact, 12 s old, applies in about 9 ms, fits the 15 s window
    backup: backup_20260712_115948_120, 64.0 kB

  apply it now; the service's next start does it too:
    driftd apply"""
    )
    slow = entry(state="ready", plan=plan(*OPERATIONS), stage=stage(fits_window=False, backup=None))
    assert "does not fit the 15 s window" in shown(status(slow))
    assert "backup:" not in shown(status(slow))


def test_what_is_held_shows_its_rows_and_how_to_approve_it() -> None:
    """The rows at stake, then a line to paste; a missing value is given in the configuration, not approved."""
    held = entry(
        state="held",
        plan=plan(DROP, OWNER),
        held=[HELD, waiting(OWNER, "old rows need a value")],
        differences=2,
    )
    assert (
        shown(status(held, verdict="attention"), flags=Flags(asks=" --socket /s"))
        == """\
app needs attention

  app  held for 3 min
    /srv/app.db  (window mode)
    plan 8f3a21c0d4e5: nothing goes ahead; 2 held.

    Held: 2 operations wait for a person:

    - drop column code (task)  [drop-column]
        dropping it loses its values
        812 rows, the first of them (key: value)
          0: 'v0'
          1: 'v1'
          2: 'v2'
          3: 'v3'
          4: 'v4'

    + add column owner (task)  [value-needed]
        old rows need a value

  approve: drop column code (task):
    driftd approve 8f3a21c0d4e5-4 --socket /s
  write [targets.app.backfill] "task.owner" = ... into the configuration, then:
    driftd reload --socket /s"""
    )


def test_a_rename_and_a_change_by_hand_have_their_own_commands() -> None:
    """Beside the approvals: the rename as a command, and both ways on for what was changed by hand."""
    drop = {**DROP, "origin": "database"}
    reason = "it may be code by a new name: if so, write a hint or give --rename task.owner=code, and it keeps them"
    held = [
        waiting(drop, "dropping it loses its values"),
        waiting({**OWNER, "code": "rename-suspected"}, reason),
    ]
    document = status(entry(state="held", plan=plan(drop, OWNER), held=held), verdict="attention")
    typed = [line[4:] for line in shown(document, flags=Flags(" --config d.toml")).splitlines()[-10:]][1::2]
    assert typed == [
        "driftd approve 8f3a21c0d4e5-4",
        "driftd apply --config d.toml --rename task.owner=code",
        "driftd approve 8f3a21c0d4e5-5",
        "driftd adopt --config d.toml",
        "driftd revert --config d.toml --dry-run",
    ]
    # Who reads the database would not know which one.
    assert "--rename" not in shown(document, flags=Flags(None)).partition("driftd approve")[2]


def test_a_daemon_without_a_file_is_given_values_by_its_flag() -> None:
    """There is no configuration to write into."""
    held = entry(state="held", held=[waiting(OWNER, "old rows need a value")])
    text = shown(status(held, verdict="attention"), flags=Flags(None))
    assert text.endswith("    driftd run ... --backfill task.owner=EXPR")


def test_what_is_manual_cannot_be_approved() -> None:
    """No line to paste that the daemon would refuse."""
    odd = waiting({**DROP, "risk": "manual"}, "an object that cannot be judged")
    assert "driftd approve" not in shown(status(entry(state="held", held=[odd]), verdict="attention"))


def test_what_is_blocked_says_which_rows() -> None:
    """The rows are named, and after correcting them the daemon can be told to try again."""
    text = shown(status(entry(state="blocked", plan=plan(CHECK), blocked=[BLOCKED]), verdict="attention"))
    assert "    Blocked: 1 operation cannot be done:\n" in text
    assert r"          9: 'x\x1b[2J\u202e'" in text
    assert text.endswith("  correct the rows above, then try again:\n    driftd stage")


def test_problems_stand_at_the_bottom() -> None:
    """The file and the line to correct are near the prompt, with the target's name in front."""
    text = shown(status(entry(state="models_unreadable", problem=PROBLEM), verdict="attention"))
    assert text.splitlines()[0] == "app needs attention"
    assert text.splitlines()[-6:] == [
        "app: error[models-import-error]: the models app.models:Base cannot be imported",
        "  /srv/app/models.py:31: NameError: name 'Colum' is not defined",
        "fix: correct /srv/app/models.py, line 31",
        "",
        "  learn more:",
        "    driftd explain models-import-error",
    ]


@pytest.mark.parametrize(
    ("state", "typed"),
    [("paused", "driftd resume"), ("failed", "driftd stage"), ("database_busy", "driftd status -v")],
)
def test_each_state_that_waits_names_the_next_command(state: str, typed: str) -> None:
    """The report ends with what to type, with the flags that were given."""
    text = shown(status(entry(state=state), verdict="attention"), flags=Flags(asks=" --config d.toml"))
    assert text.endswith(f"    {typed} --config d.toml")


def test_several_targets_take_a_line_each() -> None:
    """Details follow only for those that need a person; with -v for all. Commands name the target."""
    ready = entry("orders", "ready", plan=plan(*OPERATIONS), stage=stage())
    paused = entry("app", "paused")
    document = status(entry("web"), ready, paused, verdict="attention")
    assert (
        shown(document)
        == """\
1 of 3 targets needs attention

  web     in sync  3 min                /srv/web.db
  orders  ready    3 min  3 operations  /srv/orders.db
  app     paused   3 min                /srv/app.db

  app  paused for 3 min
    /srv/app.db  (window mode)

  let app go on:
    driftd resume --target app"""
    )
    assert "stage: exact" in shown(document, verbose=True)
    assert shown(status(paused, paused, verdict="attention")).startswith("2 of 2 targets need attention")


def test_a_target_that_was_asked_for_is_named_again() -> None:
    """With --target one entry comes back, and commands must not speak of the others."""
    text = shown(status(entry(state="paused"), verdict="attention"), flags=Flags(target=" --target app"))
    assert text.endswith("driftd resume --target app")


def test_a_long_plan_is_cut_and_says_where_the_rest_is() -> None:
    """At most eight lines; with -v all of them."""
    many = [operation(number, "add_column", "task", f"c{number}") for number in range(14)]
    document = status(entry(state="ready", plan=plan(*many)))
    text = shown(document, flags=Flags(reads=" --config d.toml"))
    assert text.count("+ add column") == 7
    assert "      … and 7 more: driftd plan --config d.toml\n" in text
    assert text.endswith(
        "  apply it now; the service's next start does it too:\n    driftd apply --config d.toml"
    )
    assert shown(document, verbose=True).count("+ add column") == 14
    # A daemon without a configuration file keeps a database that `driftd plan` would not know.
    assert shown(document, flags=Flags(None, " --socket /s")).endswith("more: driftd status -v --socket /s")


def test_eight_operations_need_no_line_that_says_one_more() -> None:
    """What fits is shown."""
    eight = [operation(number, "add_column", "task", f"c{number}") for number in range(8)]
    text = shown(status(entry(state="ready", plan=plan(*eight))))
    assert text.count("+ add column") == 8
    assert "more" not in text


def test_what_is_under_way_is_told_once() -> None:
    """A state that says what is done is not repeated; how far it is stands beside it."""
    progress = {"phase": "backup", "done": 45, "total": 100}
    staging = entry(state="staging", busy="stage", progress=progress)
    assert "  app  staging for 3 min  (making a backup, 45 %)\n" in shown(status(staging))
    looking = entry(state="held", busy="look", held=[HELD])
    assert "  app  held for 3 min  (looking)\n" in shown(status(looking, verdict="attention"))
    unknown = entry(state="staging", busy="stage", progress={"phase": "later", "done": 1, "total": 0})
    assert "(later)" in shown(status(unknown))


def test_a_target_that_nobody_has_looked_at() -> None:
    """At the very start there is no path and no verdict of the database yet."""
    starting = entry(
        state="starting", database="", looked_at=None, in_sync=None, since="2026-07-12T12:00:00Z"
    )
    assert shown(status(starting)).endswith("  app  starting for 0 s\n    not looked at yet  (window mode)")


def test_no_targets() -> None:
    """A daemon that keeps nothing says how it would get something to keep."""
    text = shown(status())
    assert text.startswith("no targets are configured\n")
    assert text.endswith("  add [targets.NAME] to /etc/driftd/config.toml, then:\n    driftd reload")


def test_the_daemons_own_problems() -> None:
    """A configuration that could not be read again needs attention, though all targets are well."""
    problem = {"code": "configuration-invalid", "what": "a mistake", "why": "line 3", "fix": "correct it"}
    text = shown(status(entry(), verdict="attention", problems=[problem]))
    assert text.startswith("the daemon needs attention\n")
    assert text.endswith("daemon: error[configuration-invalid]: a mistake\n  line 3\nfix: correct it")


def test_verbose_tells_of_the_daemon_and_who_has_the_database() -> None:
    """-v adds what is watched, who else has the database open, and what the daemon costs."""
    holder = {"pid": 99, "user": "ada", "command": f"python {EVIL}", "path": "/srv/app.db", "how": "open"}
    watched = entry(watching={"files": 1, "folders": 2, "polled": ["/mnt/nfs"]}, unmanaged=1)
    document = {**status(watched), "holders": {"app": {"holders": [holder], "unseen": 1}}}
    assert (
        shown(document, verbose=True)
        == r"""all is well

  app  in sync for 3 min
    /srv/app.db  (window mode)
    watching 1 file in 2 folders, looked 10 s ago
    polled, cannot be watched: /mnt/nfs
    1 unmanaged object, left alone
    who else has the database open:
      pid 99, ada, open: python x\x1b[2J\u202e
      1 process may not be looked at by the daemon's user

  driftd 0.1.0, pid 4711, up 4 h, protocol 1
    memory 38.2 MB, CPU 1.2 s, 4 threads, 17 open files
    socket /run/driftd/driftd.sock
    configuration /etc/driftd/config.toml"""
    )
    nobody = {**status(watched), "holders": {"app": {"holders": [], "unseen": 0}}}
    assert "    nobody else has the database open\n" in shown(nobody, verbose=True)


def test_what_stands_for_long_shows_times_instead_of_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen that is drawn again only when something changes must not say `3 min` for an hour."""
    monkeypatch.setenv("TZ", "UTC")
    document = status(entry(state="ready", plan=plan(*OPERATIONS), stage=stage()))
    text = render_status(document, Look(), flags=Flags(), now=None, verbose=True)
    assert "ready since 2026-07-12 " in text
    assert re.search(r"stage: exact, made at \d\d:\d\d:48, applies", text)
    assert "up since 2026-07-12 " in text
    assert not re.search(r"\d+ (s|min|h) (old|ago)|memory", text)


def test_every_state_has_a_verdict_and_a_colour() -> None:
    """The states of the daemon are all known here, and only what needs a person is called so."""
    well = {state for state in STATES if not needs_attention(entry(state=state))}
    assert well == {"starting", "in_sync", "drifted", "staging", "ready", "applying"}
    for state in STATES:
        text = render_status(status(entry(state=state)), Look(colour=True), flags=Flags(), now=NOW)
        assert re.search(rf"\x1b\[1;3[1236]m{state.replace('_', ' ')}\x1b\[0m for", text), state
    assert needs_attention(entry(problem=PROBLEM))
    assert needs_attention(entry(state="a_state_of_tomorrow"))


def everything() -> list[dict[str, Any]]:
    """Entries with a foreign name wherever one may stand, long and evil."""
    name, long = EVIL, "n" * 70
    drop = operation(1, "drop_column", name, name, reason=name, code=name)
    return [
        entry(name, "held", database=f"/{name}", mode=name, plan=plan(drop), held=[waiting(drop, name)]),
        entry("b", "failed", problem=dict.fromkeys(("code", "what", "why", "fix"), name), warnings=[name]),
        entry("c", "blocked", blocked=[BLOCKED], unsupported=[name], since=name, looked_at=name),
        entry(
            long, "ready", database=f"/{long}/{long}.db", plan=plan(operation(1, "add_column", long, long))
        ),
        entry(
            "データ",
            "ready",
            last_migration={"migration_id": name, "at": name, "operations": 1, "allowed_by": name},
        ),
        entry("e", name, progress={"phase": name, "done": 1, "total": 2}, busy=name),
        entry("f", stage=stage(freshness=name, backup={"id": name, "size_bytes": 1, "path": name})),
    ]


@pytest.mark.parametrize("verbose", [False, True])
def test_no_name_moves_the_cursor(verbose: bool) -> None:
    """Whatever a file, a model or a person is called, it is escaped."""
    document = status(*everything(), verdict="attention", config=EVIL, socket=EVIL, version=EVIL)
    holders = {"pid": 1, "user": EVIL, "command": EVIL, "path": EVIL, "how": EVIL}
    document["holders"] = {"f": {"holders": [holders], "unseen": 0}}
    text = shown(document, verbose=verbose)
    assert not set(text) & {"\x1b", "\u202e"}
    text += render_entries(document, Look(), flags=Flags(), now=NOW)
    text += "".join(line for one in everything() for line in change_lines(None, one, Look(), at=EVIL))
    text += render_reloaded({"added": [EVIL]}, Look())
    assert not set(text) & {"\x1b", "\u202e"}


def test_tables_and_plans_keep_within_eighty_columns() -> None:
    """Long names are cut in tables and lists; what is to be pasted or opened is whole."""
    text = shown(status(*everything(), verdict="attention"), verbose=True)
    whole = ("    /", "    driftd ", "  n")
    assert [line for line in text.splitlines() if cells(line) > 80 and not line.startswith(whole)] == []
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 7
    assert max(cells(line) for line in table) <= 80


def test_answers_to_commands_show_the_targets_concerned() -> None:
    """After `pause`, `stage` and the like each target is shown as it stands now, with what to type next."""
    text = render_entries({"targets": [entry(state="paused"), entry("web")]}, Look(), flags=Flags(), now=NOW)
    assert (
        text
        == """\
  app  paused for 3 min
    /srv/app.db  (window mode)

  web  in sync for 3 min
    /srv/web.db  (window mode)

  let app go on:
    driftd resume --target app"""
    )
    assert render_entries({"targets": []}, Look(), flags=Flags(), now=NOW) == "no targets"


def test_a_reload_lists_what_it_changed() -> None:
    """Names by what became of them; nothing changed is said."""
    told = {"added": ["a"], "removed": [], "changed": ["b", "c"], "kept": ["d"]}
    assert render_reloaded(told, Look()) == "Reloaded\n  added: a\n  changed: b, c\n  kept: d"
    assert (
        render_reloaded({"kept": ["d"]}, Look())
        == "Reloaded: nothing has changed since it was last read\n  kept: d"
    )


def changed(before: dict[str, Any] | None, after: dict[str, Any]) -> list[str]:
    """The lines of a change, without colour, in UTC."""
    return change_lines(before, after, Look(), at="2026-07-12T12:34:56.789Z", zone=UTC)


def test_a_change_is_a_line_and_a_new_plan_its_operations() -> None:
    """From which state to which, with the plan; its operations follow once, and what waits with its rows."""
    staging = entry(state="staging", plan=plan(*OPERATIONS[:2]))
    assert changed(entry(state="drifted"), staging) == [
        "12:34:56 app: drifted → staging (plan 8f3a21c0d4e5, 2 operations)",
        "    + create table comment",
        "    + add column priority (task)",
    ]
    held = entry(state="held", plan=plan(*OPERATIONS[:2], DROP), held=[HELD])
    lines = changed(staging, held)
    assert lines[0] == "12:34:56 app: staging → held (plan 8f3a21c0d4e5, 2 operations, 1 held)"
    assert "          0: 'v0'" in lines
    assert "    + create table comment" not in lines  # the plan is the one that was shown
    assert changed(held, held) == []


def test_a_change_tells_of_migrations_and_problems() -> None:
    """What was done, and what went wrong, stand in the line itself."""
    done = {"migration_id": "m_1", "at": "2026-07-12T12:34:56Z", "operations": 1, "allowed_by": ""}
    assert changed(entry(state="applying"), entry(last_migration=done)) == [
        "12:34:56 app: applying → in sync (migrated: m_1, 1 operation)"
    ]
    assert changed(entry(), entry(state="models_unreadable", problem=PROBLEM)) == [
        "12:34:56 app: in sync → models unreadable (the models app.models:Base cannot be imported)"
    ]
    assert changed(entry(), entry(mode="dev")) == ["12:34:56 app: mode window → dev"]
    assert changed(None, entry(state="starting")) == ["12:34:56 app: starting"]


def test_progress_is_no_change() -> None:
    """How far a stage is makes no line each time."""
    before = entry(state="staging", busy="stage")
    after = {**before, "progress": {"phase": "backup", "done": 1, "total": 2}, "looked_at": "later"}
    assert changed(before, after) == []


def test_other_events_are_a_line_each() -> None:
    """A reload, the end, and lost events are told; what a newer daemon adds is passed over."""
    at = "2026-07-12T12:34:56Z"
    assert event_line({"event": "stopping", "at": at}, UTC) == "12:34:56 the daemon stops"
    reloaded = {"event": "reloaded", "at": at, "added": ["a", "b"], "removed": ["c"], "kept": ["d"]}
    assert event_line(reloaded, UTC) == "12:34:56 the configuration was read again: added a, b; removed c"
    assert "lost" in event_line({"event": "lost", "at": at}, UTC)
    assert not event_line({"event": "tomorrow", "at": at}, UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_ages(seconds: float, text: str) -> None:
    """The two largest units, rounded down; a clock that went back makes no negative age."""
    assert age(seconds) == text


def test_days() -> None:
    """Days come with hours."""
    assert (age(86400), age(86400 * 3 + 3600 * 4)) == ("1 d", "3 d 4 h")


def test_what_is_no_time_is_shown_as_it_came() -> None:
    """A newer daemon's times must not end the command."""
    assert clock("soon") == "soon"
    assert clock("2026-07-12T12:34:56", UTC) == "12:34:56"


def test_a_path_keeps_its_end() -> None:
    """The file's name says more than the root."""
    assert tail("/srv/データ/app.db", 12) == "...タ/app.db"
    assert tail("/a.db", 12) == "/a.db"
