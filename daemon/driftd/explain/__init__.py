"""What codes mean: the text of `docs/operations.md`, which ships inside the wheel, taken apart by its headings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from driftd.config.locate import shipped_text
from driftengine.errors import ConfigurationError

_HEADING = re.compile(r"^## ([a-z0-9]+(?:[-_][a-z0-9]+)*)\s*$", re.MULTILINE)
_ANY_HEADING = re.compile(r"^#{1,2} ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Explanation:
    """One code: `text` is Markdown without its heading."""

    code: str
    text: str

    @property
    def summary(self) -> str:
        """The first sentence, without its label."""
        first = " ".join(self.text.split("\n\n")[0].split())
        sentence = re.sub(r"^\*\*[^*]+\*\*[.:]?\s*", "", first)
        return re.split(r"(?<=[.!?]) (?=[A-Z`])", sentence)[0]


def parse(text: str) -> tuple[Explanation, ...]:
    """Every `## some-code` of a Markdown text with what stands below it, in order."""
    found = []
    for match in _HEADING.finditer(text):
        following = _ANY_HEADING.search(text, match.end())
        found.append(
            Explanation(match[1], text[match.end() : following.start() if following else None].strip())
        )
    return tuple(found)


def operation_codes() -> tuple[str, ...]:
    """The codes that an operation of a plan can have: what a policy may speak of."""
    section = re.search(
        r"^# Operations$(.*?)(?=^# )", shipped_text("operations.md"), re.MULTILINE | re.DOTALL
    )
    return tuple(one.code for one in parse(section[1])) if section else ()


def explanations() -> tuple[Explanation, ...]:
    """All of them."""
    return parse(shipped_text("operations.md"))


def explain(code: str) -> Explanation:
    """The explanation of a code, a state or an outcome, as a document or as a person writes it (`in_sync`, `in sync`).

    Raises ConfigurationError `code-unknown` with the nearest ones.
    """
    import difflib

    known = {one.code: one for one in explanations()}
    # Pasted from `error[CODE]` of a log, it may come with a capital or a space.
    wanted = code.strip().lower()
    if wanted in known:
        return known[wanted]
    plain = {_plain(one): found for one, found in known.items()}
    if _plain(wanted) in plain:
        return plain[_plain(wanted)]
    close = difflib.get_close_matches(wanted, list(known), n=3, cutoff=0.5)
    raise ConfigurationError(
        f"there is no code {code}",
        code="code-unknown",
        why=f"the nearest are {', '.join(close)}" if close else "no code is written like that",
        fix=f"driftd explain {close[0]}" if close else "driftd explain",
    )


def _plain(code: str) -> str:
    """States are written with underscores in documents, and with spaces for people."""
    return re.sub(r"[\s_-]+", "-", code)
