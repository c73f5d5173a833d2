"""`driftd service`: what is rendered for which machine, whose file is touched, and what the service manager is asked."""

from __future__ import annotations

import os
import plistlib
import shlex
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from command_line import driftd
from driftd.config import Request
from driftd.config.locate import shipped_text
from driftd.service import plist, unit
from driftd.service.described import Described, describe, is_below, outermost, runtime_below
from driftd.service.folders import make_folders
from driftd.service.manager import Manager, manager_for
from driftd.service.owner import Owner, one_owner, owner_of, shut_to
from driftd.service.placed import condition, place, remove, require_removable, signed
from driftengine.errors import ConfigurationError, DriftError
from support.systemd import complaints, exposure

if TYPE_CHECKING:
    from command_line import Finished

CONFIGURATION = """\
[targets.app]
url = "sqlite:///data/app.db"
models = ["${MODELS:-models}.sql"]
[targets.app.backup]
directory = "backups"
"""
ALICE = Owner(12001, 12002)  # nobody of this machine
SPACES = 'my app 100% $HOME "x" \\t'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a configuration, in a path that has everything which must be quoted."""
    folder = tmp_path / SPACES
    folder.mkdir()
    (folder / "driftd.toml").write_text(CONFIGURATION, encoding="utf-8")
    (folder / "models.sql").write_text("CREATE TABLE t(id INTEGER PRIMARY KEY);", encoding="utf-8")
    return folder


def described(folder: Path, scope: str = "system", **environment: str) -> Described:
    """The service for the configuration in a folder."""
    request = Request(environment={"HOME": str(folder), **environment}, directory=folder)
    return describe(request, name="driftd", scope=scope, platform="linux")


def rendered(one: Described) -> str:
    """Its unit."""
    name = "driftd.service" if one.scope == "system" else "driftd-user.service"
    return unit.render(shipped_text(f"systemd/{name}"), one)


def values(text: str, key: str) -> list[str]:
    """What a unit says for a key."""
    return [line.partition("=")[2] for line in text.splitlines() if line.startswith(key + "=")]


# --- what a service is made of


def test_the_service_runs_what_this_shell_would_run(project: Path) -> None:
    """This interpreter, the found configuration by its path, this working directory, the variables that were read."""
    found = described(project, MODELS="models", UNREAD="x", DRIFTD_PROBE_TIMEOUT="5", DRIFTD_DEBUG="1")
    config = str(project / "driftd.toml")
    assert found.command == (sys.executable, "-P", "-m", "driftd", "run", "--config", config)
    assert found.directory == str(project)
    assert found.environment == {"MODELS": "models", "DRIFTD_PROBE_TIMEOUT": "5"}
    assert found.databases == (str(project / "data" / "app.db"),)
    assert found.writable == (str(project / "backups"), str(project / "data"))
    assert (found.socket, found.runtime) == ("/run/driftd/driftd.sock", "driftd")


def test_flags_are_repeated(project: Path) -> None:
    """Without a configuration the flags describe the target, to the service as well."""
    request = Request(
        environment={"HOME": "/", "DRIFTD_TARGET": "other"},
        directory=project,
        flags={"url": "sqlite:///a.db", "models": ("models.sql", "m:x")},
    )
    found = describe(request, name="web", scope="system", platform="linux")
    assert found.command[5:] == (
        "--url", "sqlite:///a.db", "--models", "models.sql", "--models", "m:x", "--socket", "/run/web/driftd.sock",
    )  # fmt: skip
    assert found.databases == (str(project / "a.db"),)


def test_a_session_has_its_own_place_for_sockets(project: Path) -> None:
    """A user's service listens where that user's commands look; one of the system does not care for the session."""
    mine = described(project, "user", XDG_RUNTIME_DIR="/run/user/7", XDG_CACHE_HOME="/c")
    assert (mine.socket, mine.runtime) == ("/run/user/7/driftd/driftd.sock", "driftd")
    assert "--socket" not in mine.command
    assert mine.environment == {"XDG_CACHE_HOME": "/c"}
    assert described(project, "user").socket == f"/run/user/{os.getuid()}/driftd/driftd.sock"
    theirs = described(project, XDG_RUNTIME_DIR="/run/user/7", XDG_CACHE_HOME="/c")
    assert theirs.socket == "/run/driftd/driftd.sock"
    assert theirs.environment == {}


def test_a_socket_elsewhere_makes_its_folder_writable(project: Path) -> None:
    """Whoever names a place for the socket gets it there."""
    with (project / "driftd.toml").open("a", encoding="utf-8") as file:
        file.write('[daemon]\nsocket = "s/d.sock"\ngroup = "users"\n')
    found = described(project)
    assert (found.runtime, found.socket) == ("", str(project / "s" / "d.sock"))
    assert str(project / "s") in found.writable
    assert values(rendered(found), "RuntimeDirectory") == ["%N"]
    assert values(rendered(found), "SupplementaryGroups") == ["users"]


def test_databases_of_several_owners_need_several_services() -> None:
    """The refusal says who owns which, and how to go on."""
    with pytest.raises(ConfigurationError) as caught:
        one_owner({"app": ALICE, "web": Owner(12003, 12003)})
    assert caught.value.code == "service-owners"
    assert "app belongs to 12001, web belongs to 12003" in caught.value.why
    assert "--target" in caught.value.fix
    assert one_owner({"app": ALICE, "web": Owner(12001, 5)}) == ALICE


def test_a_missing_database_is_whose_folder_it_will_be(tmp_path: Path) -> None:
    """The nearest folder that is there decides."""
    (tmp_path / "a").mkdir()
    if os.geteuid() == 0:
        os.chown(tmp_path / "a", ALICE.uid, ALICE.gid)
    found = (tmp_path / "a").stat()
    assert owner_of(str(tmp_path / "a" / "b" / "c" / "app.db")) == Owner(found.st_uid, found.st_gid)


def test_what_the_owner_cannot_reach_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment in somebody's home is the usual reason why a service does not start."""
    # pytest's own folder is shut to all others already.
    found = shut_to(str(project / "python"), ALICE)
    assert found is not None
    folder, mode = found
    assert is_below(str(project), [folder])
    assert not mode & 0o001
    assert shut_to("/usr/bin/env", ALICE) is None
    monkeypatch.setattr("driftd.service.described.owner_of", lambda _path: ALICE)
    told = f"12001 cannot reach {project / 'driftd.toml'}: {folder} is shut (mode {mode:04o})"
    assert told in described(project).notes


