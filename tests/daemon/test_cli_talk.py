"""The commands that talk to the daemon: which socket they ask, what they ask, and how they end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from command_line import Finished, driftd
from driftd.cli.follow import fit, with_event
from driftd.cli.talk import Line
from driftengine.errors import ConfigurationError, DriftError
from support.answering import Answering
from support.statuses import PLAN_ID, entry, operation, plan, status, waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

AT = "2026-07-12T12:34:56.000Z"
DROP = operation(1, "drop_column", "task", "code", risk="destructive", held=True)
HELD = entry(state="held", plan=plan(DROP), held=[waiting(DROP, "dropping it loses its values")])
REFUSAL = DriftError("the plan no longer fits", code="plan-stale", why="it is another", fix="look again")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="driftd-") as made:
        yield Path(made)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Answering]:
    """A daemon that is well and does what it is told."""
    done = {"targets": [entry()]}
    answers: dict[str, dict[str, Any]] = dict.fromkeys(("stage", "approve", "pause", "resume"), done)
    reloaded = {"added": ["new"], "removed": [], "changed": [], "kept": ["app"]}
    with Answering(folder / "d.sock", {**answers, "status": status(entry()), "reload": reloaded}) as made:
        yield made


def ask(daemon: Answering, *arguments: str, **environment: str) -> Finished:
    """Run driftd against this daemon."""
    return driftd(*arguments, "--socket", str(daemon.path), folder=daemon.path.parent, **environment)


def test_a_healthy_status_is_exit_code_0(daemon: Answering) -> None:
    """The verdict is the first line, and nothing goes to stderr."""
    done = ask(daemon, "status")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0] == "all is well"
    assert daemon.asked == [("status", {})]


def test_a_status_that_needs_attention_is_exit_code_1(daemon: Answering) -> None:
    """What is held ends with the command that approves it, with the socket that was given."""
    daemon.answers["status"] = status(HELD, verdict="attention")
    done = ask(daemon, "status")
    assert done.code == 1
    assert done.out.splitlines()[-1] == f"    driftd approve {PLAN_ID}-1 --socket {daemon.path}"


def test_the_exit_code_goes_by_the_daemons_verdict(daemon: Answering) -> None:
    """A newer daemon may know of something that this command line does not."""
    daemon.answers["status"] = status(entry(), verdict="attention")
    assert ask(daemon, "status").code == 1


def test_json_is_the_daemons_own_document(daemon: Answering) -> None:
    """Nothing is added or lost on the way."""
    assert ask(daemon, "status", "--json").document == daemon.answers["status"]


def test_verbose_asks_who_has_the_database(daemon: Answering) -> None:
    """Only then, because it takes the daemon longer."""
    done = ask(daemon, "status", "-v", "--target", "app")
    assert "pid 4711" in done.out
    assert daemon.asked == [("status", {"target": "app", "holders": True})]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("stage", ("stage", {})),
        ("stage --target app", ("stage", {"target": "app"})),
        ("pause", ("pause", {})),
        ("resume --target app", ("resume", {"target": "app"})),
        ("approve a-1 drop-column", ("approve", {"operations": ["a-1", "drop-column"]})),
        (
            "approve a-1 --plan a --target app",
            ("approve", {"operations": ["a-1"], "plan": "a", "target": "app"}),
        ),
        ("reload", ("reload", {})),
    ],
)
def test_each_command_asks_for_what_it_is_called(
    words: str, asked: tuple[str, dict[str, Any]], daemon: Answering
) -> None:
    """The words of the command line arrive as the protocol's arguments; the answer is shown, or printed as it is."""
    done = ask(daemon, *words.split())
    assert (done.code, done.err) == (0, "")
    assert daemon.asked == [asked]
    assert "app" in done.out
    document = ask(daemon, *words.split(), "--json").document
    answer = daemon.answers[asked[0]]
    assert isinstance(answer, dict)
    assert document == {"schema_version": 1, **answer}


def test_the_target_of_the_environment_is_asked_for(daemon: Answering) -> None:
    """DRIFTD_TARGET means the same as for every other command; a reload concerns all of them."""
    ask(daemon, "pause", DRIFTD_TARGET="app")
    ask(daemon, "reload", DRIFTD_TARGET="app")
    assert daemon.asked == [("pause", {"target": "app"}), ("reload", {})]


def test_a_stage_that_leaves_something_waiting_is_exit_code_1(daemon: Answering) -> None:
    """Staging has ended, and a person is needed; an approval or a pause has been done all the same."""
    for name in ("stage", "approve", "pause", "resume"):
        daemon.answers[name] = {"targets": [HELD]}
    assert ask(daemon, "stage").code == 1
    assert [ask(daemon, *words.split()).code for words in ("approve x", "pause", "resume")] == [0, 0, 0]


