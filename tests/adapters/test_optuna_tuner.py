"""The search is seeded, prunes, goes on after a kill, and says so when nothing was completed."""

from __future__ import annotations

from datetime import timedelta

import pytest
from doubles.search import TUNING, objective, tune

from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.errors import ModelError, StoreUnavailable


def test_best_of_all_trials_with_constants(tmp_path):
    best, seen = tune(OptunaTuner(None, tmp_path))
    assert len(seen) == TUNING.trials
    assert best.value == max(trial.value for trial in seen if trial.value is not None)
    assert best.parameters["constant"] == 8


def test_hopeless_trials_are_pruned(tmp_path):
    _, seen = tune(OptunaTuner(None, tmp_path))
    pruned = [trial for trial in seen if trial.pruned]
    assert pruned
    assert all(trial.value is None and len(trial.curve) < TUNING.epochs for trial in pruned)


def test_same_seed_same_trials(tmp_path):
    first, again = (tune(OptunaTuner(None, tmp_path / name))[1] for name in ("a", "b"))
    assert [trial.parameters for trial in first] == [trial.parameters for trial in again]


def test_a_killed_study_goes_on(tmp_path):
    calls = []

    def killed(parameters, report):
        calls.append(parameters)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return objective(parameters, report)

    with pytest.raises(KeyboardInterrupt):
        tune(OptunaTuner(None, tmp_path), objective=killed)
    calls.clear()

    def counted(parameters, report):
        calls.append(parameters)
        return objective(parameters, report)

    _, seen = tune(OptunaTuner(None, tmp_path), objective=counted)
    assert len(calls) == TUNING.trials - 4
    assert len(seen) == TUNING.trials
    assert len({trial.parameters["x"] for trial in seen}) == TUNING.trials


def test_a_finished_study_trains_nothing(tmp_path):
    best, _ = tune(OptunaTuner(None, tmp_path))

    def never(parameters, report):
        raise AssertionError("nothing is left to try")

    assert tune(OptunaTuner(None, tmp_path), objective=never)[0] == best


def test_minimises_where_less_is_better(tmp_path):
    best, seen = tune(OptunaTuner(None, tmp_path), maximise=False)
    assert best.value == min(trial.value for trial in seen if trial.value is not None)


def test_an_error_of_the_model_ends_the_search(tmp_path):
    def broken(parameters, report):
        raise ValueError("a bug of the model")

    with pytest.raises(ValueError, match="a bug"):
        tune(OptunaTuner(None, tmp_path), objective=broken)


def test_no_time_for_a_single_trial_is_an_error(tmp_path):
    tuning = TUNING.model_copy(update={"timeout": timedelta(0)})
    with pytest.raises(ModelError, match="no trial"):
        tune(OptunaTuner(None, tmp_path), tuning=tuning)


def test_plots_are_files(tmp_path):
    tuner = OptunaTuner(None, tmp_path)
    tune(tuner)
    plots = tuner.plots("study", tmp_path / "plots")
    assert {path.name for path in plots} == {"tuning_history.html", "tuning_importances.html"}
    assert all(path.stat().st_size > 1000 for path in plots)


def test_sql_storage_resumes_too(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    tuning = TUNING.model_copy(update={"trials": 2})
    tune(OptunaTuner(url, tmp_path), tuning=tuning)
    _, seen = tune(OptunaTuner(url, tmp_path), tuning=tuning.model_copy(update={"trials": 3}))
    assert len(seen) == 3


def test_a_database_that_is_away_is_named_without_its_password(tmp_path):
    away = OptunaTuner("postgresql+psycopg://optuna:hidden@127.0.0.1:1/optuna", tmp_path)
    with pytest.raises(StoreUnavailable, match=r"optuna:\*\*\*@127.0.0.1") as raised:
        tune(away)
    assert "hidden" not in f"{raised.value.message} {raised.value.hint}"
