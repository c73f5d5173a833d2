"""`driftd exec` as a shell sees it: the database first, then the command as if driftd had never been there."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import TYPE_CHECKING

import psutil
import pytest

from driftd.startup.told import SHIPPED
from support.processes import is_gone
from support.sidecars import MODELS, NARROWER, PATIENCE, WIDER, columns, house, make

if TYPE_CHECKING:
    from pathlib import Path

HANGING = (
    "import os, time, pathlib\n"
    "pathlib.Path('pid.new').write_text(str(os.getpid()))\npathlib.Path('pid.new').rename('pid')\n"
    "time.sleep(600)\n"
)
PYTHON = sys.executable


def environment(folder: Path, **more: str) -> dict[str, str]:
    """One that configures nothing: HOME is the folder, and no daemon of this machine is found."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DRIFTD_", "XDG_", "MCP_"))}
    return {**kept, "HOME": str(folder), "DRIFTD_SOCKET": str(folder / "d.sock"), **more}


def spawn(folder: Path, *words: str | bytes, **more: str) -> subprocess.Popen[bytes]:
    """`driftd exec WORDS` in a folder."""
    return subprocess.Popen(
        [PYTHON, "-m", "driftd", "exec", *words],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(folder: Path, *words: str | bytes, given: bytes = b"", **more: str) -> tuple[int, bytes, str]:
    """Its exit code, what it wrote on stdout, and on stderr."""
    with spawn(folder, *words, **more) as process:
        out, err = process.communicate(given, timeout=PATIENCE)
    return process.returncode, out, err.decode()


def appearing(path: Path) -> str:
    """What stands in a file that another process is about to make."""
    give_up = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < give_up, path
        time.sleep(0.02)  # nothing announces it
    return path.read_text(encoding="utf-8")


def is_in_use(database: Path) -> bool:
    """True while a service says that it runs on that schema."""
    with (database.with_name(database.name + ".inuse.lock")).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def hanging(folder: Path) -> tuple[str, ...]:
    """The options for models that never finish loading."""
    make(folder / "app.db")
    (folder / "app.py").write_text(HANGING, encoding="utf-8")
    return ("--url", "sqlite:///app.db", "--models", "app:metadata")


# --- the database


def test_a_first_start_makes_folder_and_database(tmp_path: Path) -> None:
    """Where there is nothing yet, the service finds its database complete, and one line on stderr says so."""
    (tmp_path / "models.sql").write_text(MODELS, encoding="utf-8")
    url = ("--url", "sqlite:///data/here/app.db", "--models", "models.sql")
    code, out, err = run(tmp_path, *url, "--", "test", "-s", "data/here/app.db")
    assert (code, out) == (0, b"")
    assert err.startswith("driftd: app: migrated, 1 operation in ")
    assert err.count("\n") == 1
    assert columns(tmp_path / "data" / "here" / "app.db") == ["id", "title"]


def test_an_old_database_is_migrated_once(tmp_path: Path) -> None:
    """The first start migrates and says so; the next is silent on both streams."""
    house(tmp_path, models=WIDER)
    make(tmp_path / "app.db")
    code, out, err = run(tmp_path, "true")
    assert (code, out) == (0, b"")
    assert err.startswith("driftd: app: migrated, 1 operation in ")
    assert columns(tmp_path / "app.db") == ["id", "title", "state"]
    assert run(tmp_path, "true") == (0, b"", "")


def test_what_is_held_is_named_with_the_command_to_type(tmp_path: Path) -> None:
    """What waits for a person stands on stderr, with the options that choose the same target."""
    house(tmp_path, models=NARROWER)
    make(tmp_path / "app.db")
    code, out, err = run(tmp_path, "--target=app", "--config", "driftd.toml", "--", "echo", "up")
    assert (code, out) == (0, b"up\n")
    assert "driftd: app: held, 1 operation waits: drop column title (task" in err
    assert "driftd apply --config driftd.toml --target app --dry-run" in err


def test_eight_at_once_on_a_new_database(tmp_path: Path) -> None:
    """Eight services that start together: one makes the database, seven find it up to date, all start."""
    house(tmp_path)
    started = [spawn(tmp_path, "--", "echo", str(number)) for number in range(8)]
    ends = [(*process.communicate(timeout=PATIENCE), process.returncode) for process in started]
    assert [(out, code) for out, _, code in ends] == [(b"%d\n" % number, 0) for number in range(8)]
    told = sorted(err.decode() for _, err, _ in ends)
    assert told[:7] == [""] * 7
    assert told[7].startswith("driftd: app: migrated, 1 operation in ")
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection:
        query = "SELECT count(DISTINCT migration_id) FROM driftd_history WHERE migration_id IS NOT NULL"
        assert connection.execute(query).fetchone() == (1,)


# --- whatever goes wrong, the command starts


def test_models_that_are_broken(tmp_path: Path) -> None:
    """Models that do not import are told with their error, and the command starts."""
    (tmp_path / "app.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    url = ("--url", "sqlite:///app.db", "--models", "app:metadata")
    code, out, err = run(tmp_path, *url, "--", "echo", "up")
    assert (code, out) == (0, b"up\n")
    assert "driftd: app: failed: " in err
    assert "nothing_of_that_name" in err


def test_the_shipped_configuration(tmp_path: Path) -> None:
    """Without a configuration it is the MCP Task Orchestrator's database; where its models are missing it starts as it is."""
    make(tmp_path / "base.db")
    code, out, err = run(tmp_path, "--", "echo", "up", MCP_TASK_ORCHESTRATOR_DB_PATH="base.db")
    assert (code, out) == (0, b"up\n")
    assert err.startswith("driftd: orchestrator: failed: ")
    assert "mcp_task_orchestrator" in err
    assert err.endswith("\ndriftd: " + SHIPPED + "\n")
    assert (tmp_path / "base.db.startup.lock").exists()


def test_a_folder_that_is_nobodys(tmp_path: Path) -> None:
    """With no configuration, no such database and no such models, nothing is made there, and the line says what was used."""
    code, out, err = run(tmp_path, "--", "echo", "up")
    assert (code, out) == (0, b"up\n")
    assert err.startswith("driftd: no startup window: there is neither ")
    assert err.endswith("\ndriftd: " + SHIPPED + "\n")
    assert not (tmp_path / ".task_orchestrator").exists()


def test_models_that_are_in_the_folder_alone(tmp_path: Path) -> None:
    """The shipped configuration's models are looked for where the probe does: a checkout of the service has its first start."""
    package = tmp_path / "mcp_task_orchestrator" / "db"
    package.mkdir(parents=True)
    (package / "models.py").write_text("raise RuntimeError('it was found')\n", encoding="utf-8")
    _, _, err = run(tmp_path, "--", "true")
    assert "RuntimeError: it was found" in err
    assert (tmp_path / ".task_orchestrator").exists()


def test_others_cannot_be_told(tmp_path: Path) -> None:
    """Where the lock of those that run cannot be had, one line says so, also where there is nothing to do."""
    house(tmp_path)
    make(tmp_path / "app.db")
    (tmp_path / "app.db.inuse.lock").mkdir()
    code, out, err = run(tmp_path, "--", "echo", "up")
    assert (code, out) == (0, b"up\n")
    lock = tmp_path / "app.db.inuse.lock"
    assert (
        err.splitlines()[-1]
        == f"driftd: others cannot be told that this service runs: {lock} could not be locked"
    )


def test_models_that_hang(tmp_path: Path) -> None:
    """An import that never ends is given up when the time is over, and what it started is gone."""
    code, out, err = run(tmp_path, *hanging(tmp_path), "--timeout", "4", "--", "echo", "up")
    assert (code, out) == (0, b"up\n")
    assert "driftd: app: deferred: " in err
    # On a slow machine the window may be over before the models are looked at.
    assert not (tmp_path / "pid").exists() or is_gone(int((tmp_path / "pid").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ("[targets.app", "driftd: no startup window: ./driftd.toml is not valid TOML, line 1, column 13: "),
        ('[targets.app]\nurl = "sqlite:///"\nmodels = ["m.sql"]\n', "is a database in memory"),
        ('[targets.app]\nurl = "sqlite:////dev/null/app.db"\nmodels = ["m.sql"]\n', "no startup window"),
        (
            "".join(f'[targets.{one}]\nurl = "{one}.db"\nmodels = ["m.sql"]\n' for one in ("web", "jobs")),
            "describes 2 targets and none was chosen: its targets are web, jobs",
        ),
    ],
)
def test_a_configuration_that_is_wrong(tmp_path: Path, configuration: str, expected: str) -> None:
    """What is wrong with the configuration is told, and the command starts."""
    (tmp_path / "driftd.toml").write_text(configuration, encoding="utf-8")
    code, out, err = run(tmp_path, "--", "echo", "up")
    assert (code, out) == (0, b"up\n")
    assert expected in err.replace(str(tmp_path), ".")


def test_a_daemon_that_answers_garbage(tmp_path: Path) -> None:
    """Whoever sits at the daemon's socket and is none is as if there was no daemon."""
    import socket
    import threading

    house(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(tmp_path / "d.sock"))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b'{"ok": "perhaps"}\n')

        thread = threading.Thread(target=answer)
        thread.start()
        code, out, err = run(
            tmp_path, "--", "echo", "up", DRIFTD_SOCKET=os.path.relpath(tmp_path / "d.sock", tmp_path)
        )
        thread.join(PATIENCE)
    assert (code, out) == (0, b"up\n")
    assert err.startswith("driftd: app: migrated")


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    """In a working directory that somebody has removed the command starts all the same."""
    shell = f"mkdir gone; cd gone; rmdir ../gone; exec '{PYTHON}' -P -m driftd exec -- echo up"
    done = subprocess.run(
        ["sh", "-c", shell],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "up\n")
    assert "no startup window" in done.stderr


def test_a_bug_of_ours(tmp_path: Path) -> None:
    """Whatever breaks inside driftd itself is a line on stderr, and the command starts."""
    (tmp_path / "lame.py").write_text(
        "import sys, driftd.startup.finding as finding\n"
        "def broken(*_): raise ZeroDivisionError('as a test has it')\n"
        "finding.find = broken\n"
        "from driftd.__main__ import main\n"
        "sys.argv = ['driftd', 'exec', '--', 'echo', 'up']\nmain()\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [PYTHON, "lame.py"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "up\n")
    assert "ZeroDivisionError: as a test has it" in done.stderr
    assert "Traceback" not in done.stderr


def test_mode_observe_leaves_the_database_alone(tmp_path: Path) -> None:
    """In mode observe the service starts on the old schema, and hears that it is old."""
    house(tmp_path, mode="observe", models=WIDER)
    make(tmp_path / "app.db")
    code, _, err = run(tmp_path, "true")
    assert code == 0
    assert "driftd: app: deferred: nothing is applied to app" in err
    assert columns(tmp_path / "app.db") == ["id", "title"]


# --- how it ends


def test_killed_while_it_waits(tmp_path: Path) -> None:
    """SIGKILL leaves no process behind, nothing half done, and the window free for the next start."""
    options = hanging(tmp_path)
    process = spawn(tmp_path, *options, "--", "echo", "up")
    probe = int(appearing(tmp_path / "pid"))
    children = psutil.Process(process.pid).children()
    process.kill()
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (-signal.SIGKILL, b"")
    assert is_gone(probe)
    assert all(is_gone(child.pid) for child in children)
    (tmp_path / "models.sql").write_text(WIDER, encoding="utf-8")
    url = ("--url", "sqlite:///app.db", "--models", "models.sql")
    code, _, err = run(tmp_path, *url, "true")
    assert (code, err.partition(" operation")[0]) == (0, "driftd: app: migrated, 1")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_ended_while_it_waits(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Control-C and SIGTERM end the waiting, and the command does not start."""
    process = spawn(tmp_path, *hanging(tmp_path), "--", "echo", "up")
    probe = int(appearing(tmp_path / "pid"))
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (code, b"", b"")
    assert is_gone(probe)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["no-such-program"], 127, "driftd exec: no-such-program: not found\n"),
        (["./nowhere/at-all"], 127, "driftd exec: ./nowhere/at-all: not found\n"),
        ([""], 127, "driftd exec: : not found\n"),
        (["./plain"], 126, "driftd exec: ./plain: Permission denied\n"),
        (["."], 126, "driftd exec: .: Permission denied\n"),
        (
            ["./script"],
            126,
            "driftd exec: ./script: the interpreter that its first line names is not there\n",
        ),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, words: list[str], code: int, told: str) -> None:
    """127 for what is not there, 126 for what cannot be run, as a shell has it."""
    house(tmp_path)
    make(tmp_path / "app.db")
    (tmp_path / "plain").write_text("", encoding="utf-8")
    (tmp_path / "script").write_text("#!/no/such/interpreter\n", encoding="utf-8")
    (tmp_path / "script").chmod(0o755)
    assert run(tmp_path, "--", *words) == (code, b"", told)


# --- the command is as if driftd had never been there


@pytest.fixture
def settled(tmp_path: Path) -> Path:
    """A folder in which there is nothing to do."""
    house(tmp_path)
    make(tmp_path / "app.db")
    return tmp_path


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("kill -PIPE $$", -signal.SIGPIPE)],
)
def test_the_command_s_own_end(settled: Path, script: str, code: int) -> None:
    """Exit code and signals are the command's own; it is no child, and nothing is ignored for it."""
    assert run(settled, "--", "sh", "-c", script)[0] == code


def test_the_command_is_this_very_process(settled: Path) -> None:
    """A supervisor knows the service by the process that it has started."""
    with spawn(settled, "--", "sh", "-c", "echo $$") as process:
        out, _ = process.communicate(timeout=PATIENCE)
    assert int(out) == process.pid


def test_its_arguments_and_input_are_untouched(settled: Path) -> None:
    """Words that look like options, that are empty, or that are no text arrive as they were typed; stdin as well."""
    words = [b"", b" ", b"*", b"$HOME", b"--target", b"--", b"-h", b"a\nb", b"\xff\xfe", "ü".encode()]
    code, out, _ = run(settled, "--", "printf", r"%s\0", *words)
    assert (code, out) == (0, b"".join(word + b"\0" for word in words))
    given = bytes(range(256)) * 4096
    assert run(settled, "cat", "-", given=given) == (0, given, "")


def test_it_counts_as_a_running_service_until_it_ends(settled: Path) -> None:
    """Others see by the lock that a service runs on the schema, for as long as it does."""
    with spawn(settled, "--", "sh", "-c", "echo up; read line") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert is_in_use(settled / "app.db")
        process.communicate(b"\n", timeout=PATIENCE)
    assert not is_in_use(settled / "app.db")


def test_it_inherits_nothing_of_ours(settled: Path) -> None:
    """Of all that driftd has opened, the command has the one lock that says that it runs, and no child process."""
    program = (
        "import json, os, psutil\n"
        "def name(number):\n"
        "    try: return os.readlink(f'/proc/self/fd/{number}')\n"
        "    except OSError: return ''\n"
        "names = [name(number) for number in os.listdir('/proc/self/fd') if int(number) > 2]\n"
        "print(json.dumps([names, len(psutil.Process().children())]))\n"
    )
    _, out, _ = run(settled, "--", PYTHON, "-c", program)
    names, children = json.loads(out)
    assert [one for one in names if one.startswith(str(settled))] == [f"{settled / 'app.db'}.inuse.lock"]
    assert not [one for one in names if one.startswith(("pipe:", "socket:"))]
    assert children == 0


def test_closed_standard_streams_stay_closed(settled: Path) -> None:
    """A service that is started without stdin, stdout and stderr does not find one of our files in their place."""
    program = (
        "import os\n"
        "def is_open(number):\n"
        "    try: os.fstat(number)\n"
        "    except OSError: return False\n"
        "    return True\n"
        "open('streams', 'w').write(str([is_open(number) for number in range(2)]))\n"
    )
    shell = f"exec '{PYTHON}' -m driftd exec -- '{PYTHON}' -c \"{program}\" <&- >&- 2>&-"
    done = subprocess.run(
        ["sh", "-c", shell], cwd=settled, env=environment(settled), timeout=PATIENCE, check=False
    )
    assert done.returncode == 0
    # Python itself opens the file under the lowest free number, which is stdin's.
    assert (settled / "streams").read_text(encoding="utf-8") == "[True, False]"
    assert columns(settled / "app.db") == ["id", "title"]


@pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere the first environment of a process cannot be read"
)
def test_its_environment_is_untouched(settled: Path) -> None:
    """What Python adds to the environment in the C locale does not reach the command."""
    given = {"PATH": os.environ["PATH"], "HOME": str(settled), "DRIFTD_SOCKET": "none", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [PYTHON, "-m", "driftd", "exec", "--", "env"],
        cwd=settled,
        env=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert dict(line.split("=", 1) for line in done.stdout.splitlines()) == given
