"""Which database a starting service opens, found without the imports of the configuration and by the same rules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from driftd.config.locate import locate
from driftd.startup.arguments import parse, seconds
from driftd.startup.finding import config_file, differs, is_shipped, socket_path
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS, FOREIGN = "[targets.app]\n", "[tool]\nname = 'targets'\n"
# The imports that `driftd exec` can do without; of the standard library those that are slow.
HEAVY = (
    "click",
    "tomli",
    "dataclasses",
    "typing",
    "pathlib",
    "logging",
    "subprocess",
    "threading",
    "socket",
    "driftengine",
    "driftd.config",
)


@pytest.mark.parametrize(
    ("files", "flag", "variables"),
    [
        ({}, None, {}),
        ({"driftd.toml": OURS}, None, {}),
        ({"driftd.toml": OURS, "config.toml": OURS}, None, {}),
        ({"config.toml": OURS}, None, {}),
        ({"config.toml": " [ targets . app ]\n"}, None, {}),
        ({"config.toml": FOREIGN}, None, {}),
        ({"config.toml": FOREIGN, "home/.config/driftd/config.toml": OURS}, None, {}),
        ({"home/.config/driftd/config.toml": OURS}, None, {"HOME": ""}),
        (
            {"xdg/driftd/config.toml": OURS, "home/.config/driftd/config.toml": OURS},
            None,
            {"XDG_CONFIG_HOME": "{}/xdg"},
        ),
        ({"driftd.toml": OURS, "a.toml": OURS}, "a.toml", {}),
        ({"driftd.toml": OURS, "a.toml": OURS}, None, {"DRIFTD_CONFIG": "a.toml"}),
        ({"driftd.toml": OURS, "home/a.toml": OURS}, "~/a.toml", {}),
        ({"driftd.toml": OURS, "a.toml": OURS}, "{}/a.toml", {"DRIFTD_CONFIG": "b.toml"}),
        ({"driftd.toml": OURS}, "gone.toml", {}),
        ({"driftd.toml": OURS}, None, {"DRIFTD_CONFIG": "gone.toml"}),
    ],
)
def test_the_file_is_that_of_the_configuration(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: Mapping[str, str],
    flag: str | None,
    variables: Mapping[str, str],
) -> None:
    """The quick look finds the file that reading the configuration would find, or misses the same one."""
    if Path("/etc/driftd/config.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # "~" is that of the process
    environment = {"HOME": str(tmp_path / "home")}
    environment |= {name: text.format(tmp_path) for name, text in variables.items()}
    asked = flag.format(tmp_path) if flag else None
    try:
        source = locate(asked, environment, tmp_path)
    except ConfigurationError:
        with pytest.raises(FileNotFoundError):
            config_file(asked, environment, str(tmp_path))
        return
    expected = None if source.how == "shipped" else str(source.path)
    assert config_file(asked, environment, str(tmp_path)) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, False),
        ({"variables": {"A": "1"}}, False),
        ({"variables": {"A": "2"}}, True),
        ({"variables": {"A": None}}, True),
        ({"variables": {"B": None}}, False),
        ({"variables": {"B": ""}}, True),
        ({"variables": {"A": "1"}, "directory": None}, False),
        ({"directory": "/"}, False),
        ({"directory": "/usr"}, True),
        ({"path": "/proc/self/none", "database": "/proc/self/none"}, True),
        ({"path": "/usr/none", "database": "/usr/none"}, False),
    ],
)
def test_when_the_daemon_is_believed(told: dict[str, Any], expected: bool) -> None:
    """Only where every variable that the url was expanded from, and its folder, are the same here."""
    assert differs(told, {"A": "1"}, "/") is expected


def test_where_the_daemon_is_looked_for() -> None:
    """DRIFTD_SOCKET, else the default of the configuration: an empty variable counts as none."""
    assert socket_path({"DRIFTD_SOCKET": "a/d.sock"}, "/srv", None) == "/srv/a/d.sock"
    assert socket_path({"XDG_RUNTIME_DIR": "/run/user/7"}, "/srv", None) == "/run/user/7/driftd/driftd.sock"
    assert (
        socket_path({"XDG_RUNTIME_DIR": "", "DRIFTD_SOCKET": ""}, "/srv", None) == "/run/driftd/driftd.sock"
    )


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ('[daemon]\nsocket = "d.sock"\n', "{home}/d.sock"),
        ("[targets.app]\nurl = 'x'\n\n [ daemon ]\n  socket='/run/a b.sock' # there\n", "/run/a b.sock"),
        ('[daemon]\ngroup = "x"\n[other]\nsocket = "no.sock"\n', None),
        ('# [daemon]\n# socket = "no.sock"\n', None),
        ('[daemon]\nsocket = "${HOME}/d.sock"\n', None),
        ("[daemon]\n", None),
        ("", None),
    ],
)
def test_the_socket_that_a_configuration_names_is_asked(
    text: str, socket: str | None, tmp_path: Path
) -> None:
    """Plainly written under [daemon], and relative to the file; anything else is left to the child, which reads all of it."""
    path = tmp_path / "driftd.toml"
    path.write_text(text, encoding="utf-8")
    expected = "/run/driftd/driftd.sock" if socket is None else socket.format(home=tmp_path)
    assert socket_path({}, "/", str(path)) == expected
    assert socket_path({"DRIFTD_SOCKET": "/x.sock"}, "/", str(path)) == "/x.sock"


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["serve"], ["serve"]),
        (["serve", "--target", "x"], ["serve", "--target", "x"]),
        (["--", "serve", "--"], ["serve", "--"]),
        (["--", "--serve"], ["--serve"]),
        (["-"], ["-"]),
        (["--target", "a", "--", "serve"], ["serve"]),
        (["--target=a", "--debug", "serve", "--debug"], ["serve", "--debug"]),
    ],
)
def test_where_the_command_begins(words: list[str], command: list[str]) -> None:
    """The first word that is no option, or what follows `--`, and all behind it, belong to the command."""
    found = parse("exec", words)
    assert found is not None
    assert found.command == command


def test_the_options() -> None:
    """Options take their value behind `=` or as the next word, and an empty one counts as not given."""
    found = parse(
        "exec",
        ["--url=u", "--models", "a", "--models=b", "--python=", "--timeout", "500ms", "--config", "", "x"],
    )
    assert found is not None
    assert found.flags == {"url": "u", "models": ("a", "b")}
    assert (found.timeout, found.config, found.target) == (0.5, None, None)
    found = parse("gate", ["--strict", "--json"])
    assert found is not None
    assert (found.strict, found.json, found.command) == (True, True, [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("exec", []),
        ("exec", ["--"]),
        ("exec", ["--help"]),
        ("exec", ["-h", "x"]),
        ("exec", ["--version"]),
        ("exec", ["--strict", "x"]),
        ("exec", ["--target"]),
        ("exec", ["--timeout", "never", "x"]),
        ("gate", ["x"]),
        ("gate", ["--strict=yes"]),
        ("gate", ["--wat"]),
    ],
)
def test_what_click_is_to_see(name: str, words: list[str]) -> None:
    """Help and whatever is wrong are left to click."""
    assert parse(name, words) is None


@pytest.mark.parametrize(
    ("text", "expected"), [("15", 15), ("2.5", 2.5), ("500ms", 0.5), ("3 s", 3), ("2m", 120)]
)
def test_durations(text: str, expected: float) -> None:
    """Durations are written as in the configuration."""
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "0", "0ms", "-1", "1e3", "inf", "nan", "1_0", ".", "s", "soon", "٣"])
def test_no_durations(text: str) -> None:
    """What is no duration above 0 is refused."""
    with pytest.raises(ValueError, match="duration"):
        seconds(text)


def test_the_quick_way_imports_next_to_nothing() -> None:
    """Up to the question to the daemon none of what is slow to import is loaded."""
    program = (
        "import sys; before = set(sys.modules); import driftd.__main__, driftd.startup.launch, driftd.startup.starter;"
        f"import driftd.client; new = set(sys.modules) - before; print([name for name in {HEAVY!r} if name in new])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("words", "variables", "shipped"),
    [
        ([], {}, True),
        (["--target", "app"], {}, True),
        ([], {"DRIFTD_URL": "sqlite:///a.db"}, True),
        ([], {"DRIFTD_URL": "sqlite:///a.db", "DRIFTD_MODELS": "a:b"}, False),
        (["--url", "sqlite:///a.db"], {}, False),
        (["--config", "gone.toml"], {}, False),
    ],
)
def test_whether_the_shipped_configuration_was_used(
    tmp_path: Path, words: list[str], variables: dict[str, str], shipped: bool
) -> None:
    """Only where nobody has said which database and which models; a file of one's own ends it in any case."""
    options = parse("exec", [*words, "--", "true"])
    assert options is not None
    assert is_shipped(options, variables, str(tmp_path)) is shipped
    (tmp_path / "driftd.toml").write_text(OURS, encoding="utf-8")
    assert not is_shipped(options, variables, str(tmp_path))
