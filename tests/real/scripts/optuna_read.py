"""Read every study back by optuna's own storage, as JSON: `python optuna_read.py DATABASE`."""

from __future__ import annotations

import json
import sys

import optuna
from optuna.storages import RDBStorage


def main() -> None:
    """Print studies and trials of the database named on the command line."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # The version table names the release that made the database; whether its schema serves is what is asked here.
    storage = RDBStorage(f"sqlite:///{sys.argv[1]}", skip_compatibility_check=True)
    studies = {}
    for summary in optuna.get_all_study_summaries(storage=storage):
        study = optuna.load_study(study_name=summary.study_name, storage=storage)
        studies[summary.study_name] = {
            "best": study.best_value,
            "attributes": study.user_attrs,
            "trials": [
                {
                    "state": trial.state.name,
                    "values": trial.values,
                    "params": trial.params,
                    "steps": {str(step): value for step, value in trial.intermediate_values.items()},
                    "attributes": trial.user_attrs,
                }
                for trial in study.trials
            ],
        }
    storage.engine.dispose()
    sys.stdout.write(json.dumps(studies, sort_keys=True))


if __name__ == "__main__":
    main()
