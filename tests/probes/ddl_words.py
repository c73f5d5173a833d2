"""The words that the probes by DDL are written in."""

from __future__ import annotations

T = "CREATE TABLE t(id INTEGER PRIMARY KEY, {});\n"
AB = T.format("a INT, b TEXT")
PARENT = "CREATE TABLE p(id INTEGER PRIMARY KEY, u INT UNIQUE, v INT, w TEXT, UNIQUE (v, u));\n"
OTHER = PARENT.replace("TABLE p", "TABLE q")
CHILD = "CREATE TABLE c(id INTEGER PRIMARY KEY, t INT REFERENCES t ON DELETE CASCADE);\n"
CYCLE = (
    "CREATE TABLE x(id INTEGER PRIMARY KEY, y INT{});\n"
    "CREATE TABLE y(id INTEGER PRIMARY KEY, x INT REFERENCES x(id));\n"
)


def p(columns: str) -> str:
    """The table p, and t with these columns behind its key."""
    return PARENT + T.format(columns)


def i(index: str, table: str = AB) -> str:
    """A table, by default t(id, a, b), and an index."""
    return table + f"CREATE {index};\n"


def g(trigger: str, more: str = "") -> str:
    """The table t(id, a, b), more, and a trigger."""
    return AB + more + f"CREATE TRIGGER {trigger};\n"
