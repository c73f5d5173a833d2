"""Units of systemd that start driftd: do the programs and the files that they name still exist?"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from driftd.cli.text import shell_word
from driftd.config.locate import shipped_text
from driftd.doctor.findings import Finding, problem, warning

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SYSTEM = Path("/etc/systemd/system")
SHOWN = 3  # settings in a sentence
# What `service install` writes anew for each machine, and whoever installs by hand corrects.
_OWN = frozenset(
    {
        "ExecStart", "WorkingDirectory", "User", "Group", "SupplementaryGroups", "UMask", "RuntimeDirectory", "Environment",
        "ReadWritePaths", "PrivateTmp", "WantedBy",
    }
)  # fmt: skip
_PREFIXES = "@-:+!"  # what may stand before the program: systemd.service(5), "COMMAND LINES"


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit file: where, and its text."""

    path: Path
    text: str

    @property
    def command(self) -> tuple[str, ...]:
        """The words of its ExecStart; none where it has none that can be read."""
        for line in self.text.replace("\\\n", " ").splitlines():
            name, equals, value = line.partition("=")
            if equals and name.strip() == "ExecStart" and value.strip():
                try:
                    return tuple(shlex.split(value.strip().lstrip(_PREFIXES)))
                except ValueError:
                    return ()
        return ()


def folders(environment: Mapping[str, str]) -> list[Path]:
    """Where units stand that an administrator or this user has written."""
    home = environment.get("HOME", "")
    personal = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    return [SYSTEM, *([Path(personal) / "systemd" / "user"] if personal else [])]


def read_units(places: list[Path]) -> Iterator[Unit]:
    """The units in these folders whose name begins with driftd."""
    for place in places:
        for path in sorted(place.glob("driftd*.service")):
            try:
                yield Unit(path, path.read_text(encoding="utf-8", errors="replace"))
            except OSError:
                continue  # a link that leads nowhere is what `systemctl disable` leaves


def check_units(environment: Mapping[str, str]) -> list[Finding]:
    """All of them."""
    return [
        finding
        for unit in read_units(folders(environment))
        for finding in judged(unit, shipped_text(f"systemd/{_template(unit.path)}"))
    ]


def _template(path: Path) -> str:
    """Which of the shipped units it was made from."""
    return "driftd.service" if path.parent == SYSTEM else "driftd-user.service"


def lost(text: str, shipped: str) -> list[str]:
    """The settings of the shipped unit that a unit does not have, but for those that differ from machine to machine."""
    has = {line.strip() for line in text.splitlines()}
    wanted = [line.strip() for line in shipped.splitlines() if "=" in line and not line.startswith("#")]
    return [line for line in wanted if line not in has and line.partition("=")[0] not in _OWN]


def judged(unit: Unit, shipped: str = "") -> list[Finding]:
    """What is wrong with a unit; `shipped` is the text of the one that it was made from."""
    words = unit.command
    missing = [path for path in _paths(words) if not os.path.exists(path)]  # noqa: PTH110 - the text of the unit
    again = "write it anew: driftd service install"
    if not words:
        return [
            problem(f"{unit.path} starts nothing", code="unit-stale", why="it has no ExecStart", fix=again)
        ]
    if missing:
        return [
            problem(
                f"{unit.path} cannot start driftd",
                code="unit-stale",
                why=f"{', '.join(missing)} does not exist any more",
                fix=again,
            )
        ]
    gone = lost(unit.text, shipped)
    if not gone:
        return []
    more = f" and {len(gone) - SHOWN} more" if len(gone) > SHOWN else ""
    return [
        warning(
            f"{unit.path} is not what this driftd would write",
            code="unit-differs",
            why=f"it was edited, or written by another release, and lacks {', '.join(gone[:SHOWN])}{more}",
            fix=f"compare: driftd service print | diff {shell_word(str(unit.path))} -; {again}",
        )
    ]


def _paths(words: tuple[str, ...]) -> list[str]:
    """The program, and the configuration that it is given."""
    found = [word for word in words[:1] if os.path.isabs(word)]  # noqa: PTH117 - as above
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--config":
            found.append(value if equals else next(iter(words[index + 1 : index + 2]), ""))
    # What systemd replaces (%h, $HOME) is not known here.
    return [path for path in found if path and not {"%", "$"} & set(path)]
