"""Settles each setting: the first of flag, environment, file and default that speaks, converted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from driftd.config.entries import from_pairs, from_table, from_variable, key_problem, word_problem
from driftd.config.expand import expand
from driftd.config.mistakes import Mistake, meant, nearest, nearest_key, shown
from driftd.config.model import (
    DAEMON,
    TARGET,
    Setting,
    daemon_environment,
    environment_word,
    target_environment,
)
from driftd.config.scan import line_of
from driftd.config.settled import Section, Source, Value
from driftd.config.values import Bases, Expected, convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from pathlib import Path

_TARGET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MISSING = object()
FLAG, ENVIRONMENT, FILE, DEFAULT = "flag", "environment", "file", "default"


class Said(NamedTuple):
    """What one layer says of a setting: the raw value, which layer, where exactly, and the key's path."""

    raw: object
    origin: str
    place: str
    path: tuple[str, ...]


class Settler:
    """Goes through a document and collects mistakes instead of stopping at the first.

    Args:
        source: the file; decides what its relative paths are relative to.
        lines: where each key stands.
        environment: the environment variables.
        directory: the working directory.
        flags: what was given as flags, for the selected target.
        everywhere: what was given as flags for the daemon and for every target.
    """

    def __init__(
        self,
        source: Source,
        lines: Mapping[tuple[str, ...], int],
        environment: Mapping[str, str],
        directory: Path,
        flags: Mapping[str, object],
        everywhere: Mapping[str, object] | None = None,
    ) -> None:
        self.source = source
        self.lines = lines
        self.environment = environment
        self.flags = flags
        self.everywhere = everywhere or {}
        self.mistakes: list[Mistake] = []
        self._home = source.home(directory)
        self._in_file = Bases(here=self._home, home=self._home)
        self._elsewhere = Bases(here=directory, home=self._home)

    def names(self, document: Mapping[str, object]) -> list[str]:
        """The names of the targets; notes what does not belong at the top of the file."""
        for key in document.keys() - {"daemon", "targets"}:
            self._unknown((key,), nearest_key(key, ("daemon", "targets"), [s.name for s in DAEMON]))
        targets = self._table(document, ("targets",))
        words: dict[str, str] = {}
        names: list[str] = []
        for name in targets:
            path = ("targets", name)
            if not _TARGET_NAME.fullmatch(name):
                self._note(path, "is no name for a target: use letters, digits, '_', '-' and '.'")
            elif (other := words.setdefault(environment_word(name), name)) != name:
                self._note(path, f"shares its environment names with {other}: rename one of them")
            else:
                names.append(name)
        return names

    def daemon(self, document: Mapping[str, object]) -> Section:
        """The daemon's section."""
        table = self._table(document, ("daemon",))
        self._check_keys(table, ("daemon",), DAEMON)
        section = Section()
        for setting in DAEMON:
            written = _dig(table, setting.path)
            names = [daemon_environment(setting)]
            said = self._said(setting, ("daemon", *setting.path), written, self.everywhere, names)
            self._settle(section, setting, said)
        return section

    def target(
        self, document: Mapping[str, object], name: str, selected: bool, required: AbstractSet[str]
    ) -> Section:
        """The section of one target. Flags and short environment names speak of the selected one."""
        path = ("targets", name)
        table = self._table(document, path)
        self._check_keys(table, path, TARGET)
        section = Section()
        for setting in TARGET:
            names = [target_environment(setting, name)]
            if selected:
                names.append(target_environment(setting, None))
            flags = {**self.everywhere, **(self.flags if selected else {})}
            if setting.kind == "table":
                self._settle_table(section, setting, (*path, setting.name), table, flags, names)
                continue
            written = _dig(table, setting.path)
            said = self._said(setting, (*path, *setting.path), written, flags, names)
            if not said and setting.name in required:
                self._note_missing(setting, path)
            self._settle(section, setting, said)
        return section

    def _note_missing(self, setting: Setting, path: tuple[str, ...]) -> None:
        meaning = setting.meaning[0].lower() + setting.meaning[1:].rstrip(".")
        if self.source.how == "none":  # nobody asked for a file: name the flag
            self._note(path, f"is missing: {meaning}", f"--{setting.name}")
        else:
            self._note(path, f"has no {setting.name}: {meaning}")

    def _said(
        self,
        setting: Setting,
        path: tuple[str, ...],
        written: object,
        flags: Mapping[str, object],
        names: Sequence[str],
    ) -> list[Said]:
        """Who speaks of a setting, strongest first."""
        found: list[Said] = []
        if setting.name in flags:
            found.append(Said(flags[setting.name], FLAG, f"--{setting.name}", path))
        # An empty variable counts as unset: that is how containers and unit files switch one off.
        found += [Said(self.environment[n], ENVIRONMENT, n, path) for n in names if self.environment.get(n)]
        if written is not _MISSING:
            found.append(Said(written, FILE, self._place(path), path))
        if setting.default is not None:
            found.append(Said(setting.default, DEFAULT, "", path))
        return found

    def _settle(self, section: Section, setting: Setting, said: Sequence[Said]) -> None:
        # Only the strongest is converted: a mistake in a layer that is overridden harms nobody.
        if said and (value := self._converted(setting, said[0])) is not None:
            section.values[setting.name] = value

    def _settle_table(
        self,
        section: Section,
        setting: Setting,
        path: tuple[str, ...],
        table: Mapping[str, object],
        flags: Mapping[str, object],
        names: Sequence[str],
    ) -> None:
        """A free table: every layer may add entries, a stronger one replaces those of the same name."""
        written = self._table(table, path, (setting.name,))
        said = [(e.key, Said(e.raw, FILE, self._place(e.path), e.path)) for e in from_table(written, path)]
        # Weakest first, because later entries replace earlier ones of the same name.
        for name in reversed(names):
            entries, told = from_variable(self.environment.get(name, ""))
            said += [(e.key, Said(e.raw, ENVIRONMENT, name, (*path, e.key))) for e in entries]
            self.mistakes += [Mistake(name, one) for one in told]
        flag, given = setting.flag, flags.get(setting.name, ())
        entries, told = from_pairs(given if isinstance(given, tuple) else ())
        said += [(e.key, Said(e.raw, FLAG, flag, (*path, e.key))) for e in entries]
        self.mistakes += [Mistake(flag, one) for one in told]
        section.tables[setting.name] = {
            key: value for key, one in said if (value := self._entry(setting, key, one)) is not None
        }

    def _entry(self, setting: Setting, key: str, said: Said) -> Value | None:
        if told := key_problem(setting, key):
            self._complain(said, told)
            return None
        value = self._converted(setting, said)
        if value is not None and (told := word_problem(setting, value.value)):
            self._complain(said, told)
            return None
        return value

    def _converted(self, setting: Setting, said: Said) -> Value | None:
        shipped = said.origin == FILE and self.source.how == "shipped"
        # The shipped file stands for built-in defaults, so its relative paths are not relative to it.
        bases = self._in_file if said.origin == FILE and not shipped else self._elsewhere
        try:
            value = convert(setting, self._expanded(said), bases)
        except Expected as error:
            guess = nearest(str(said.raw), setting.choices) if setting.choices else None
            self._complain(said, f"is {shown(said.raw)}: expected {error}" + meant(guess, quoted=True))
            return None
        except ValueError as error:  # a ${...} that cannot be expanded
            self._complain(said, f"is {shown(said.raw)}: {error}")
            return None
        return Value(value, "shipped" if shipped else said.origin, said.place, said.raw)

    def _expanded(self, said: Said) -> object:
        """References in the file's texts (and in defaults); a shell has already expanded the others."""
        if said.origin not in {FILE, DEFAULT}:
            return said.raw
        if isinstance(said.raw, str):
            return expand(said.raw, self.environment)
        if isinstance(said.raw, list):
            return [expand(part, self.environment) if isinstance(part, str) else part for part in said.raw]
        return said.raw

    def _complain(self, said: Said, told: str) -> None:
        """A mistake in a file is named by its key and line, one elsewhere by the variable or the flag."""
        self._note(said.path, told, "" if said.origin in {FILE, DEFAULT} else said.place)

    def _check_keys(
        self, table: Mapping[str, object], path: tuple[str, ...], settings: Sequence[Setting]
    ) -> None:
        """Notes keys that no setting has, here and one table deeper."""
        names = [setting.name for setting in settings]
        tops = sorted({setting.path[0] for setting in settings})
        for key in table:
            if key not in tops:
                self._unknown((*path, key), nearest_key(key, tops, names))
            elif key not in names:
                below = [setting.path[1] for setting in settings if setting.path[0] == key]
                inner = self._table(table, (*path, key), (key,))
                for sub in inner.keys() - set(below):
                    self._unknown((*path, key, sub), nearest_key(sub, below, names))

    def _table(
        self, document: Mapping[str, object], path: tuple[str, ...], within: tuple[str, ...] | None = None
    ) -> dict[str, Any]:
        found: Any = _dig(document, within or path)
        if found is _MISSING:
            return {}
        if not isinstance(found, dict):
            self._note(path, f"is {shown(found)}: expected a table")
            return {}
        return found

    def _unknown(self, path: tuple[str, ...], guess: str | None) -> None:
        self._note(path, "is no setting" + meant(guess))

    def _note(self, path: tuple[str, ...], told: str, place: str = "") -> None:
        mistake = Mistake(place or ".".join(path), told, None if place else line_of(path, self.lines))
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _place(self, path: tuple[str, ...]) -> str:
        line = line_of(path, self.lines)
        return f"{self.source.label}:{line}" if line else self.source.label


def _dig(table: Mapping[str, object], path: tuple[str, ...]) -> object:
    found: Any = table
    for part in path:
        if not isinstance(found, dict) or part not in found:
            return _MISSING
        found = found[part]
    return found
