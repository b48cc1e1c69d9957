"""Several processes take trials of one search; the training that leads it decides how many, and when it has ended."""

from __future__ import annotations

from datetime import timedelta

import optuna
import pytest
from backends.shared_search import search_with_a_killed_follower
from doubles.search import objective, suggest
from doubles.shared_search import SHARED, STUDY, embedded, lead, offer

from perennial.adapters.optuna import shared_trials
from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.core.spec import TuningSpec
from perennial.errors import StoreUnavailable, WorkerLost

pytestmark = pytest.mark.slow


@pytest.mark.deep  # tests/production has it on PostgreSQL
def test_a_killed_follower_loses_nothing(tmp_path):
    search_with_a_killed_follower(f"sqlite:///{tmp_path / 'shared.db'}", tmp_path)


def test_a_search_is_joined_while_it_runs(tmp_path):
    tuner = embedded(tmp_path)
    assert tuner.offered("rates") is None
    joined = []

    def led(parameters, report):
        if not joined:  # the second process is this one, in the midst of a trial
            assert tuner.offered("rates") == offer()
            assert tuner.offered("rate") is None
            other = embedded(tmp_path)
            other.join(offer(), suggest, objective, joined.append, idle=0)
        return objective(parameters, report)

    best, seen = lead(tuner, offer(), led)
    assert tuner.offered("rates") is None
    assert len(joined) == SHARED.trials - 1
    assert {trial.number for trial in joined} < {trial.number for trial in seen}
    assert best.value == max(trial.value for trial in seen if trial.value is not None)


def test_what_a_trial_draws_does_not_depend_on_who_takes_it(tmp_path):
    """As long as no trial informs it, which is so for the first four that end."""
    search = offer(trials=3)
    alone = lead(embedded(tmp_path / "alone"), search)[1]
    tuner, joined = embedded(tmp_path / "joined"), []

    def led(parameters, report):
        if not joined:
            tuner.join(search, suggest, objective, joined.append, idle=0)
        return objective(parameters, report)

    _, shared = lead(tuner, search, led)
    assert len(joined) == 2
    parameters = [{trial.number: trial.parameters for trial in trials} for trials in (alone, shared)]
    assert parameters[0] == parameters[1]


def test_the_time_withdraws_what_nobody_has_begun_and_a_later_call_goes_on(tmp_path):
    tuner = embedded(tmp_path)
    short = offer().model_copy(
        update={"tuning": SHARED.model_copy(update={"timeout": timedelta(microseconds=1)})}
    )
    with pytest.raises(Exception, match="no trial was completed"):
        lead(tuner, short)
    _, seen = lead(tuner, offer())
    assert len(seen) == SHARED.trials


def test_a_trial_that_loses_each_process_ends_the_search(tmp_path, monkeypatch):
    """As its database shows a process that died: begun, and without a sign of life since long ago."""
    monkeypatch.setattr(shared_trials, "GRACE", 1)
    tuner = embedded(tmp_path)

    def led(parameters, report):
        """Begin all other trials as processes that die do."""
        study = optuna.load_study(study_name=STUDY, storage=tuner._shared_storage())
        while study._pop_waiting_trial_id() is not None:
            pass
        return objective(parameters, report)

    with pytest.raises(WorkerLost, match=r"trial \d+ died 3 times"):
        lead(tuner, offer(trials=6), led)


def test_a_process_that_was_given_up_for_dead_does_not_count_twice(tmp_path):
    tuner = embedded(tmp_path)
    given_up = []

    def led(parameters, report):
        if not given_up:
            study = optuna.load_study(study_name=STUDY, storage=tuner._shared_storage())
            (trial,) = study.get_trials(states=(optuna.trial.TrialState.RUNNING,))
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            given_up.append(trial.number)
        return objective(parameters, report)

    _, seen = lead(tuner, offer(), led)
    assert len(seen) == SHARED.trials
    assert given_up[0] not in {trial.number for trial in seen}


def test_a_database_that_is_away_is_named_without_its_password(tmp_path):
    tuner = OptunaTuner("postgresql+psycopg://optuna:of-the-test@127.0.0.1:1/optuna", tmp_path)
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1") as caught:
        lead(tuner, offer())
    assert "of-the-test" not in str(caught.value)
    assert caught.value.exit_code == 56


def test_a_search_that_is_not_shared_leaves_the_digest_of_a_spec():
    assert "shared" not in TuningSpec.model_validate("auto").model_dump(mode="json")
    with pytest.raises(ValueError, match=r"tuning\.shared: leave tuning\.workers out"):
        TuningSpec.model_validate({**SHARED.model_dump(mode="json"), "workers": 2})


def test_an_error_of_the_model_ends_the_process_that_met_it(tmp_path):
    tuner = embedded(tmp_path)

    def broken(parameters, report):
        raise ValueError("a bug of the model")

    def led(parameters, report):
        if not broken_once:
            broken_once.append(True)
            with pytest.raises(ValueError, match="a bug"):
                tuner.join(offer(), suggest, broken, print, idle=0)
        return objective(parameters, report)

    broken_once: list[bool] = []
    _, seen = lead(tuner, offer(), led)
    assert len(seen) == SHARED.trials
