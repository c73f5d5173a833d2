"""What the MCP Task Orchestrator calls when it starts, and to look after its database: its own names over driftd's window.

`from driftd import execute_startup_migration` takes the place of the import of its `db.auto_migration`. Nothing here raises
for what driftd cannot do, and no URL is logged with its password. docs/python.md has the fields.
"""

from __future__ import annotations

import json
import logging
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from driftd import auto_migration_health as health
from driftd.auto_migration_result import (
    BackupInfo,
    MigrationResult,
    backup_info,
    masked,
    result_of,
    sentence,
)
from driftd.startup.places import Asked, placed
from driftd.startup.window import Attempt, text_of
from driftengine.errors import BusyError, ConfigurationError, DriftError, ModelsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from driftd.startup.places import Place
    from driftengine.api import Target

__all__ = ["AutoMigrationSystem", "BackupInfo", "MigrationResult", "execute_startup_migration"]

Document = dict[str, Any]

MODELS = "mcp_task_orchestrator.db.models:Base"  # of a database that no configuration describes
MAX_EXECUTION_MS = 30_000
ALLOWED_BY = "rollback_last_migration"

logger = logging.getLogger("driftd.auto_migration")


def execute_startup_migration(
    database_url: Any, backup_directory: str | os.PathLike[str] | None = None
) -> MigrationResult:
    """Opens a startup window for the database and says what came of it. Never raises.

    Its models are those of the configured target with the same real path, else `DRIFTD_MODELS`, else the orchestrator's own.

    Args:
        database_url: a SQLAlchemy URL.
        backup_directory: where backups go where no daemon serves the database; None as configured.
    """
    system = AutoMigrationSystem(database_url, backup_directory)
    return system._start(timeout=None, settings={})  # noqa: SLF001  # the same thing, bounded by `window.timeout`


