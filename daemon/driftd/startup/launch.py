"""`driftd exec` and `driftd gate`: open a startup window, wait for the answer, then start the command, or say what came.

Dispatched before click is imported, and the standard library alone. Whatever goes wrong, the command starts.
"""

from __future__ import annotations

# The half in C, which has no enumerations: a starting service would pay for them.
import _signal as signal  # type: ignore[import-not-found]  # typeshed does not describe it
import errno
import os
import sys
import time

from driftd.startup import told
from driftd.startup.answers import broken, not_told, whole
from driftd.startup.arguments import Options, parse
from driftd.startup.finding import Helper, Unfound, find, is_shipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    Answer = dict[str, Any]

NOT_EXECUTABLE, NOT_FOUND = 126, 127  # as shells say it: POSIX, "Exit Status for Commands"
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE
TEMPORARY = 75  # sysexits.h: try again later
_WELL = {"up_to_date", "migrated"}
_LATE = {"window-deadline", "window-unknown"}
# What Python's start may have put into LC_CTYPE (https://docs.python.org/3/using/cmdline.html#envvar-PYTHONCOERCECLOCALE).
_COERCED = {"C.UTF-8", "C.utf8", "UTF-8"}


def dispatch(name: str, words: Sequence[str]) -> int | None:
    """Runs `exec` or `gate`; its exit code, or None where click is to read these words. A command that starts never returns."""
    began = time.monotonic()
    options = parse(name, words)
    if options is None:
        return None
    return run_exec(options, began) if name == "exec" else run_gate(options, began)


def run_exec(options: Options, began: float) -> int:
    """Starts the command behind a startup window; returns only where it could not be started, with the exit code.

    Args:
        options: what was typed.
        began: when this process began to wait, on `time.monotonic()`.
    """
    _fill_standard_descriptors()
    try:
        answered, notes = through_window(options, began, stay=True, allowed_by="driftd exec, no daemon")
        say([*([] if told.is_quiet(answered) else told.lines(answered, chosen(options))), *notes])
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the promise of this command: nothing of ours keeps a service from starting
        say([_bug(error)])
    return start(options.command)


def run_gate(options: Options, began: float) -> int:
    """Opens a window, waits for its answer, tells it on stdout, and leaves; the exit code. Arguments as of `run_exec`."""
    try:
        answered, notes = through_window(options, began, stay=False, allowed_by="driftd gate, no daemon")
    except KeyboardInterrupt:
        return INTERRUPTED
    say(notes)
    if options.json:
        import json

        text = json.dumps(answered, indent=2)
    else:
        try:
            text = "\n".join(told.lines(answered, chosen(options)))
        except Exception as error:  # noqa: BLE001  # nor a script from starting its service
            text = _bug(error)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a locale may have no letter for a name
    try:
        print(text, flush=True)  # noqa: T201  # the report of this command
    except OSError as error:
        # Python would complain again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):
            return BROKEN_PIPE
        # A full disk behind stdout is no reason for a script not to start its service.
        say([f"driftd gate: the answer cannot be written: {error.strerror or error}"])
    return gate_code(answered) if options.strict else 0


def gate_code(answered: Answer) -> int:
    """The exit code of `gate --strict`: 0 nothing is left to do, 75 the time was up, 1 anything else."""
    if answered["outcome"] in {"up_to_date", "migrated"} and not answered["held"] and not answered["blocked"]:
        return 0
    return TEMPORARY if (answered["error"] or {}).get("code") in _LATE else 1


def through_window(
    options: Options, began: float, *, stay: bool, allowed_by: str
) -> tuple[Answer, list[str]]:
    """The answer of a startup window, which is closed by then, and lines for people.

    With `stay` this process, and what it becomes, counts as a running service from then on.
    """
    helper = Helper(options, allowed_by)
    try:
        found, note = find(options, helper, began)
        answered, untold = _answered(options, found, helper, began, stay=stay)
        return answered, _notes([note, untold], options, answered)
    except Unfound as unfound:
        error = unfound.error
    except Exception as bug:  # noqa: BLE001  # whatever it is, it is no reason for a service not to start
        if options.debug or os.environ.get("DRIFTD_DEBUG", "") not in {"", "0"}:
            sys.excepthook(type(bug), bug, bug.__traceback__)
        error = broken(bug)
    finally:
        helper.close()
    skipped = {"outcome": "skipped", "target": options.target or "", "error": error}
    answered = {**whole(skipped, "", "", None), "id": None}
    return answered, _notes([], options, answered)


