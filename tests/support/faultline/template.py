"""The process that is forked for every run: it has imported driftd once, and has one thread.

It reads one JSON request a line: `{"argv": [...]}` runs the command line, `{"call": "module:function", "arguments": [...]}` a
function whose answer is printed as JSON. Each runs in a forked child, in a session of its own, its output in files.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import select
import signal
import sys
import tempfile
import traceback
from typing import Any

IMPORTED = (
    "driftd.__main__",
    "driftd.cli.main",
    "driftd.startup.launch",
    "driftd.startup.alone",
    "driftd.startup.child",
    "driftengine.api",
    "driftengine.api_backups",
    "driftengine.starting",
    "driftengine.session",
    "driftengine.stage",
    "driftengine.restoring",
    "driftengine.undoing",
    "driftengine.moved",
    "driftengine.rehearse",
    "rich.console",
    "rich.table",
)


def act(request: dict[str, Any]) -> int:
    """What is asked for, in the child; its exit code."""
    if "argv" in request:
        sys.argv = ["driftd", *request["argv"]]
        from driftd.__main__ import main

        main()
        return 0
    module, name = request["call"].split(":")
    answer = getattr(importlib.import_module(module), name)(*request.get("arguments", ()))
    json.dump(answer, sys.stdout, default=str)
    return 0


def child(request: dict[str, Any], keep: int) -> None:
    """Never returns."""
    code = 70
    try:
        os.close(keep)
        os.setsid()
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        tempfile.tempdir = None
        for number, name, flags in (
            (0, os.devnull, os.O_RDONLY),
            (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
            (2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        ):
            opened = os.open(name, flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        faultline = ctypes.CDLL(None)
        if faultline.faultline_attach(os.fsencode(request["control"])) != 0:
            sys.exit("the fault library is not preloaded")
        faultline.faultline_starts()
        os.environ["FAULTLINE"] = request["control"]
        code = act(request)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)  # noqa: T201  # as the interpreter does at its end
    except BaseException:  # noqa: BLE001  # the child's last words are its answer
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = code or 74
        os._exit(code)


def wait(pid: int, seconds: float) -> tuple[int, bool]:
    """The exit code (negative: the signal), and whether the time ran out; what is left of its session is killed."""
    opened = os.pidfd_open(pid)
    late = not select.select([opened], [], [], seconds)[0]
    os.close(opened)
    # Processes that it left behind end with it: what they would have done is a point of another run.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), late


def serve() -> None:
    """Answers requests until stdin ends."""
    for name in IMPORTED:
        importlib.import_module(name)
    channel = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(request, channel)
        code, late = wait(pid, request["seconds"])
        os.write(channel, (json.dumps({"code": code, "late": late}) + "\n").encode())


if __name__ == "__main__":
    serve()
