"""Make a study database by an installed optuna's own code: `python optuna_create.py DATABASE`.

Trials of every state, with parameters of each kind, intermediate values, and attributes of study and trials; a second
study with the other direction.
"""

from __future__ import annotations

import sys

import optuna

TRIALS = 12


def objective(trial: optuna.Trial) -> float:
    """A small function with one parameter of each kind, pruned and failed now and then."""
    x = (
        trial.suggest_uniform("x", -10, 10)
        if not hasattr(trial, "suggest_float")
        else trial.suggest_float("x", -10, 10)
    )
    count = trial.suggest_int("count", 1, 5)
    kind = trial.suggest_categorical("kind", ["lin", "sq", "ünïcode ✓"])
    trial.set_user_attr("note", {"n": trial.number, "text": 'it\'s "quoted"\n', "nothing": None})
    for step in range(3):
        trial.report(x * x + step, step)
    if trial.number % 5 == 3:
        raise optuna.TrialPruned
    if trial.number % 5 == 4:
        raise ValueError("this trial fails on purpose")
    return x * x + count + len(kind)


def main() -> None:
    """Create the database named on the command line."""
    url = f"sqlite:///{sys.argv[1]}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = optuna.samplers.RandomSampler(seed=7)
    study = optuna.create_study(storage=url, study_name="first", direction="minimize", sampler=sampler)
    study.set_user_attr("owner", ["a", 1, None, {"ü": 2.5}])
    study.optimize(objective, n_trials=TRIALS, catch=(ValueError,))
    other = optuna.create_study(
        storage=url, study_name="it's the second", direction="maximize", sampler=sampler
    )
    other.optimize(objective, n_trials=3, catch=(ValueError,))


if __name__ == "__main__":
    main()