def _notes(notes: Sequence[str], options: Options, answered: Answer) -> list[str]:
    """Lines for people; where nobody has configured anything and something went wrong, what was used instead."""
    try:
        shipped = answered["outcome"] not in _WELL and is_shipped(options, os.environ, os.getcwd())  # noqa: PTH109  # pathlib is slow to import
    except OSError:
        shipped = False  # a folder that is gone, which the answer tells
    return [f"driftd: {one}" for one in (*notes, told.SHIPPED if shipped else "") if one]


def _answered(
    options: Options, found: dict[str, Any], helper: Helper, began: float, *, stay: bool
) -> tuple[Answer, str]:
    """The answer, and what is to be said where others cannot be told that the service runs."""
    from driftd.startup.starter import Starter

    starter = Starter(found["database"], timeout=options.timeout or found["timeout_s"], began=began)
    try:
        answered = starter.answer(alone=lambda window: helper.child().run(window))
        staying = not stay or starter.stay(inheritable=True) is not None
    finally:
        starter.close()
    # Without a window there is no lock either, which the answer's error tells.
    untold = "" if staying or answered["outcome"] == "skipped" else not_told(starter.inuse_path)
    return {**answered, "target": answered["target"] or found["target"]}, untold


def _bug(error: Exception) -> str:
    return f"driftd: a bug in driftd, which goes on without it: {type(error).__name__}: {error}"


def start(command: Sequence[str]) -> int:
    """Becomes that command; returns only where that fails, with the exit code that a shell has for it."""
    # Python ignores these two, and what is ignored stays ignored behind exec: `yes | head` would not end.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    # One that is noted by Python's handler now would be lost with it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    name = command[0]
    try:
        os.execvpe(name, list(command), _environment()) if name else None  # noqa: S606  # it is what was typed
    except OSError as error:
        code, why = _failure(name, error)
    else:
        code, why = NOT_FOUND, "not found"
    say([f"driftd exec: {name}: {why}"])
    return code


def _failure(name: str, error: OSError) -> tuple[int, str]:
    if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
        return NOT_EXECUTABLE, error.strerror or str(error)
    if "/" in name and os.path.exists(name):  # noqa: PTH110  # pathlib is slow to import
        return NOT_EXECUTABLE, "the interpreter that its first line names is not there"
    return NOT_FOUND, "not found"


def _environment() -> dict[str, str]:
    """The environment as it was given to us: in the C locale Python adds LC_CTYPE, which is not ours to hand on."""
    environment = dict(os.environ)
    if environment.get("LC_CTYPE") not in _COERCED:
        return environment
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123  # pathlib is slow to import
            given = file.read()
    except OSError:
        return environment  # no Linux: it stays
    if not any(one.startswith(b"LC_CTYPE=") for one in given.split(b"\0")):
        del environment["LC_CTYPE"]
    return environment


def _fill_standard_descriptors() -> None:
    """Where one of the three is closed, a lock file would get its number, and the command would write into it.

    What stands there instead is closed again when the command starts.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def chosen(options: Options) -> str:
    """The same choice of a target as flags, with a space in front."""
    words: list[tuple[str, Any]] = [("config", options.config), ("target", options.target)]
    for name, given in options.flags.items():
        words += [(name, one) for one in (given if isinstance(given, tuple) else (given,))]
    if not any(word for _, word in words):
        return ""
    return "".join(f" --{name} {told.shell_word(str(word))}" for name, word in words if word)


def say(lines: Iterable[str]) -> None:
    """Lines for people, on stderr; nothing that goes wrong with it counts."""
    # print() would take stdout where there is no stderr.
    if sys.stderr is None:
        return
    try:
        for line in filter(None, lines):
            sys.stderr.write(told.plain(line) + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return
