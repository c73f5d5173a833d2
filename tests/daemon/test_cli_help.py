"""Every command explains itself, with an example, and stands in docs/cli.md; and help is quick."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from command_line import driftd
from driftd.cli.main import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTATION = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
HEAVY = ("sqlalchemy", "rich", "driftengine.api", "driftengine.desired", "watchdog", "psutil")
SHARED = {
    "--config",
    "--target",
    "--url",
    "--models",
    "--python",
    "--pythonpath",
    "--json",
    "--debug",
    "--help",
}


# What the commands that talk to the daemon take beside their own options.
TALKING = {"--config", "--target", "--socket", "--json", "--debug"}
TALKERS = {"status", "stage", "approve", "pause", "resume", "reload"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command that can be typed, with its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, words)
        else:
            yield " ".join(words).removesuffix(" show") if words[0] == "history" else " ".join(words), command


ALL = dict(commands(cli))


def test_the_commands_are_those_that_exist() -> None:
    """Help lists what works today and nothing else."""
    first = ["check", "plan", "apply", "rollback", "history", "adopt", "revert", "ignore"]
    first += ["backup", "run", "exec", "gate"]
    talkers = ["status", "stage", "approve", "pause", "resume", "reload"]
    assert list(COMMANDS) == [*first, *talkers, "init", "config", "service", "doctor", "explain", "demo"]
    assert set(ALL) == {
        "check",
        "plan",
        "apply",
        "rollback",
        "adopt",
        "revert",
        "ignore",
        "history",
        "history verify",
        "backup create",
        "backup list",
        "backup verify",
        "backup restore",
        "backup prune",
        "run",
        "exec",
        "gate",
        *TALKERS,
        "init",
        "config show",
        "service print",
        "service install",
        "service uninstall",
        "doctor",
        "explain",
        "demo",
    }


@pytest.mark.parametrize("words", ["", "backup", "config", *ALL])
def test_help_has_a_sentence_and_an_example(words: str, tmp_path: Path) -> None:
    """`--help` says what the command does, explains each option, and ends with lines that can be typed."""
    done = driftd(*words.split(), "--help", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    usage, _, rest = done.out.partition("\n\n")
    assert usage.startswith(f"Usage: driftd {words}".rstrip())
    assert re.match(r"  [A-Z][^\n]+", rest)
    examples = done.out.partition("Examples:\n")[2].splitlines()
    assert examples
    assert all(line.startswith(f"  driftd {words}".rstrip()) for line in examples)
    assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize("words", ALL)
def test_every_command_is_documented(words: str) -> None:
    """docs/cli.md has a section for each command: its options, its exit codes, an example, its JSON."""
    section = re.search(rf"^## {words}$(.*?)(?=^## |\Z)", DOCUMENTATION, re.MULTILINE | re.DOTALL)
    assert section, words
    text = section[1]
    assert f"`driftd {words}" in text
    assert f"$ driftd {words}" in text
    assert "Exit code: 0" in text
    options = {name for parameter in ALL[words].params for name in parameter.opts if name.startswith("--")}
    for name in options - SHARED - (TALKING if words in TALKERS else set()):
        assert f"`{name}" in text or f", `{name}" in text or f"[{name}" in text, name
    if "--json" in options:
        assert "JSON: `{schema_version" in text


@pytest.mark.parametrize("words", ALL)
def test_every_option_is_explained(words: str) -> None:
    """No option stands in help without a sentence."""
    for parameter in ALL[words].params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help
            assert parameter.help.endswith((".", "]", ")")), parameter.name


def test_what_writes_nothing_takes_every_shared_option() -> None:
    """The options that choose a target, and --json, are the same on every command that works on one."""
    for words, command in ALL.items():
        names = {name for parameter in command.params for name in parameter.opts}
        if words in TALKERS:
            assert names >= TALKING - ({"--target"} if words == "reload" else set()), words
        elif words not in {"init", "service uninstall", "explain", "demo"}:
            # What runs until it is stopped has no document to print, and what another program prints is its own.
            assert names >= SHARED - {"--help"} - ({"--json"} if words in {"run", "exec"} else set()), words


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["config", "show"], ["explain"]])
def test_light_commands_stay_light(arguments: list[str], tmp_path: Path) -> None:
    """Help, the configuration and explanations import neither SQLAlchemy nor rich nor the engine."""
    program = (
        f"import sys; from driftd.cli.main import run; code = run({arguments!r});"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True, text=True
    )
    assert done.stderr.strip() == "[]"


def test_the_entry_point_imports_nothing_before_it_runs() -> None:
    """What must start fast can be dispatched before click is loaded."""
    program = "import sys, driftd.__main__; print('click' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"


def test_version(tmp_path: Path) -> None:
    """`--version` prints one line."""
    done = driftd("--version", folder=tmp_path)
    assert done.code == 0
    assert re.fullmatch(r"driftd \d+\.\d+\.\d+\n", done.out)


def test_a_misspelt_command_names_the_nearest(tmp_path: Path) -> None:
    """A usage error is exit code 2 and says what was probably meant."""
    done = driftd("chekc", folder=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "No such command 'chekc'. Did you mean 'check'?" in done.err
