"""Names that attack whoever shows, quotes or runs them, and commands whose output is looked through for them."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATIENCE = 100.0  # seconds for one command
#: Each is the name of a table, a column, an index, a view and a trigger at once, and a default.
NAMES = {
    "quotes": "a\"b'c`d]e[f",
    "newline": "l\nerror[forged]: all is well",
    "carriage return": "x\rdone",
    "colour": "\x1b[2J\x1b[31mred",
    "hyperlink": "\x1b]8;;http://127.0.0.1\x1b\\click\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;cHduZWQ=\x07",
    "c1 controls": "\x9b31mcsi\x9d8;;x\x9c",
    "sql": 'x"); DROP TABLE keep; --',
    "comment": "x */ DROP TABLE keep; /*",
    "markup": "[red]bold[/red][link=http://127.0.0.1]x[/link]",
    "right to left": "\u202egnp.exe\u2066\u2069",
    "zero width": "a\u200bb\u200c\ufeff",
    "bell": "\x07\x08\x7f",
    "tab": "a\tb",
    "ten kilobytes": "n" * 10_000,
    "combining": "e" + "\u0301" * 60,
    "shell": "$(touch pwned) `touch pwned` ; touch pwned & | > pwned \\ !x",
    "option": "--approve",
    "format": "%s%n{0}{x}%(x)s",
    "dots": "a.b.c",
    "tags": "\ue000\U000e0041\ufdd0",
    "separators": "\u2028x\u2029\x85",
    "wide": "\U0001f469\u200d\U0001f4bb\u6f22",
    "spaces": " lead trail ",
}
#: For folders and files: all that a name in a file system may hold, at once, and bytes that are no UTF-8.
FOLDER = "d\x1b]52;c;AA\x07\n[red]\u202e\x9b31m$(touch pwned)'\"x%s\udcff"
# What rich moves the cursor with, and the colours of driftd; a name in a report may hold neither.
_OURS = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[AGJK])")
_RAW = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

#: Any name that SQLite takes: no NUL, no surrogate.
any_name = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30
) | st.sampled_from(sorted(NAMES.values(), key=len)[:-1])


@dataclass(frozen=True, slots=True)
class Shown:
    """What a command left: its exit code, and all that it wrote."""

    code: int
    text: str


def raw(text: str) -> set[str]:
    """The characters in it that move a cursor, hide, or look like others; line ends are not meant."""
    return {one for one in text if one != "\n" and unicodedata.category(one) in _RAW}


def raw_on_terminal(text: str) -> set[str]:
    """The same for what a terminal got: driftd's own colours and progress are left out, and nothing else is."""
    return raw(_OURS.sub("", text).replace("\r\n", "\n").replace("\r", ""))


def leaves_colours_closed(text: str) -> bool:
    """Is every colour that was switched on switched off again?"""
    found = re.findall(r"\x1b\[[0-9;]*m", text)
    return found.count("\x1b[0m") * 2 == len(found)


def quoted(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def tables(names: Mapping[str, str] = NAMES, *, more: bool = False) -> str:
    """DDL with each name as all that can have one; `more` adds a column, a CHECK and a partial index to each table."""
    return "\n".join(_table(name, more=more) for name in names.values())


def _table(name: str, *, more: bool) -> str:
    table, column = quoted(f"t_{name}"), quoted(f"c_{name}")
    extra = quoted(f"d_{name}")
    added = f", {extra} TEXT NOT NULL DEFAULT 'x' CHECK ({extra} <> 'y')" if more else ""
    partial = f"CREATE INDEX {quoted(f'j_{name}')} ON {table} ({extra}) WHERE {column} <> {literal(name)};"
    return f"""
CREATE TABLE {table} (id INTEGER PRIMARY KEY, {column} TEXT DEFAULT {literal(name)} /* {name.replace("*/", "")} */{added});
CREATE INDEX {quoted(f"i_{name}")} ON {table} ({column});
{partial if more else ""}
CREATE VIEW {quoted(f"v_{name}")} AS SELECT {column} FROM {table};
CREATE TRIGGER {quoted(f"g_{name}")} AFTER INSERT ON {table} BEGIN UPDATE {table} SET {column} = 1 WHERE 0; END;
"""


def on_a_terminal(*arguments: str, folder: Path, **environment: str) -> Shown:
    """Runs driftd with stdout and stderr on a terminal of 100 columns; HOME is the folder."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    unset = ("DRIFTD_", "XDG_", "MCP_", "NO_COLOR", "FORCE_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(unset)}
    child = subprocess.Popen(
        [sys.executable, "-m", "driftd", *arguments],
        cwd=folder,
        env={**kept, "TERM": "xterm-256color", "HOME": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    pieces: list[bytes] = []
    reader = threading.Thread(target=_drain, args=(ours, pieces))
    reader.start()
    code = child.wait(PATIENCE)
    reader.join()
    os.close(ours)
    return Shown(code, b"".join(pieces).decode("utf-8", "surrogateescape"))


def _drain(descriptor: int, pieces: list[bytes]) -> None:
    """Reads until the other end is closed, which Linux tells as an error."""
    while True:
        try:
            piece = os.read(descriptor, 65536)
        except OSError:
            return
        if not piece:
            return
        pieces.append(piece)
