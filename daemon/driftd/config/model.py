"""Every setting, as data: where it stands, what it may be, what it is when nobody says, and what it means.

The shipped `config.toml` and `docs/configuration.md` are held against this list by tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What a value may be. `path`, `paths`, `python`, `models` and `url` know relative paths; `table` holds NAME = TEXT.
KINDS = (
    "bool",
    "choice",
    "count",
    "duration",
    "list",
    "models",
    "path",
    "paths",
    "python",
    "size",
    "table",
    "text",
    "url",
)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Args:
        name: its key beneath its section, dotted: `window.timeout`.
        kind: one of `KINDS`.
        default: as it would be written in the file; None where there is none.
        meaning: one sentence for people.
        choices: the allowed words of a `choice`, or of the values of a `table`.
    """

    name: str
    kind: str
    default: object
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        """The key's parts."""
        return tuple(self.name.split("."))

    @property
    def flag(self) -> str:
        """How it is given on a command line: `--rename`, one entry at a time, for the table `renames`."""
        return f"--{self.name.removesuffix('s') if self.kind == 'table' else self.name}"

    @property
    def environment(self) -> str:
        """The end of its environment name: `WINDOW_TIMEOUT`."""
        return environment_word(self.name)


DAEMON: tuple[Setting, ...] = (
    Setting(
        "socket",
        "path",
        "${XDG_RUNTIME_DIR:-/run}/driftd/driftd.sock",
        "The socket that the daemon listens on.",
    ),
    Setting("group", "text", "", "A group that may write to the socket; none when empty."),
    Setting(
        "readable",
        "bool",
        default=False,
        meaning="May other users ask for the status? They see no rows of the database.",
    ),
    Setting(
        "log",
        "choice",
        "auto",
        "How log lines look; `auto` is journal under systemd, else plain.",
        ("auto", "plain", "journal", "json"),
    ),
    Setting(
        "warm_probe",
        "bool",
        default=True,
        meaning="May a process with SQLAlchemy imported wait for the next save of a model? It takes some 45 MB for ten minutes.",
    ),
)

TARGET: tuple[Setting, ...] = (
    Setting("url", "url", None, "The database, as an SQLAlchemy URL or the path of a file."),
    Setting(
        "models", "models", None, "What describes it: `package.module:attribute`, or files of DDL (.sql)."
    ),
    Setting(
        "python",
        "python",
        "auto",
        "The interpreter that imports the models; `auto` is .venv/bin/python beside the file, "
        "else the one that runs driftd.",
    ),
    Setting("pythonpath", "paths", [], "Folders put before the interpreter's own import path."),
    Setting(
        "mode",
        "choice",
        "window",
        "What the daemon does by itself: `observe` never writes, `window` applies in startup windows only, `dev` also on save.",
        ("observe", "window", "dev"),
    ),
    Setting("probe_timeout", "duration", 60, "How long importing the models may take."),
    Setting(
        "ignore",
        "list",
        [],
        "Names or patterns of objects, or of parts of a table (orders.note), to leave out altogether.",
    ),
    Setting("window.timeout", "duration", 15, "How long a starting service may be kept waiting."),
    Setting("backup.directory", "path", "backups/migrations", "Where backups go, a folder for each target."),
    Setting(
        "backup.before_every_migration",
        "bool",
        default=True,
        meaning="Make a backup before anything is changed?",
    ),
    Setting("backup.reuse_max_age", "duration", "1h", "How old the backup of a usable stage may be."),
    Setting("backup.keep", "count", 20, "How many backups are kept."),
    Setting("backup.keep_for", "duration", "30d", "How long backups are kept."),
    Setting(
        "backup.max_total_size", "size", "10GB", "How much space the backups of a target may take together."
    ),
    Setting("backfill", "table", {}, 'Values for old rows: "table.column" = "SQL expression".'),
    Setting(
        "renames",
        "table",
        {},
        'What was called otherwise: "table.column" or "table", by the new name, = "former name".',
    ),
    Setting(
        "policy",
        "table",
        {},
        "What to do with operations of a code, or on a table: hold, allow or ignore.",
        ("hold", "allow", "ignore"),
    ),
)

# Read by the command line itself, so they are no keys of the file.
ENVIRONMENT_ONLY: tuple[tuple[str, str], ...] = (
    ("DRIFTD_CONFIG", "The configuration file, as --config."),
    ("DRIFTD_TARGET", "The target, as --target."),
    ("DRIFTD_DEBUG", "1 shows tracebacks, as --debug."),
)


def environment_word(name: str) -> str:
    """A key or a target's name as part of an environment name: upper case, everything else an underscore."""
    return re.sub(r"[^A-Z0-9]", "_", name.upper())


def daemon_environment(setting: Setting) -> str:
    """`DRIFTD_SOCKET`: the section `daemon` is left out."""
    return f"DRIFTD_{setting.environment}"


def target_environment(setting: Setting, target: str | None) -> str:
    """`DRIFTD_TARGETS_NAME_URL`; without a name the short `DRIFTD_URL` of the selected target."""
    if target is None:
        return f"DRIFTD_{setting.environment}"
    return f"DRIFTD_TARGETS_{environment_word(target)}_{setting.environment}"