def test_folders_below_others_are_not_named_twice() -> None:
    """Only the outermost counts, by whole names."""
    assert outermost(["/a/b/c", "/a/b", "/a/bc", "/a/b"]) == ("/a/b", "/a/bc")
    assert is_below("/a/x", ["/a"])
    assert not is_below("/ax", ["/a"])
    assert runtime_below("/run/a/b/s.sock", "/run") == "a/b"
    assert runtime_below("/run/s.sock", "/run") == ""
    assert runtime_below("/x/s.sock", "") == ""


# --- the unit


def test_systemd_has_nothing_to_say_about_a_rendered_unit(project: Path, tmp_path: Path) -> None:
    """Spaces, per cent signs, dollars, quotes and backslashes arrive as they are."""
    for scope in ("system", "user"):
        path = tmp_path / f"driftd-{scope}.service"
        path.write_text(signed(rendered(described(project, scope, MODELS="models"))), encoding="utf-8")
        assert complaints(path, tmp_path, user=scope == "user") == ""


def test_a_rendered_unit_is_as_safe_as_the_shipped_one(project: Path, tmp_path: Path) -> None:
    """For an owner who is not root, away from /tmp."""
    found = replace(described(project), owner=ALICE, private_tmp=True)
    path = tmp_path / "driftd.service"
    path.write_text(rendered(found), encoding="utf-8")
    assert exposure(path) < 2.0


