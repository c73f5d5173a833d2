"""Published packages over their lives: which releases, what they stand on, and where their models are.

Direct requirements are pinned, what those pull in floats. A ground holds what the models of several releases import;
the releases come upon it by themselves, without what else they would require: a tracking server is not run here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from real.environments import environment, interpreter

if TYPE_CHECKING:
    from pathlib import Path

CREATE_ALL, MIGRATIONS = "create_all", "migrations"
Soft = tuple[str, str, str, str]  # table, column, parent, its column

# What releases import, by name of the ground; and the Pythons that it has wheels for, best first.
GROUNDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "optuna-early": (
        (
            "alembic==1.16.5", "cliff==4.9.1", "cmaes==0.13.1", "colorlog==6.12.0", "joblib==1.5.3", "numpy==1.26.4",
            "packaging==26.3", "pyyaml==6.0.3", "scipy==1.13.1", "sqlalchemy==1.4.54", "tqdm==4.70.1",
        ),
        ("3.9", "3.10", "3.11", "3.12"),
    ),
    "optuna-late": (
        (
            "alembic==1.20.1", "colorlog==6.12.0", "numpy==2.4.6", "packaging==26.3", "pyyaml==6.0.3",
            "sqlalchemy==2.0.41", "tqdm==4.70.1",
        ),
        ("3.11", "3.12", "3.13"),
    ),
    "mlflow-early": (
        (
            "alembic==1.16.5", "click==8.1.8", "cloudpickle==3.1.2", "databricks-cli==0.18.0", "entrypoints==0.4.2",
            "gitpython==3.2.1", "importlib-metadata==8.7.1", "packaging==26.3", "protobuf==3.20.3", "pytz==2026.6",
            "pyyaml==6.0.3", "requests==2.32.5", "sqlalchemy==1.4.54", "sqlparse==0.5.5",
        ),
        ("3.9", "3.10"),
    ),
    "mlflow-late": (
        (
            "alembic==1.20.1", "anyio==4.16.0", "cachetools==7.3.2", "click==8.5.1", "cloudpickle==3.1.2",
            "cryptography==50.0.2", "databricks-sdk==0.156.0", "fastapi==0.165.0", "gitpython==3.2.1",
            "importlib-metadata==9.1.0", "opentelemetry-proto==1.45.2", "opentelemetry-sdk==1.45.2",
            "packaging==26.3", "protobuf==6.33.5", "pydantic==2.14.3", "python-dotenv==1.2.4", "pyyaml==6.0.3",
            "requests==2.34.2", "sqlalchemy==2.0.41", "sqlparse==0.6.1", "uvicorn==0.54.0",
        ),
        ("3.11", "3.12", "3.13"),
    ),
    "jupyterhub-early": (
        (
            "alembic==1.16.5", "async-generator==1.10", "certipy==0.2.3", "jinja2==3.1.6", "jupyter-telemetry==0.1.0",
            "oauthlib==4.0.1", "packaging==26.3", "pamela==1.2.0", "prometheus-client==0.26.0",
            "python-dateutil==3.0.0", "requests==2.32.5", "sqlalchemy==1.4.54", "tornado==6.5.10", "traitlets==5.15.1",
        ),
        ("3.9", "3.10"),
    ),
    "jupyterhub-late": (
        (
            "aiohttp==3.14.5", "alembic==1.20.1", "certipy==0.2.3", "idna==3.20", "jinja2==3.1.6",
            "jupyter-events==0.12.1", "oauthlib==4.0.1", "packaging==26.3", "pamela==1.2.0",
            "prometheus-client==0.26.0", "pydantic==2.11.10", "python-dateutil==4.0.0", "requests==2.34.2",
            "sqlalchemy==2.0.41", "tornado==6.6.1", "traitlets==5.16.1",
        ),
        ("3.11", "3.12", "3.13"),
    ),
    "buildbot-early": (
        (
            "alembic==1.16.5", "autobahn==24.4.2", "future==1.0.0", "importlib-resources==6.5.2", "jinja2==3.1.6",
            "msgpack==1.1.2", "packaging==26.3", "python-dateutil==3.0.0", "pyyaml==6.0.3", "sqlalchemy==1.4.54",
            "sqlalchemy-migrate==0.13.0", "twisted==26.4.0",
        ),
        ("3.9", "3.10"),
    ),
    "buildbot-late": (
        (
            "alembic==1.20.1", "autobahn==26.10.2", "croniter==7.0.0", "jinja2==3.1.6", "msgpack==1.2.4",
            "packaging==26.3", "python-dateutil==4.0.0", "pyyaml==6.0.3", "sqlalchemy==2.0.41", "treq==26.7.0",
            "twisted==26.10.0", "unidiff==1.0.1",
        ),
        ("3.11", "3.12", "3.13"),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Release:
    """One release of a package and the ground that it stands on."""

    distribution: str
    version: str
    ground: str
    models: str  # one spec or several, with spaces between

    def python(self) -> Path:
        """The Python of an environment that holds it.

        Raises:
            LookupError: no interpreter here that it runs on.
        """
        return environment(
            f"{self.distribution}-{self.version}",
            [f"{self.distribution}=={self.version}"],
            ground=ground(self.ground),
        )


@dataclass(frozen=True, slots=True)
class Lineage:
    """A package's releases in their order, and how its users' databases are made."""

    name: str
    releases: tuple[Release, ...]
    origin: str = CREATE_ALL
    soft: tuple[Soft, ...] = ()  # what the code kept as a reference before the schema said so

    def pairs(self) -> list[tuple[Release, Release]]:
        """Each release with the next."""
        return list(zip(self.releases, self.releases[1:], strict=False))


def ground(name: str) -> Path:
    """The Python of a ground.

    Raises:
        LookupError: none of its Pythons runs here.
    """
    requirements, versions = GROUNDS[name]
    python = next(filter(None, map(interpreter, versions)), None)
    if python is None:
        raise LookupError(f"{name} needs one of Python {', '.join(versions)}, and none of them runs here")
    return environment(f"ground-{name}", requirements, python)


def _releases(distribution: str, models: str, early: str, late: str, name: str = "") -> tuple[Release, ...]:
    grounds = [(version, "early") for version in early.split()] + [
        (version, "late") for version in late.split()
    ]
    return tuple(
        Release(distribution, version, f"{name or distribution}-{age}", models) for version, age in grounds
    )


LINEAGES: dict[str, Lineage] = {
    lineage.name: lineage
    for lineage in (
        Lineage(
            "optuna",
            _releases(
                "optuna",
                "optuna.storages._rdb.models:BaseModel",
                "2.5.0 2.10.1 3.0.6",
                "3.1.1 3.3.0 3.6.2 4.2.1 5.0.0",
            ),
        ),
        # Its tables are only ever made by its migrations: those stop short of the models in places.
        Lineage(
            "mlflow",
            _releases(
                "mlflow-skinny",
                "mlflow.store.tracking.dbmodels.models:Base mlflow.store.model_registry.dbmodels.models:Base",
                "1.20.2 1.30.1 2.5.0 2.10.2",
                "2.20.4 3.1.4 3.4.0 3.6.0 3.9.0 3.12.0 3.14.0 3.17.2",
                "mlflow",
            ),
            MIGRATIONS,
        ),
        Lineage(
            "jupyterhub",
            _releases(
                "jupyterhub",
                "jupyterhub.orm:Base",
                "0.8.1 1.0.0 1.5.1 2.3.1 3.0.0 4.1.6",
                "5.0.0 5.5.4 6.0.1 6.1.1",
            ),
            soft=(
                ("oauth_access_tokens", "client_id", "oauth_clients", "identifier"),
                ("oauth_codes", "client_id", "oauth_clients", "identifier"),
            ),
        ),
        Lineage(
            "buildbot",
            _releases(
                "buildbot",
                "buildbot.db.model:Model",
                "1.8.2 2.4.1 2.10.5 3.0.3",
                "3.5.0 3.8.0 3.11.9 4.0.4 4.1.0 4.2.1 4.3.0",
            ),
        ),
    )
}