class AutoMigrationSystem:
    """One database, as the orchestrator's code looks after it.

    Args:
        database_url: a SQLAlchemy URL.
        backup_directory: where backups go where no daemon serves the database; None as configured.

    `auto_backup`, `max_execution_time_ms` and `dry_run_mode` are what `configure` has set.
    """

    def __init__(self, database_url: Any, backup_directory: str | os.PathLike[str] | None = None) -> None:
        self.database_url = database_url
        self.backup_directory = backup_directory
        self.auto_backup = True
        self.max_execution_time_ms = MAX_EXECUTION_MS
        self.dry_run_mode = False

    def configure(
        self,
        *,
        auto_backup: bool | None = None,
        max_execution_time_ms: int | None = None,
        dry_run_mode: bool | None = None,
    ) -> None:
        """Sets what is given.

        Args:
            auto_backup: False makes no backup before a migration, unless `force_backup` asks for one.
            max_execution_time_ms: how long a migration may keep its caller waiting; at least 1, else ValueError.
            dry_run_mode: True rehearses on a copy and writes nothing.
        """
        if max_execution_time_ms is not None:
            if max_execution_time_ms < 1:
                raise ValueError(f"max_execution_time_ms must be at least 1, not {max_execution_time_ms}")
            self.max_execution_time_ms = max_execution_time_ms
        if auto_backup is not None:
            self.auto_backup = auto_backup
        if dry_run_mode is not None:
            self.dry_run_mode = dry_run_mode

    # --- migrating

    def execute_auto_migration(self, force_backup: bool | None = None) -> MigrationResult:
        """Migrates in a startup window, or rehearses in `dry_run_mode`. Never raises.

        `force_backup` counts instead of `auto_backup`, and True also where the configuration makes none.
        """
        settings: Document = {}
        if force_backup or not (self.auto_backup if force_backup is None else force_backup):
            settings["backup.before_every_migration"] = bool(force_backup)
        return self._start(timeout=self.max_execution_time_ms / 1000, settings=settings)

    def _start(self, *, timeout: float | None, settings: Mapping[str, Any]) -> MigrationResult:
        """One migration, told in the log."""
        logger.info("Checking database schema: %s", masked(self.database_url))
        started = time.monotonic()
        try:
            asked = self._asked(settings)
            document = self._rehearsed(asked) if self.dry_run_mode else _migrated(asked, timeout)
            waited_ms = (time.monotonic() - started) * 1000
            info = backup_info(document, _manifest(document))
            result = result_of(document, waited_ms=waited_ms, backup=info)
        except Exception as error:
            # The service is to start whatever this comes upon: its caller has no other net.
            if not isinstance(error, DriftError):
                logger.exception("the migration failed for a reason that nobody foresaw")
            waited_ms = (time.monotonic() - started) * 1000
            result = MigrationResult(
                success=False, execution_time_ms=round(waited_ms), error_message=_told(error)
            )
        _log(result, dry_run=self.dry_run_mode)
        return result

    def _rehearsed(self, asked: Asked) -> Document:
        from driftengine import api

        document = api.apply(_target(asked), dry_run=True)
        return {**document, "warnings": [*document["warnings"], "dry run: nothing was executed"]}

    # --- looking

    def check_migration_status(self) -> Document:
        """Is there something to migrate, how much, at what risk? Never raises: then `error` says why.

        The keys are in docs/python.md. `estimated_downtime_seconds` is what a rehearsal took, 0.0 where no row is copied,
        and None where that is not known.
        """
        started = time.monotonic()
        found = self._looked(self._status, health.no_status)
        return {**found, **_times("check_time_ms", "last_check", started)}

    def _status(self) -> Document:
        from driftengine import api

        target, records = self._target_and_records()
        check = api.check(target, memory=_memory())
        return health.status_of(
            check,
            api.history(target),
            api.backup_list(target),
            records,
            _stage(check["database"]),
            datetime.now(UTC),
        )

    def get_system_health(self) -> Document:
        """How healthy history, backups, models and database are together. Never raises: then it is UNKNOWN, with `error`."""
        found = self._looked(self._health, health.no_health)
        return {**found, "last_health_check": health.stamp(datetime.now(UTC))}

    def _health(self) -> Document:
        from driftengine import api

        target, records = self._target_and_records()
        history = api.history(target)
        durations = [
            float(api.history(target, one["migration_id"])["migrations"][0]["durations_ms"].get("apply", 0))
            for one in history["migrations"][-health.RECENT :]
            if one["migration_id"]
        ]
        try:
            look = api.check(target, memory=_memory())
        except ModelsError as error:
            look = {"error": masked(error)}
        return health.health_of(
            health.migration_statistics(history, records, durations),
            api.backup_list(target),
            api.history_verify(target)["problems"],
            health.failures(records, datetime.now(UTC)),
            look,
        )

    def _looked(self, look: Callable[[], Document], otherwise: Callable[[str, str], Document]) -> Document:
        try:
            return look()
        except Exception as error:
            if not isinstance(error, DriftError):
                logger.exception("looking at the database failed for a reason that nobody foresaw")
            code = error.code if isinstance(error, DriftError) else ""
            return otherwise(code, _told(error))

    def _target_and_records(self) -> tuple[Target, list[Document]]:
        from driftengine import journal
        from driftengine.backup_files import folder_for, journal_of
        from driftengine.dialects.chosen import named

        target = _target(self._asked({}))
        folder = folder_for(target.backup.directory, named(target.url, target.models.directory))
        return target, [
            {"event": one.event, "at": one.at, "migration_id": one.detail.get("migration_id")}
            for one in journal.read(journal_of(folder)).records
        ]

    # --- rolling back

    def rollback_last_migration(self, use_backup: bool = True) -> Document:
        """Takes the last migration back. Never raises; the keys are in docs/python.md.

        Args:
            use_backup: True restores the migration's own backup, after a safety backup of what is there now: what was
                written since is then in the safety backup only, and `rows_lost` says how many rows. False undoes its
                operations one by one, and keeps the rows written since.
        """
        started = time.monotonic()
        try:
            document = self._rolled_back(use_backup=use_backup)
            found = health.restored_of(document) if use_backup else health.undone_of(document)
        except Exception as problem:
            if not isinstance(problem, DriftError):
                logger.exception("the rollback failed for a reason that nobody foresaw")
            found = health.no_rollback(_told(problem))
        if found["success"]:
            source = f" from {document['restored']['id']}" if use_backup else ""
            logger.info("Rolled back %s%s", found["migration_id"], source)
        else:
            logger.warning("Rollback not done: %s", found["error_message"])
        return {**found, "execution_time_ms": round((time.monotonic() - started) * 1000)}

    def _rolled_back(self, *, use_backup: bool) -> Document:
        from driftengine import api

        place = _placed(self._asked({}))
        with _no_start(place.database) as others:
            if use_backup:
                return api.rollback_to_backup(_built(place), allowed_by=ALLOWED_BY)
            return api.rollback(_built(place), allowed_by=ALLOWED_BY, in_use=others)

    # --- where

    def _asked(self, settings: Mapping[str, Any]) -> Asked:
        """Raises ConfigurationError for what is no URL and no path."""
        given = dict(settings)
        try:
            if self.backup_directory is not None:
                given["backup.directory"] = os.fsdecode(os.fspath(self.backup_directory))
            url = text_of(self.database_url)
        except (TypeError, ValueError) as error:
            raise _no_database(str(error)) from error
        if url is None:
            raise _no_database("no url was given")
        return Asked(url, settings=given, otherwise=(MODELS,))


