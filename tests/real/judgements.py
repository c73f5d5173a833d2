"""What a person says to what driftd held: whether it is right to wait, and what to answer.

Whatever waits in a journey and does not stand here is a fault of driftd's, or news of a release that somebody has to look
at first.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """The words of a second apply. `moved` says what becomes of old columns by it: the new name, "" when it goes.

    `back` are the words of the rollback that takes it back: an old key comes back only when somebody approves that too.
    """

    words: tuple[str, ...]
    moved: dict[str, str] = field(default_factory=dict)
    back: tuple[str, ...] = ()


_KEYS = ("--approve", "change-primary-key")
_EMPTY_BEFORE = "rows hold NULL, and neither the models nor the database know what else should stand there"
_MLFLOW_KEY = (
    "the workspaces, new since 3.9, become a part of every key, which only who runs the server can decide"
)
_MLFLOW_KEYED = (
    "model_version_tags",
    "model_versions",
    "registered_model_aliases",
    "registered_model_tags",
    "registered_models",
)
_MLFLOW_REFERRING = (
    "model_version_tags.name, version, workspace",
    "model_versions.name, workspace",
    "registered_model_aliases.registered_model_alias_registered_model_fkey",
    "registered_model_tags.name, workspace",
)
_MLFLOW_EXTRA = (
    "endpoints.unique_endpoint_name",
    "experiments.name",
    "model_definitions.unique_model_definition_name",
    "model_version_tags.name, version",
    "model_versions.name",
    "registered_model_aliases.registered_model_alias_name_fkey",
    "registered_model_tags.name",
    "registered_models.name",
    "secrets.unique_secret_name",
)

# Package, then (code, table.object), to why a person agrees that it waits.
AGREED: dict[str, dict[tuple[str, str], str]] = {
    "optuna": {
        ("value-needed", "trial_intermediate_values.intermediate_value_type"): "NOT NULL without any default",
        ("value-needed", "trial_values.value_type"): "NOT NULL without any default",
    },
    "mlflow": {
        ("extra-constraint", "runs.status"): "a CHECK that a migration left behind beside its successor",
        ("no-parent-key", "input_tags.input_uuid"): "the models refer to a column that no key covers",
        ("change-primary-key", "trace_request_metadata"): "the migrations made the key in another order",
        ("change-primary-key", "trace_tags"): "the migrations made the key in another order",
        (
            "value-needed",
            "jobs.job_name",
        ): "it is function_fullname by another name, which the message proposes",
        ("drop-column", "jobs.function_fullname"): "it is what jobs.job_name may have been called",
        ("create-index", "jobs.index_jobs_name_status_creation_time"): "it needs jobs.job_name",
        ("drop-column", "spans.dimension_attributes"): "it holds values",
        **{("change-primary-key", table): _MLFLOW_KEY for table in _MLFLOW_KEYED},
        **{("add-foreign-key", name): "it refers to a key that waits" for name in _MLFLOW_REFERRING},
        **{
            ("extra-constraint", name): "stricter than the models, which may be on purpose"
            for name in _MLFLOW_EXTRA
        },
    },
    "jupyterhub": {},
    "buildbot": {
        ("value-needed", "builds.locks_duration_s"): "NOT NULL without any default",
        **{
            ("value-needed", name): _EMPTY_BEFORE
            for name in (
                "buildrequest_claims.masterid",
                "builds.builderid",
                "changes.sourcestampid",
                "logchunks.logid",
                "logs.stepid",
                "scheduler_changes.changeid",
                "scheduler_changes.schedulerid",
                "steps.buildid",
            )
        },
    },
}

# (package, older version) to what a person answers.
ANSWERS: dict[tuple[str, str], Answer] = {
    ("optuna", "2.10.1"): Answer(
        (
            *("--backfill", "trial_intermediate_values.intermediate_value_type='FINITE'"),
            *("--backfill", "trial_values.value_type='FINITE'"),
        )
    ),
    ("buildbot", "3.11.9"): Answer(("--backfill", "builds.locks_duration_s=0")),
    ("mlflow", "1.20.2"): Answer(("--approve", "extra-constraint")),
    ("mlflow", "2.20.4"): Answer(_KEYS, back=_KEYS),
    ("mlflow", "3.6.0"): Answer(
        ("--rename", "jobs.job_name=function_fullname", *_KEYS), {"jobs.function_fullname": "job_name"}, _KEYS
    ),
    ("mlflow", "3.9.0"): Answer((*_KEYS, "--approve", "extra-constraint"), back=_KEYS),
    ("mlflow", "3.14.0"): Answer(
        (*_KEYS, "--approve", "drop-column"), {"spans.dimension_attributes": ""}, _KEYS
    ),
}