def test_only_what_differs_from_machine_to_machine_is_exchanged(project: Path) -> None:
    """Every other line is the shipped one's."""
    text = rendered(replace(described(project, MODELS="a b%"), owner=ALICE))
    config = unit.quoted(str(project / "driftd.toml").replace("$", "$$"))
    assert values(text, "ExecStart") == [f"{unit.quoted(sys.executable)} -P -m driftd run --config {config}"]
    assert values(text, "User") == ["12001"]
    assert values(text, "Group") == ["12002"]
    assert values(text, "Environment") == ["XDG_CACHE_HOME=%C/%N", '"MODELS=a b%%"']
    assert values(text, "WorkingDirectory") == [str(project).replace("%", "%%")]
    assert len(values(text, "ReadWritePaths")) == 2
    shipped = set(shipped_text("systemd/driftd.service").splitlines())
    keys = {line.partition("=")[0] for line in text.splitlines() if line not in shipped}
    assert keys <= {"ExecStart", "User", "Group", "Environment", "WorkingDirectory", "ReadWritePaths", "RuntimeDirectory",
                    "PrivateTmp", "# Off, because something that driftd needs lies below /tmp or /var/tmp."}  # fmt: skip


def test_what_lies_below_tmp_is_not_hidden(project: Path) -> None:
    """PrivateTmp is off where it would take the database away, and only there."""
    assert values(rendered(replace(described(project), private_tmp=False)), "PrivateTmp") == ["false"]
    assert values(rendered(replace(described(project), private_tmp=True)), "PrivateTmp") == ["true"]


@pytest.mark.parametrize(
    ("word", "quoted"),
    [
        ("/usr/bin/python3", "/usr/bin/python3"),
        ("", '""'),
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        ("100%", '"100%%"'),
        ("a\nb", '"a\\nb"'),
        ("ä", '"ä"'),
        ("it's", '"it\'s"'),
    ],
)
def test_words_are_quoted_for_systemd(word: str, quoted: str) -> None:
    """Specifiers are doubled, quotes and backslashes escaped."""
    assert unit.quoted(word) == quoted


@pytest.mark.parametrize("path", ["/a\x07", "/a\udcff"])
def test_what_a_unit_cannot_say_is_refused(path: str) -> None:
    """Better no unit than one for another folder."""
    for say in (unit.quoted, unit.bare):
        with pytest.raises(ConfigurationError) as caught:
            say(path)
        assert caught.value.code == "service-inexpressible"


@pytest.mark.parametrize("path", ["/a ", "/a\\", "/a\nUser=root"])
def test_a_line_cannot_be_broken_by_a_working_directory(path: str) -> None:
    """Its value is not quoted: nothing may end the line or run into the next one."""
    with pytest.raises(ConfigurationError):
        unit.bare(path)


# --- launchd


def test_a_property_list_has_this_machines_values(project: Path) -> None:
    """It round-trips, names the user for a daemon of the system, and logs to a file."""
    found = replace(described(project, MODELS="models"), owner=ALICE)
    text = plist.render(shipped_text("systemd/launchd/local.driftd.plist"), found)
    content = plistlib.loads(signed(text).encode())
    assert plistlib.loads(plistlib.dumps(content)) == content
    assert content["ProgramArguments"] == list(found.command)
    assert content["EnvironmentVariables"] == {"MODELS": "models"}
    assert content["StandardErrorPath"] == "/Library/Logs/driftd/driftd.log"
    assert content["KeepAlive"] == {"SuccessfulExit": False}
    assert (content["UserName"], content["GroupName"]) == ("12001", "12002")
    assert content["Label"] == "local.driftd"


