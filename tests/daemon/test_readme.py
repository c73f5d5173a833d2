"""README.md: every command that it shows is one that there is, and none is left out."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from driftd.cli.main import COMMANDS, cli

PAGE = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = [
    line.partition("#")[0].strip()
    for language, block in _BLOCK.findall(PAGE)
    for line in (block.splitlines() if not language else ())
    if line.startswith("driftd ")
] + re.findall(r"`(driftd [a-z][^`]*)`", PAGE)


@pytest.mark.parametrize("line", TYPED)
def test_every_command_can_be_typed(line: str) -> None:
    """Its words are commands, its options are theirs; what stands for something else is a word of its own."""
    group: click.Command = cli
    words = shlex.split(line)[1:]
    context = click.Context(cli)
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        found = group.get_command(context, words[0].rstrip(","))
        if found is None:
            break  # `history ID`: what is named is no subcommand
        group, words = found, words[1:]
    assert group is not cli, line
    hidden = group.get_command(context, "show") if isinstance(group, click.Group) else None
    known = {name for one in (group, hidden) if one for parameter in one.params for name in parameter.opts}
    typed = words[: words.index("--")] if "--" in words else words
    for option in (word for word in typed if word.startswith("-")):
        assert option in known, line


def test_the_table_lists_every_command() -> None:
    """Nobody has to look elsewhere to learn that something exists."""
    table = PAGE[PAGE.index("| command | does |") :].split("\n\n")[0]
    cells = " ".join(line.split("|")[1] for line in table.splitlines())
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", cells)] == []


def test_the_configurations_are_toml() -> None:
    """What is shown can be copied."""
    blocks = [block for language, block in _BLOCK.findall(PAGE) if language == "toml"]
    assert blocks
    for block in blocks:
        assert tomllib.loads(block)
