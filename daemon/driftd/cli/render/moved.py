"""`adopt`, `revert` and `ignore` for people: what became of what was changed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftd.cli.render.apply import Doing, render_apply
from driftd.cli.render.check import difference_lines
from driftd.cli.render.common import database_of, grouped, hints, table_heading
from driftd.cli.text import Look, escape, plural, shell_word

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def render_adopted(document: Mapping[str, Any], look: Look, *, flags: str = "") -> str:
    """What is agreed upon now, by table."""
    adopted, left = document["adopted"], document["left"]
    name = look.paint(escape(document["target"]), "bold")
    if not adopted:
        told = f"{name}: nothing to adopt, nobody has changed {database_of(document)} by hand."
        if document["accepted"]:
            told = f"{name}: nothing new to adopt, {plural(len(document['accepted']), 'difference')} agreed to before."
        return told
    head = look.paint("Adopted", "bold", "green")
    lines = [f"{head}: {plural(len(adopted), 'difference')} of {name} {_are(adopted)} no drift any more"]
    for table, differences in grouped(adopted).items():
        lines += ["", table_heading(table, look)]
        for difference in differences:
            lines += difference_lines(difference, look)
    lines += [look.wrap(f"warning: {escape(text)}", 2, 4) for text in document.get("warnings", ())]
    if left:
        lines += ["", f"  {plural(len(left), 'other difference')} made by hand: {_words(left)}"]
    if document["in_sync"]:
        return "\n".join([*lines, "", f"{name} is in sync with its models"])
    return "\n".join([*lines, *hints([(f"driftd check{flags}", "see what is left")], look)])


def _words(differences: Sequence[Mapping[str, Any]]) -> str:
    """What to type for each of them."""
    return ", ".join(escape(one["names"][0]) for one in differences)


def render_reverted(
    document: Mapping[str, Any],
    look: Look,
    *,
    flags: str = "",
    words: Sequence[str] = (),
    approve: Sequence[str] = (),
    dry_run: bool = False,
    rollback_flags: str = "",
) -> str:
    """An apply's report of the way back. `flags`, `words` and `approve` are what was typed, to be typed again.

    `rollback_flags` are those of the flags that `driftd rollback` takes.
    """
    named = "".join(f" {word}" for word in typed_words(words))
    doing = Doing(
        typed=f"driftd revert{named}",
        done="Reverted",
        would="reverted",
        idle="nobody has changed the database by hand",
        binds=False,
        reasons=True,
    )
    told = render_apply(document, look, flags=flags, approve=approve, dry_run=dry_run, doing=doing)
    if dry_run or document["outcome"] != "migrated" or not document.get("migration_id"):
        return told
    way_back = (f"driftd rollback {escape(document['migration_id'])}{rollback_flags}", "take this back")
    return "\n".join([told, *hints([way_back], look)])


def render_ignored(document: Mapping[str, Any], look: Look, *, flags: str = "") -> str:
    """Which words stand in which file now."""
    name, file = look.paint(escape(document["target"]), "bold"), escape(document["file"])
    lines = [f"{escape(word)} is ignored already, {file}" for word in document["already"]]
    if document["added"]:
        words = ", ".join(map(escape, document["added"]))
        lines.append(f"{look.paint('Ignored', 'bold', 'green')}: {name} leaves out {words} from now on")
        lines.append(look.paint(f"  written into {file}", "dim"))
        lines += hints([(f"driftd check{flags}", "see what is left")], look)
    return "\n".join(lines)


def typed_words(words: Sequence[str]) -> list[str]:
    """Words as a shell reads them again; behind `--` where one would be taken for an option."""
    return [*["--"] * any(word.startswith("-") for word in words), *map(shell_word, words)]


def _are(found: Sequence[object]) -> str:
    return "is" if len(found) == 1 else "are"