@contextmanager
def _no_start(database: str) -> Iterator[bool]:
    """No service starts while the block runs; yields whether others run on this schema, this process not counted.

    Raises BusyError (`database-busy`) where one is starting.
    """
    from driftd.startup import registry
    from driftd.startup.startup_locks import keep_out, use_alone

    with keep_out(database) as free:
        if not free:
            raise BusyError(
                f"{database} is not rolled back now",
                code="database-busy",
                why="a service is starting on it",
                fix="try again in a moment",
            )
        stepped_aside = registry.step_aside(database)
        try:
            with use_alone(database) as alone:
                yield not alone
        finally:
            if (
                stepped_aside
            ):  # before the startup lock is free: nobody who starts misses that this process runs
                registry.stay_again(database)


def _no_database(why: str) -> ConfigurationError:
    return ConfigurationError(
        "the database or its backup folder cannot be named so",
        code="database-url",
        why=why,
        fix="write sqlite:///relative.db or sqlite:////absolute/path.db, and the folder as a path",
    )


def _placed(asked: Asked) -> Place:
    return placed(asked, os.environ, Path.cwd())


def _target(asked: Asked) -> Target:
    return _built(_placed(asked))


def _built(place: Place) -> Target:
    """The engine's target. Raises ConfigurationError."""
    from driftd.startup.child import target_of

    if place.request is None:
        raise ConfigurationError(**dict(place.error or {}))
    return target_of(place.request)


def _migrated(asked: Asked, timeout: float | None) -> Document:
    """The window's answer; the process is one that runs on this schema from then on."""
    document = Attempt(asked, timeout=timeout).run().document
    if asked.settings and document.get("by") == "daemon":
        told = "a daemon serves this database: where and whether backups are made is as its own configuration says"
        return {**document, "warnings": [*document["warnings"], told]}
    return document


def _manifest(document: Mapping[str, Any]) -> Document:
    """What the backup's manifest says; {} where there is none that may be read."""
    backup = document.get("backup")
    if not backup:
        return {}
    try:
        found = json.loads(Path(backup["path"]).with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}  # the backup is a daemon's, and its folder another user's
    return found if isinstance(found, dict) else {}


def _stage(database: str) -> Document | None:
    """What the daemon that serves the database has rehearsed for it; None where there is none, or it says nothing."""
    from driftd import lock_file
    from driftd.client import Client, ClientError

    path = (lock_file.holder_of(database + lock_file.DAEMON) or {}).get("socket")
    if not isinstance(path, str) or not path:
        return None
    try:
        with Client(path, timeout=1.0) as client:
            entries = client.do_status()["targets"]
    except ClientError:
        return None
    return next((one.get("stage") for one in entries if one.get("database") == database), None)


def _memory() -> Path | None:
    from driftengine import remembered

    return remembered.folder(os.environ)


def _told(error: Exception) -> str:
    if isinstance(error, DriftError):
        return sentence(error.as_document())
    return masked(f"{type(error).__name__}: {error}")


def _log(result: MigrationResult, *, dry_run: bool) -> None:
    if not result.success:
        logger.warning("Database schema was not brought up to date: %s", result.error_message)
    elif result.operations_executed and not dry_run:
        logger.info(
            "Database migration completed: %d operations in %dms",
            result.operations_executed,
            result.execution_time_ms,
        )
        if result.backup_info is not None:
            logger.info("Backup created: %s", result.backup_info.backup_id)
    elif not result.migration_needed:
        logger.info("Database schema is up to date")
    # What has made it no success is told already; what then waits as well is of the same weight.
    level = logging.INFO if result.success else logging.WARNING
    for warning in result.warnings:
        if warning not in (result.error_message or ""):
            logger.log(level, "%s", warning)


def _times(duration: str, moment: str, started: float) -> Document:
    return {
        duration: round((time.monotonic() - started) * 1000),
        moment: health.stamp(datetime.now(UTC)),
    }