def test_macos_has_no_default_place_for_the_socket(project: Path) -> None:
    """It must be named; then nothing but the name counts."""
    request = Request(environment={"HOME": str(project)}, directory=project)
    with pytest.raises(ConfigurationError) as caught:
        describe(request, name="driftd", scope="user", platform="darwin")
    assert caught.value.code == "service-socket"
    found = describe(request, name="driftd", scope="user", socket="s.sock", platform="darwin")
    assert found.socket == str(project / "s.sock")
    assert found.log == f"{project}/Library/Logs/driftd.log"
    assert "UserName" not in plist.render(shipped_text("systemd/launchd/local.driftd.plist"), found)


# --- the file


def test_the_file_tells_who_made_it(tmp_path: Path) -> None:
    """None, ours, edited, foreign; of a unit and of a property list."""
    for text in ("[Unit]\nDescription=x\n", '<?xml version="1.0"?>\n<plist/>\n'):
        path = tmp_path / "x"
        assert condition(path) == "none"
        assert place(path, text)
        assert (condition(path), stat.S_IMODE(path.stat().st_mode)) == ("ours", 0o644)
        assert not place(path, text)
        assert place(path, text + "\n")
        path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
        assert condition(path) == "edited"
        path.write_text(text, encoding="utf-8")
        assert condition(path) == "foreign"
        assert [one.name for one in tmp_path.iterdir()] == ["x"]
        remove(path)


def test_nobody_elses_file_is_touched(tmp_path: Path) -> None:
    """Neither written over nor removed, unless that is asked for."""
    path = tmp_path / "driftd.service"
    path.write_text("mine\n", encoding="utf-8")
    for refused in (lambda: place(path, "x\n"), lambda: require_removable(path)):
        with pytest.raises(DriftError) as caught:
            refused()
        assert caught.value.code == "service-file-taken"
    assert path.read_text(encoding="utf-8") == "mine\n"
    require_removable(path, force=True)
    assert place(path, "x\n", force=True)
    assert condition(path) == "ours"
    remove(path)
    with pytest.raises(DriftError) as caught:
        require_removable(path)
    assert caught.value.code == "service-missing"


def test_folders_are_made_before_the_service_is_shut_in(tmp_path: Path) -> None:
    """As the owner's: the database's folder open to look into, that of the backups not."""
    mine = tmp_path.stat()
    owner = ALICE if os.geteuid() == 0 else Owner(mine.st_uid, mine.st_gid)
    one = Described("x", "system", (), "/", owner, databases=(str(tmp_path / "a" / "data" / "app.db"),))
    folders = [str(tmp_path / "a" / "data"), str(tmp_path / "backups" / "b")]
    made = make_folders(folders, one)
    assert made == [str(tmp_path / name) for name in ("a", "a/data", "backups", "backups/b")]
    modes = [stat.S_IMODE(Path(folder).stat().st_mode) for folder in made]
    assert modes == [0o755, 0o755, 0o755, 0o700]
    assert {Path(folder).stat().st_uid for folder in made} == {owner.uid}
    assert make_folders(folders, one) == []


# --- the service manager