def test_a_refusal_is_exit_code_1(daemon: Answering) -> None:
    """The daemon's error reads as one of our own."""
    daemon.answers["approve"] = REFUSAL
    done = ask(daemon, "approve", "x")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines() == [
        "error[plan-stale]: the plan no longer fits",
        "  it is another",
        "fix: look again",
    ]
    done = ask(daemon, "approve", "x", "--json")
    assert done.document == {"schema_version": 1, "error": REFUSAL.as_document()}


def test_what_is_not_allowed_is_exit_code_77(daemon: Answering) -> None:
    """As sysexits.h counts, so that a script can tell it from everything else."""
    daemon.answers["pause"] = DriftError(
        "this is not allowed", code="not-allowed", why="uid 7", fix="ask root"
    )
    done = ask(daemon, "pause")
    assert done.code == 77
    assert "error[not-allowed]: this is not allowed" in done.err


@pytest.mark.parametrize(
    "words", ["status", "status --watch", "stage", "approve x", "pause", "resume", "reload"]
)
def test_without_a_daemon_every_command_says_how_to_start_one(words: str, folder: Path) -> None:
    """One message with the socket that was tried, exit code 3, and the same as a document."""
    done = driftd(*words.split(), "--socket", "here.sock", folder=folder)
    assert (done.code, done.out) == (3, "")
    first, *_, start, elsewhere = done.err.splitlines()
    assert first == f"error[no-daemon]: no daemon listens at {folder.resolve()}/here.sock"
    assert start == "fix: start one: driftd run --socket here.sock"
    assert elsewhere == "     if it listens elsewhere: --socket PATH"
    done = driftd(*words.split(), "--socket", "here.sock", "--json", folder=folder)
    assert (done.code, done.document["error"]["code"]) == (3, "no-daemon")


def test_the_socket_comes_from_the_configuration(daemon: Answering) -> None:
    """Relative to the file that names it, and the commands to type next name that file."""
    config = daemon.path.parent / "other.toml"
    config.write_text('[daemon]\nsocket = "d.sock"\n[targets.app]\nurl = "a.db"\nmodels = ["m:B"]\n')
    daemon.answers["status"] = status(HELD, verdict="attention")
    done = driftd("status", "--config", "other.toml", folder=daemon.path.parent)
    assert done.code == 1
    assert done.out.endswith(f"driftd approve {PLAN_ID}-1 --config other.toml\n")


def test_the_environment_names_the_socket(daemon: Answering) -> None:
    """DRIFTD_SOCKET comes before the file, --socket before both; a configuration that is broken then harms nobody."""
    (daemon.path.parent / "driftd.toml").write_text("[daemon\n")
    assert driftd("status", folder=daemon.path.parent, DRIFTD_SOCKET="d.sock").code == 0
    assert driftd("status", folder=daemon.path.parent, DRIFTD_SOCKET="no.sock").code == 3
    assert ask(daemon, "status", DRIFTD_SOCKET="no.sock").code == 0
    done = driftd("status", folder=daemon.path.parent)
    assert (done.code, "error[configuration-syntax]" in done.err) == (2, True)
    assert "a daemon that is running still answers: --socket PATH" in done.err


def test_a_configuration_that_became_wrong_does_not_hide_its_daemon(daemon: Answering) -> None:
    """The socket is read out of its text; the daemon's answer is the answer, and what is wrong is a note on stderr."""
    folder = daemon.path.parent.resolve()
    (folder / "driftd.toml").write_text('[daemon]\nsocket = "d.sock"\n[targets.app]\nurl = 7\nmodes = "x"\n')
    answer = status(HELD, verdict="attention")
    daemon.answers["status"] = answer | {"daemon": answer["daemon"] | {"config": str(folder / "driftd.toml")}}
    done = driftd("status", folder=folder)
    assert (done.code, done.out.splitlines()[-1]) == (1, f"    driftd approve {PLAN_ID}-1")
    assert "error[configuration-invalid]" in done.err
    assert done.err.splitlines()[-1].startswith("note: a daemon that runs answers all the same")
    done = driftd("approve", f"{PLAN_ID}-1", "--json", folder=folder)
    assert (done.code, done.document["targets"]) == (0, [entry()])
    assert ("approve", {"operations": [f"{PLAN_ID}-1"]}) in daemon.asked


def test_a_daemon_of_another_configuration_is_told_nothing_by_a_guess(daemon: Answering) -> None:
    """Where our own file is wrong, its socket is a guess: a daemon that has read another file only shows its status."""
    folder = daemon.path.parent
    (folder / "driftd.toml").write_text('[daemon]\nsocket = "d.sock"\n[targets.app]\nurl = 7\n')
    daemon.answers["status"] = status(entry())
    assert driftd("status", folder=folder).code == 0
    done = driftd("pause", folder=folder)
    assert (done.code, "error[configuration-invalid]" in done.err) == (2, True)
    assert [command for command, _ in daemon.asked if command != "status"] == []


