"""Every flag of every command with values that nobody means: an exit code of the table, and never a traceback."""

from __future__ import annotations

import os
import shutil
from random import Random
from typing import TYPE_CHECKING

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from command_line import driftd
from driftd.cli.main import COMMANDS, cli
from support.random_depth import depth
from support.sidecars import WIDER, house, make
from support.tries import tried
from support.typed import at_home, foreseen, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = st.integers(0, 2**32 - 1)
VALUES = (
    "", " ", "x", "app", "-", "--", "-1", "0", "9" * 30, "9" * 5_000, "1e999", "nan", "x" * 100_000, "\n", "\x1b[31m", "\u202e",
    "é", "\udcff", "a=b", "a.b=c", "task.more=", "task.more='x'); DROP TABLE task; --", "task.title=title", "=", ".", "..", "endless",
    "pipe", "driftd.toml", "app.db", "models.sql", "nowhere.sql", "m:B", ":", "a:", "os:environ", "../outside/passwd",
    "sqlite:///app.db", "sqlite:///", "sqlite:///endless", "sqlite:///:memory:", "sqlite:///%00", "sqlite:///new/er.db", "http://x/y.db",
    "sqlite:///app.db?mode=ro", "sqlite:///app.db?cache=%ff&x", "[task]", "{}", "drop-column", "m_20260101_000000_000_abcdef", "~nobody", "~",
    "*", "task.*", "[", "%s", "${HOME}", "python3", "fails", "repeats", "1", "5s", "10GB",
)  # fmt: skip
#: These start something that stays, or set up the machine; `exec` and `gate` have their own dispatch, below.
LEFT_OUT = {"run", "exec", "gate", "demo", "service install", "service uninstall"}
LASTING = {"watch", "follow"}


def leaves(
    group: click.Group, before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands with what is typed to reach them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from leaves(found, (*before, name))
        elif " ".join((*before, name)) not in LEFT_OUT:
            yield (*before, name), found


EVERY = dict(leaves(cli))


def words_of(chance: Random, path: tuple[str, ...]) -> list[str]:
    """A command line: some of its options with values of any kind, some arguments too many or too few."""
    words = list(path)
    for parameter in EVERY[path].params:
        if parameter.name in LASTING or chance.random() < 0.6:
            continue
        if isinstance(parameter, click.Option):
            flag = chance.choice([*parameter.opts, *parameter.secondary_opts])
            words += [flag] if parameter.is_flag else [flag, chance.choice(VALUES)]
        else:
            words += [chance.choice(VALUES) for _ in range(chance.randrange(3))]
    if chance.random() < 0.05:
        words.insert(chance.randrange(len(words) + 1), chance.choice(VALUES))
    return [word for word in words if word not in {"-h", "--help", "--debug"}]


def test_every_command_is_attacked() -> None:
    """A command that comes later is in the table by itself."""
    assert {path[0] for path in EVERY} == set(COMMANDS) - LEFT_OUT


@given(path=st.sampled_from(sorted(EVERY)), seed=SEEDS)
@depth(130)
def test_no_command_line_ends_unforeseen(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str, ...], seed: int
) -> None:
    """Empty, endless, negative, with escapes, with paths of devices and of other people's files."""
    chance, folder = Random(seed), tmp_path_factory.getbasetemp() / "flags"  # noqa: S311 - the same tries for the same seed
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    make(folder / "app.db")
    house(folder, models=WIDER)
    # Nothing that is not ours to lose is named: `init --force` writes over what it is told to.
    (folder.parent / "outside").mkdir(exist_ok=True)
    for name, place in (("endless", "/dev/zero"), ("fails", "/bin/false"), ("repeats", "/bin/cat")):
        (folder / name).symlink_to(place)
    os.mkfifo(folder / "pipe")
    words = words_of(chance, path)
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, dict(os.environ), folder)
        finished = typed(folder, *words)
    assert not (found := foreseen(finished, (0, 1, 2, 3, 75, 77, 78))), (words, found)
    assert "\x1b[31m" not in finished.out + finished.err
    tried("flags: a command line of odd values")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("exec",), 2),
        (("exec", "--"), 2),
        (("exec", "--timeout", "nan", "--", "true"), None),
        (("exec", "--timeout", "-1", "--", "true"), None),
        (("exec", "--timeout", "9" * 400, "--", "true"), None),
        (("exec", "--target", "nobody", "--", "true"), 0),
        (("exec", "--url", "sqlite:////dev/zero", "--models", "models.sql", "--", "true"), 0),
        (("exec", "--config", "/dev/zero", "--", "true"), 0),
        (("exec", "--", "/nowhere/x"), 127),
        (("exec", "--", "/etc/passwd"), 126),
        (("exec", "--", ""), None),
        (("exec", "--no-such", "--", "true"), 2),
        (("gate", "--timeout", ""), 2),
        (("gate", "--timeout", "x"), 2),
        (("gate", "x"), 2),
        (("gate", "--url", "x"), None),
    ],
)
def test_what_starts_a_service_starts_it_or_says_why_not(
    tmp_path_factory: pytest.TempPathFactory, words: tuple[str, ...], code: int | None
) -> None:
    """`exec` runs its command whatever the window's arguments lead to; a line that cannot be understood is 2."""
    folder = tmp_path_factory.mktemp("home")
    make(folder / "app.db")
    house(folder, models=WIDER)
    finished = driftd(*words, folder=folder)
    assert "Traceback" not in finished.err
    assert finished.code == code or (code is None and finished.code in {0, 1, 2, 126, 127}), finished
    tried("flags: a service started with odd values")
