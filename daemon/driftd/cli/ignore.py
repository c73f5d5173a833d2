"""`driftd ignore`: write into the configuration that something is to be left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from driftd.cli.command import Chosen, Command, json_option, target_options
from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from driftd.cli.state import State
    from driftd.config import Configuration


@click.command(
    "ignore",
    cls=Command,
    short_help="Leave something out from now on.",
    epilog="driftd ignore legacy_log\ndriftd ignore task.note\ndriftd ignore 'tmp_*' --target web",
)
@click.argument("words", metavar="WORD...", nargs=-1, required=True)
@target_options(renames=True)
@json_option
@click.pass_obj
def command(state: State, chosen: Chosen, words: tuple[str, ...]) -> int:
    """Write a rule into `ignore` of the configuration file: what WORD names is no drift any more.

    A WORD is a table or view, table.name (a column, constraint or index), a pattern (`tmp_*`), or an operation's id; it must name
    something that differs now. Comments and layout of the file stay. Exit code: 0 written, or there already, 2 error.
    """
    from driftd.cli.render.moved import render_ignored

    configuration = chosen.configuration()
    name, patterns = writable(configuration)
    target = chosen.target()
    from driftengine import api

    asked = list(dict.fromkeys(words))
    already = [word for word in asked if covered(word, patterns)]
    new = [word for word in asked if word not in already]
    added = list(dict.fromkeys(meant_words(api.check(target), new))) if new else []
    document: dict[str, Any] = {
        "schema_version": 1,
        "target": name,
        "file": str(configuration.source.path),
        "added": added,
        "already": already,
        "ignore": [*patterns, *added],
    }
    if added:
        _write(configuration, name, added)
    state.report(document, lambda look: render_ignored(document, look, flags=chosen.flags))
    return 0


def writable(configuration: Configuration) -> tuple[str, tuple[str, ...]]:
    """The target's name and what it ignores now. Raises ConfigurationError where no line in a file would change that."""
    name, section = configuration.target()
    if configuration.source.how in {"none", "shipped"}:
        raise ConfigurationError(
            "there is no configuration file to write it into",
            code="ignore-no-file",
            why="the target was given by flags alone"
            if configuration.source.how == "none"
            else "the shipped configuration is read, which is everybody's",
            fix="write a file first: driftd init",
        )
    value = section.values.get("ignore")
    if value is not None and value.origin in {"environment", "flag"}:
        raise ConfigurationError(
            f"what {name} ignores does not come from the file",
            code="ignore-overridden",
            why=f"{value.place} counts, whatever stands in {configuration.source.label}",
            fix=f"write the word into {value.place}, or unset that",
        )
    return name, tuple(section.get("ignore") or ())


def covered(word: str, patterns: Sequence[str]) -> bool:
    """True where a pattern that stands there leaves out what the word names."""
    from driftengine.diff.naming import fits

    table, dot, _ = word.partition(".")
    plain, dotted = ([table], [word]) if dot else ([word], [])
    return any(fits(pattern, plain=plain, dotted=dotted) for pattern in patterns)


def meant_words(check: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    """The words as they are written into the file; an operation's id becomes the name of what it is about.

    Raises ConfigurationError (`word-unknown`) for a word that names nothing that differs, with the nearest names.
    """
    from driftengine.changes import CHANGE, Difference
    from driftengine.diff.naming import literal, meant_by, names_of

    plan = check["plan"] or {"operations": []}
    by_id = {one["id"]: one for one in plan["operations"]}
    # A document does not tell what a renamed thing was called; its new name is enough to name it.
    differences = [
        Difference(one["object"], one["table"], one["name"], CHANGE, one["origin"], one["detail"])
        for one in (*check["differences"], *check.get("accepted", ()))
    ]
    found = []
    for word in words:
        if word in by_id:
            operation = by_id[word]
            part = operation["table"] and operation["name"] not in {"", operation["table"]}
            found.append(literal(f"{operation['table']}.{operation['name']}" if part else operation["name"]))
        elif any(word.lower() in names_of(one) for one in differences):
            found.append(literal(word))
        elif any(meant_by(one, word) for one in differences):
            found.append(word)
        else:
            raise _unknown(word, dict.fromkeys(name for one in differences for name in names_of(one)), check)
    return found


def _unknown(word: str, names: Iterable[str], check: Mapping[str, Any]) -> ConfigurationError:
    import difflib

    known = list(names)
    near = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.5)
    left_alone = next((one for one in check["unmanaged"] if one["name"].lower() == word.lower()), None)
    if left_alone is not None:
        why = f"the {left_alone['type']} {left_alone['name']} is unmanaged, and left alone anyway"
    elif near:
        why = f"the nearest are {', '.join(near)}"
    else:
        why = f"what differs is {', '.join(known[:5])}" if known else "nothing differs now"
    return ConfigurationError(
        f"{word} names nothing that differs",
        code="word-unknown",
        why=why,
        fix="`driftd check` shows what differs; write table, table.name or a pattern",
    )


def _write(configuration: Configuration, name: str, words: Sequence[str]) -> None:
    from driftd.config.edit import exchange, read_exact, with_ignored

    path = configuration.source.path
    assert path is not None  # noqa: S101  # `writable` has seen to it
    listed = ", ".join(json.dumps(word, ensure_ascii=False) for word in words)
    by_hand = f"write it yourself: {listed} into ignore = [...] below [targets.{name}]"
    before = read_exact(path)
    # A dollar would begin a reference.
    after = with_ignored(before.decode("utf-8"), name, [word.replace("$", "$$") for word in words])
    if after is None:
        raise ConfigurationError(
            f"{path} is written in a way that nothing can be added to",
            code="configuration-unwritable",
            why="the file would mean something else afterwards",
            fix=by_hand,
        )
    exchange(path, before, after.encode("utf-8"), by_hand)
