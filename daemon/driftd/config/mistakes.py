"""What is wrong with a configuration, collected, so that a person corrects it in one go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from driftengine.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, slots=True)
class Mistake:
    """One of them.

    Args:
        place: the key's path, `targets.web.mode`, or an environment name or a flag.
        told: what is wrong, without the place.
        line: its line in the file, where it stands in one.
    """

    place: str
    told: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.place} {self.told}"


def invalid(label: str, mistakes: Sequence[Mistake]) -> ConfigurationError:
    """One error that tells all of them, in the order of the file."""
    ordered = sorted(mistakes, key=lambda mistake: (mistake.line is None, mistake.line or 0))
    count = f"{len(ordered)} mistakes" if len(ordered) > 1 else "a mistake"
    fix = "correct what is listed; docs/configuration.md describes every key, `driftd config show --shipped` prints them all"
    where = f"{label}: {count} in the configuration"
    if all(mistake.place.startswith("--") for mistake in ordered):  # nobody need look for it in a file
        where, fix = f"{count} on the command line", "correct what is listed; --help shows every flag"
    why = "\n".join(str(mistake) for mistake in ordered)
    return ConfigurationError(where, code="configuration-invalid", why=why, fix=fix)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    import difflib  # where somebody has mistyped, and only there

    candidates = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(word.lower(), list(candidates), n=1, cutoff=0.6)
    return candidates[close[0]] if close else None


def nearest_key(word: str, here: Sequence[str], elsewhere: Sequence[str]) -> str | None:
    """The key that was probably meant: one whose last part is that very word, else the nearest."""
    moved = [name for name in elsewhere if name.rpartition(".")[2] == word]
    return moved[0] if moved else nearest(word, here) or nearest(word, elsewhere)


def meant(guess: str | None, *, quoted: bool = False) -> str:
    """The end of a complaint: `; did you mean ...?`, or nothing where there is no guess."""
    if guess is None:
        return ""
    return f'; did you mean "{guess}"?' if quoted else f"; did you mean {guess}?"


def shown(raw: object, limit: int = 60) -> str:
    """A wrong value as it is shown: quoted, with escapes, cut."""
    text = '"' + raw.encode("unicode_escape").decode() + '"' if isinstance(raw, str) else repr(raw)
    if isinstance(raw, bool):
        text = str(raw).lower()
    return text if len(text) <= limit else f"{text[: limit - 3]}..."