def test_a_target_that_the_file_does_not_know_is_the_daemons_to_judge(folder: Path) -> None:
    """The file may have been edited since the daemon read it; it is only asked for the socket."""
    (folder / "driftd.toml").write_text(
        '[daemon]\nsocket = "s"\n[targets.app]\nurl = "a.db"\nmodels = ["m:B"]\n'
    )
    environment = {"DRIFTD_TARGET": "gone"}
    assert Line(target="gone", environment=environment, directory=folder).path() == str(folder / "s")
    with pytest.raises(ConfigurationError):
        Line(config="missing.toml", environment={}, directory=folder).path()


def test_which_commands_are_printed_to_be_typed_next(folder: Path) -> None:
    """What was given is given again. A command that reads the database itself must read the daemon's own file."""
    folder = folder.resolve()
    mine, other = folder / "driftd.toml", "/etc/driftd/config.toml"
    mine.write_text("[targets.a]\n")
    (folder / "a b.toml").write_text("[targets.a]\n")
    here: dict[str, Any] = {"directory": folder, "environment": {}}
    assert Line(target="t", **here).flags({"config": str(mine)}) == ("", "", " --target t")
    assert Line(**here).flags({"config": other}).reads == f" --config {other}"
    assert Line(config="a b.toml", **here).flags({"config": str(folder / "a b.toml")}) == (
        " --config 'a b.toml'",
        " --config 'a b.toml'",
        "",
    )
    assert Line(socket="/s", **here).flags({"config": other}) == (f" --config {other}", " --socket /s", "")
    assert Line(config="gone.toml", **here).flags({"config": other}).reads == f" --config {other}"
    # A daemon without a file keeps what no configuration describes.
    assert Line(**here).flags({"config": None}).reads is None
    # Where the daemon was not asked about itself, only a file that names its socket is known to be its own.
    assert Line(**here).flags() == ("", "", "")
    assert Line(socket="/s", **here).flags() == (None, " --socket /s", "")
    assert Line(directory=folder, environment={"DRIFTD_SOCKET": "/s"}).flags() == (None, "", "")


def test_names_of_a_daemon_that_is_not_trusted_are_escaped(daemon: Answering) -> None:
    """Neither an answer nor an error moves the cursor."""
    daemon.answers["status"] = status(entry("x\x1b[2J", database="/\x1b[2J"))
    assert "\x1b" not in ask(daemon, "status").out
    daemon.answers["pause"] = DriftError("no\x1b[2J", code="x\x1b", why="\x1b", fix="\x1b")
    assert "\x1b" not in ask(daemon, "pause").err


