"""Models in source code, found without importing anything. Pure: texts in, candidates out."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_BASES = frozenset({"DeclarativeBase", "DeclarativeBaseNoMeta", "MappedAsDataclass"})
_MAKERS = {
    "declarative_base": "base",
    "generate_base": "base",
    "MetaData": "metadata",
    "SQLAlchemy": "extension",
}
_KINDS = ("base", "extension", "sqlmodel", "metadata")  # of two in one module the first says more
_CREATES = re.compile(r"(?im)^\s*create\s+table\b")
_FOLDERS_OF_SOURCES = frozenset({"src", "lib", "python"})


@dataclass(frozen=True, slots=True)
class Module:
    """A source file: what in it holds models, and which tables it defines.

    Args:
        path: of the file.
        name: as it is imported, with `root` on the import path.
        root: the folder that its outermost package lies in.
        holders: names at module level that lead to a MetaData, with their kind.
        tables: how many tables it defines, by the name of what they hang on.
    """

    path: Path
    name: str
    root: Path
    holders: Mapping[str, str]
    tables: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Models that may be meant: `specs` to be tried with `root` on the import path; `wider` also names all modules."""

    specs: tuple[str, ...]
    root: Path
    expected: int
    wider: tuple[str, ...] = ()


def read_module(path: Path, text: str, project: Path) -> Module | None:
    """What a source file defines; None where that is nothing, or it does not compile."""
    if not any(
        word in text
        for word in (
            "DeclarativeBase",
            "declarative_base",
            "generate_base",
            "MetaData",
            "SQLAlchemy",
            "SQLModel",
            "__tablename__",
            "Table(",
        )
    ):
        return None  # nearly all files: parsing takes a hundred times as long
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    holders = dict(_holders(tree))
    tables: dict[str, int] = {}
    for name in _tables(tree):
        tables[name] = tables.get(name, 0) + 1
    root, name = module_name(path, project)
    return Module(path, name, root, holders, tables) if holders or tables else None


def module_name(path: Path, project: Path) -> tuple[Path, str]:
    """The folder to be on the import path, and the module's name there.

    Packages with an `__init__.py` say themselves where they begin; other folders count as packages of the project, but
    for those that are customary for sources.
    """
    root = path.parent
    while (root / "__init__.py").exists() and root != project:
        root = root.parent
    if not (path.parent / "__init__.py").exists():
        while root != project and root.name not in _FOLDERS_OF_SOURCES:
            root = root.parent
    parts = path.relative_to(root).with_suffix("").parts
    return root, ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _holders(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            if any(_last(base) in _BASES - {"MappedAsDataclass"} for base in node.bases):
                yield node.name, "base"
            elif _is_sqlmodel_table(node):
                yield "SQLModel", "sqlmodel"
        for target, value in _assigned(node):
            if isinstance(value, ast.Call) and _last(value.func) in _MAKERS:
                yield target, _MAKERS[_last(value.func)]


def _assigned(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """`NAME = VALUE` at module level, annotated or not."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


def _is_sqlmodel_table(node: ast.ClassDef) -> bool:
    return any(
        word.arg == "table" and isinstance(word.value, ast.Constant) and word.value.value is True
        for word in node.keywords
    )


def _tables(tree: ast.Module) -> Iterator[str]:
    """What each table hangs on: `Base` of `class Task(Base)`, `db` of `class Task(db.Model)`, `m` of `Table("t", m)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            if _is_sqlmodel_table(node):
                yield "SQLModel"
            elif node.bases and _names_a_table(node):
                yield from (_first(base) for base in node.bases[-1:])
            elif any(_is_model_of_extension(base) for base in node.bases):
                yield from (_first(base) for base in node.bases if _is_model_of_extension(base))
        elif isinstance(node, ast.Call) and _last(node.func) == "Table" and len(node.args) > 1:
            yield _first(node.args[1])


def _names_a_table(node: ast.ClassDef) -> bool:
    assigned = [name for one in node.body for name, _ in _assigned(one)]
    return "__tablename__" in assigned or "__table__" in assigned


def _is_model_of_extension(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "Model"


def _last(node: ast.expr) -> str:
    """`c` of `a.b.c`."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _first(node: ast.expr) -> str:
    """`a` of `a.b.c`."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def candidates(modules: list[Module]) -> list[Candidate]:
    """The models that the modules define, those with the most tables first, then the shorter name."""
    found = [*_declared(modules), *_sqlmodels(modules)]
    return sorted(found, key=lambda one: (-one.expected, len(one.specs[0]), one.specs[0]))


def _declared(modules: list[Module]) -> Iterator[Candidate]:
    for module in modules:
        names = [
            name for kind in _KINDS for name, known in module.holders.items() if known == kind != "sqlmodel"
        ]
        used = [name for name in names if any(name in one.tables for one in modules)]
        # A MetaData that is handed to a Base is that Base's own; only one that tables hang on is a second one.
        for name in used or names[:1]:
            users = [one for one in modules if name in one.tables and one.root == module.root]
            expected = sum(one.tables[name] for one in users)
            wider = tuple(f"{one.name}:{name}" for one in users)
            yield Candidate((f"{module.name}:{name}",), module.root, expected, wider)


def _sqlmodels(modules: list[Module]) -> Iterator[Candidate]:
    """All SQLModel classes share one MetaData, which each module with tables adds to."""
    for root in sorted({module.root for module in modules if "SQLModel" in module.tables}):
        users = [module for module in modules if module.root == root and "SQLModel" in module.tables]
        specs = tuple(f"{module.name}:SQLModel" for module in users)
        yield Candidate(specs, root, sum(module.tables["SQLModel"] for module in users))


def script_candidates(texts: Mapping[Path, str]) -> list[Path]:
    """The files of DDL, a `schema.sql` first, then the one with the most tables. Scripts that migrate are left out."""
    counted = {path: len(_CREATES.findall(text)) for path, text in texts.items()}
    kept = [path for path, count in counted.items() if count and not _migrates(path)]
    return sorted(kept, key=lambda path: (path.stem != "schema", -counted[path], len(path.parts), str(path)))


def _migrates(path: Path) -> bool:
    return any("migration" in part.lower() or part.lower() == "versions" for part in path.parts)
