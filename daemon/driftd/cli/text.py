"""Text on a terminal: names that nobody vouches for are escaped, columns aligned, colour put on last."""

from __future__ import annotations

import sys
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Control characters move the cursor; format characters (bidi marks, zero width) make one name look like another;
# surrogates cannot be encoded; line and paragraph separators break a line.
_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}


@dataclass(frozen=True, slots=True)
class Look:
    """How to write: with colour or without, and how wide; `whole` where lines may be longer, and nothing is cut off."""

    colour: bool = False
    width: int = 80
    whole: bool = False

    def paint(self, text: str, *styles: str) -> str:
        """The text in these styles (`bold`, `red`, ...), or as it is without colour."""
        if not self.colour or not styles or not text:
            return text
        return f"\x1b[{';'.join(str(_CODES[style]) for style in styles)}m{text}\x1b[0m"

    def cut(self, text: str, width: int) -> str:
        """The text in at most `width` columns, as `cut`; all of it where nothing is cut off."""
        return text if self.whole else cut(text, width)

    def wrap(self, text: str, indent: int = 0, hanging: int | None = None) -> str:
        """The text in lines of the width, indented; `hanging` indents the lines after the first."""
        import textwrap

        following = " " * (indent if hanging is None else hanging)
        return textwrap.fill(
            text,
            self.width,
            initial_indent=" " * indent,
            subsequent_indent=following,
            break_long_words=False,
            break_on_hyphens=False,
        )


def shell_word(word: str) -> str:
    """See `driftd.startup.told.shell_word`; escaped, it stays as it is."""
    from driftd.startup import told

    return told.shell_word(word)


def escape(text: object) -> str:
    r"""Text from a database, a path or a model, safe on a terminal: `\x1b`, `\n`, `\u202e`."""
    return "".join(_escaped(character) for character in str(text))


def readable(text: str) -> str:
    """A whole file for stdout, without its last line end: as it is for whoever reads it, and escaped on a terminal."""
    whole = text.rstrip("\n")
    return "\n".join(map(escape, whole.split("\n"))) if sys.stdout.isatty() else whole


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _ESCAPED:
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def cells(text: str) -> int:
    """How many columns of a terminal the text takes (East Asian wide characters take two)."""
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; what was cut off shows as `...`."""
    if cells(text) <= width:
        return text
    kept = ""
    for character in text:
        if cells(kept + character) > width - 3:
            break
        kept += character
    return kept + "..."


def table(rows: Sequence[Sequence[str]], *, gap: int = 2, right: frozenset[int] = frozenset()) -> list[str]:
    """Rows of plain text as aligned lines; the columns in `right` are right-aligned."""
    if not rows:
        return []
    widths = [max(cells(row[index]) for row in rows) for index in range(len(rows[0]))]
    # str.ljust counts characters, and a wide letter takes two columns.
    lines = []
    for row in rows:
        parts = []
        for index, (text, width) in enumerate(zip(row, widths, strict=True)):
            padding = " " * (width - cells(text))
            parts.append(padding + text if index in right else text + padding)
        lines.append((" " * gap).join(parts).rstrip())
    return lines


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 row`, `2 rows`."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def duration(milliseconds: float) -> str:
    """Milliseconds as people read them: `0.4 ms`, `34 ms`, `2.1 s`, `3 min 5 s`."""
    if milliseconds < 1:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def size(count: int) -> str:
    """Bytes as people read them: `812 B`, `64.0 kB`, `1.2 GB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"
