"""driftd keeps a database in step with its SQLAlchemy models. Importing it loads nothing: each name comes when it is used."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from driftd.auto_migration import AutoMigrationSystem, execute_startup_migration
    from driftd.auto_migration_result import BackupInfo, MigrationResult
    from driftd.startup.window import Answer, async_startup_window, startup_window

__all__ = [
    "Answer",
    "AutoMigrationSystem",
    "BackupInfo",
    "MigrationResult",
    "async_startup_window",
    "execute_startup_migration",
    "startup_window",
]

_HOMES = {
    "Answer": "driftd.startup.window",
    "AutoMigrationSystem": "driftd.auto_migration",
    "BackupInfo": "driftd.auto_migration_result",
    "MigrationResult": "driftd.auto_migration_result",
    "async_startup_window": "driftd.startup.window",
    "execute_startup_migration": "driftd.auto_migration",
    "startup_window": "driftd.startup.window",
}


def __getattr__(name: str) -> object:
    """Loads a public name at its first use: `driftd exec` and the client import this package too, and need none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return found


def __dir__() -> list[str]:
    """With the names that are not loaded yet."""
    return sorted({*globals(), *__all__})