def test_asking_the_daemon_stays_light(daemon: Answering) -> None:
    """Neither the engine nor what the daemon itself needs is loaded to ask it."""
    heavy = (
        "sqlalchemy",
        "rich",
        "psutil",
        "watchdog",
        "asyncio",
        "sqlite3",
        "driftengine.api",
        "driftd.server",
    )
    program = (
        f"import sys; from driftd.cli.main import run; code = run(['status', '--socket', {str(daemon.path)!r}]);"
        f"print([name for name in {heavy!r} if name in sys.modules], code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stderr.strip() == "[] 0"


# --- status --watch


class Watching:
    """`driftd status --watch` in a process of its own, its stdout to be read line by line."""

    def __init__(self, daemon: Answering, *arguments: str, stdout: int = subprocess.PIPE) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("DRIFTD_", "XDG_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "driftd", "status", "--watch", "--socket", str(daemon.path), *arguments],
            cwd=daemon.path.parent,
            env={**kept, "HOME": str(daemon.path.parent), "TZ": "UTC", "TERM": "xterm"},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line; the test's own time limit ends what never comes."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def until(self, text: str) -> str:
        """The next line that holds this."""
        while text not in (line := self.line()):
            assert self.process.poll() is None, line
        return line

    def ended(self) -> tuple[int, str]:
        """Its exit code, and what stood on stderr."""
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def test_watching_appends_a_line_for_each_change(daemon: Answering) -> None:
    """The status first, then what changes, until the daemon says that it stops: exit code 0."""
    with Watching(daemon) as watching:
        assert watching.line() == "all is well"
        watching.until("window mode")
        daemon.push(event="target", at=AT, target=entry(state="drifted", since=AT))
        assert watching.until("12:34:56") == "12:34:56 app: in sync → drifted"
        daemon.push(event="target", at=AT, target={**HELD, "since": AT})
        assert watching.until("12:34:56").startswith("12:34:56 app: drifted → held (plan ")
        assert watching.until("drop column") == "    - drop column code (task)  [drop-column]"
        daemon.push(event="stopping", at=AT)
        assert watching.until("12:34:56") == "12:34:56 the daemon stops"
        assert watching.ended() == (0, "")


def test_watching_asks_anew_when_events_were_lost(daemon: Answering) -> None:
    """What was missed is in the next status, and shown as the changes it makes."""
    with Watching(daemon) as watching:
        watching.until("window mode")
        daemon.answers["status"] = status(
            entry(state="paused"), entry("new", "starting"), verdict="attention"
        )
        daemon.push(event="lost", at=AT, count=9)
        assert watching.until("lost") == "12:34:56 some events were lost, looking again"
        assert watching.line().endswith(" app: in sync → paused")
        assert watching.line().endswith(" new: starting")


def test_watching_ends_with_3_when_the_daemon_vanishes(daemon: Answering) -> None:
    """A daemon that was killed says nothing; the command does."""
    with Watching(daemon) as watching:
        watching.until("window mode")
        daemon.vanish()
        code, errors = watching.ended()
    assert code == 3
    assert "error[no-answer]" in errors
    assert "connection was closed" in errors


def test_control_c_is_a_normal_end(daemon: Answering) -> None:
    """Whoever watches ends it that way: exit code 0 and no word about it."""
    with Watching(daemon) as watching:
        watching.until("window mode")
        watching.process.send_signal(signal.SIGINT)
        assert watching.ended() == (0, "")


def test_watching_as_json_is_a_document_a_line(daemon: Answering) -> None:
    """First the status, then events as they come, with keys that tell the two apart."""
    with Watching(daemon, "--json") as watching:
        assert json.loads(watching.line()) == daemon.answers["status"]
        event = {"event": "target", "at": AT, "target": entry(state="drifted")}
        daemon.push(**event)
        assert json.loads(watching.line()) == event
        daemon.push(event="reloaded", at=AT)
        assert json.loads(watching.line())["event"] == "reloaded"
        assert json.loads(watching.line()) == daemon.answers["status"]
        daemon.vanish()
        code, errors = watching.ended()
    assert (code, "error[no-answer]" in errors) == (3, True)


def test_a_reader_that_goes_away_ends_the_watch(daemon: Answering) -> None:
    """`driftd status --watch | head -1` ends at the next change, with the number that shells give a broken pipe."""
    with Watching(daemon) as watching:
        watching.until("window mode")
        assert watching.process.stdout is not None
        watching.process.stdout.close()
        daemon.push(event="target", at=AT, target=entry(state="paused", since=AT))
        assert watching.process.wait(timeout=60) == 141


def test_on_a_terminal_the_status_is_drawn_in_place(daemon: Answering) -> None:
    """The screen is cleared once, then drawn over; nothing is left hidden or changed when it ends."""
    ours, theirs = pty.openpty()
    try:
        with Watching(daemon, stdout=theirs) as watching:
            os.close(theirs)
            shown = _read_until(ours, b"window mode")
            daemon.push(event="target", at=AT, target=entry(state="paused", since=AT))
            shown += _read_until(ours, b"driftd resume")
            watching.process.send_signal(signal.SIGINT)
            assert watching.ended() == (0, "")
    finally:
        os.close(ours)
    assert shown.count(b"\x1b[2J") == 1
    assert shown.count(b"\x1b[H") == 2
    assert b"needs attention" in shown.rpartition(b"\x1b[H")[2]
    assert b"?25l" not in shown


def _read_until(descriptor: int, text: bytes) -> bytes:
    found = b""
    while text not in found:
        found += os.read(descriptor, 65536)
    return found


def test_an_event_that_is_older_than_the_status_changes_nothing() -> None:
    """Events are asked for first, so one may have been on its way while the status was told."""
    document = status(entry(state="ready", since="2026-07-12T12:00:00.000Z"))
    old = {"event": "target", "target": entry(state="staging", since="2026-07-12T11:59:00.000Z")}
    assert with_event(document, old) == document
    new = {"event": "target", "target": entry(state="paused", since="2026-07-12T12:01:00.000Z")}
    assert with_event(document, new)["verdict"] == "attention"
    another = with_event(document, {"event": "target", "target": entry("web")})
    assert [one["target"] for one in another["targets"]] == ["app", "web"]
    assert another["verdict"] == "healthy"


def test_what_does_not_fit_the_screen_is_cut_at_its_end() -> None:
    """The verdict never scrolls away; colours take no room, long lines take more than one row."""
    assert fit(["\x1b[1;32mall is well\x1b[0m", "b"], 11, 2) == ["\x1b[1;32mall is well\x1b[0m", "b"]
    assert fit(["a", "b" * 30, "c", "d"], 10, 4) == ["a", "… more than fits here: driftd status"]
    assert fit(["a", "b", "c", "d"], 80, 3)[:2] == ["a", "b"]
