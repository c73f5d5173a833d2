"""Large schemas in tests: many tables with a chain of foreign keys, and single tables that are wide or long."""

from __future__ import annotations

TYPES = ("TEXT", "INTEGER DEFAULT 3", "VARCHAR(40) NOT NULL DEFAULT ''")


def tables(count: int, extra: str = "", every: int = 1) -> str:
    """So many tables of ten columns, each with an index and a foreign key to the one before; `extra` is one more column."""
    made = []
    for n in range(count):
        columns = [f"c{m} {TYPES[m % 3]}" for m in range(8)]
        columns += [extra] if extra and n % every == 0 else []
        made.append(
            f"CREATE TABLE t{n} (id INTEGER PRIMARY KEY, parent_id INTEGER REFERENCES t{max(n - 1, 0)} (id), "
            f"{', '.join(columns)});\nCREATE INDEX ix{n} ON t{n} (c0, c1);\n"
        )
    return "".join(made)


def wide(columns: int, first: str = "TEXT") -> str:
    """A table with so many columns beside its key."""
    made = [f"c{n} {first if n == 0 else 'TEXT'}" for n in range(columns)]
    return f"CREATE TABLE wide (id INTEGER PRIMARY KEY, {', '.join(made)});\n"


def indexed(indexes: int) -> str:
    """A table with so many indexes."""
    made = [
        f"CREATE INDEX ix{n} ON long (c{n % 20}, c{n // 20 % 20}, c{n // 400});\n" for n in range(indexes)
    ]
    return (
        f"CREATE TABLE long (id INTEGER PRIMARY KEY, {', '.join(f'c{n} TEXT' for n in range(20))});\n"
        + "".join(made)
    )


def verbose(size: int, default: str = "a") -> str:
    """A table whose DDL is so many bytes long: a CHECK with a long list."""
    words: list[str] = []
    length = 0
    while length < size:
        words.append(f"'word {len(words)}'")
        length += len(words[-1]) + 2
    return (
        f"CREATE TABLE verbose (id INTEGER PRIMARY KEY, a TEXT DEFAULT '{default}', "
        f"b TEXT CHECK (b IN ({', '.join(words)})));\n"
    )