def test_where_units_are_placed() -> None:
    """As systemd and launchd look for those of a person."""
    linux = {"HOME": "/h", "XDG_CONFIG_HOME": "relative"}
    assert str(manager_for("linux", "system", linux).path("web")) == "/etc/systemd/system/web.service"
    assert str(manager_for("linux", "user", linux).path("web")) == "/h/.config/systemd/user/web.service"
    assert manager_for("linux", "user", {"XDG_CONFIG_HOME": "/c"}).folder == Path("/c/systemd/user")
    mac = manager_for("darwin", "user", linux)
    assert str(mac.path("driftd")) == "/h/Library/LaunchAgents/local.driftd.plist"
    assert str(manager_for("darwin", "system", linux).folder) == "/Library/LaunchDaemons"
    assert mac.starting("driftd")[1][:2] == ["launchctl", "bootstrap"]


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command that says it runs, notes what it is asked, and fails for `restart broken.service`; its notes."""
    script, notes = tmp_path / "bin" / "systemctl", tmp_path / "asked"
    script.parent.mkdir()
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {shlex.quote(str(notes))}\n'
        'case "$*" in *is-system-running) echo degraded; exit 1;; *"restart broken"*) echo no >&2; exit 1;; esac\n',
        encoding="utf-8",
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return notes


def run(folder: Path, *words: str, **environment: str) -> Finished:
    """`driftd service` for a user, with the PATH of the test."""
    return driftd("service", *words, "--user", folder=folder, **environment)


def test_install_and_uninstall_with_a_service_manager(project: Path, systemctl: Path) -> None:
    """It reads the unit, starts it with the machine and now; and the other way round."""
    done = run(project, "install", "--json")
    assert done.code == 0, done.err
    path = project / ".config" / "systemd" / "user" / "driftd.service"
    assert (done.document["path"], done.document["started"], done.document["commands"]) == (
        str(path),
        True,
        [],
    )
    assert done.document["made"] == [str(project / "backups"), str(project / "data")]
    assert condition(path) == "ours"
    assert systemctl.read_text(encoding="utf-8").splitlines() == [
        "--user is-system-running",
        "--user daemon-reload",
        "--user enable driftd.service",
        "--user restart driftd.service",
    ]
    systemctl.unlink()
    done = run(project, "uninstall")
    assert (done.code, done.out) == (0, f"removed {path}\n")
    assert systemctl.read_text(encoding="utf-8").splitlines()[1:] == [
        "--user disable --now driftd.service",
        "--user daemon-reload",
    ]
    assert not path.exists()


def test_a_service_that_does_not_start_is_an_error(project: Path, systemctl: Path) -> None:
    """What the service manager said is the reason, and its log the next step."""
    done = run(project, "install", "--name", "broken")
    assert done.code == 2
    assert "error[service-manager-refused]: systemctl --user restart broken.service failed\n  no" in done.err
    assert "journalctl --user --unit broken.service" in done.err


def test_without_a_service_manager_the_commands_are_shown(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without systemd gets the file, and is told what to type where there is one."""
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = run(project, "install")
    assert done.code == 0, done.err
    assert done.out.endswith(
        "no systemd runs here; where it does, type:\n"
        "  systemctl --user daemon-reload\n  systemctl --user enable driftd.service\n"
        "  systemctl --user restart driftd.service\n"
    )
    assert run(project, "install", "--json").document["changed"] is False
    done = run(project, "uninstall")
    assert done.out.endswith("; no systemd runs here that could be told\n")


def test_print_writes_nothing(project: Path) -> None:
    """The unit goes to stdout, notes to stderr, and no folder is made."""
    done = driftd("service", "print", "--system", folder=project)
    assert done.code == 0
    assert done.out.startswith("[Unit]\n")
    assert "note: it listens on /run/driftd/driftd.sock" in done.err
    assert sorted(path.name for path in project.iterdir()) == ["driftd.toml", "models.sql"]
    document = driftd("service", "print", "--system", "--json", folder=project).document
    assert document["text"] == done.out
    assert (document["manager"], document["scope"]) == ("systemd", "system")


def test_a_name_is_no_path(project: Path) -> None:
    """It becomes a part of paths and commands."""
    for name in ("../x", "-x", "a b", "a@b", ""):
        assert run(project, "install", f"--name={name}").code == 2
    assert not (project / ".config").exists()


def test_systemd_can_enable_a_rendered_unit(project: Path, tmp_path: Path) -> None:
    """The real systemctl, on a tree that is not running."""
    tool = Manager("systemd", "system", tmp_path / "root" / "etc" / "systemd" / "system")
    place(tool.path("driftd"), rendered(described(project)))
    try:
        done = subprocess.run(
            ["systemctl", f"--root={tmp_path / 'root'}", "enable", "driftd.service"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("systemctl is not installed")
    assert done.returncode == 0, done.stderr
    link = tool.folder / "multi-user.target.wants" / "driftd.service"
    assert str(link.readlink()) == "/etc/systemd/system/driftd.service"
