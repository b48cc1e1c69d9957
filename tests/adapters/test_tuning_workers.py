"""Several workers share the budget of one study, prune, and lose nothing when one of them is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.search import TUNING, objective, tune

from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.core.spec import TuningSpec
from perennial.errors import ModelError, WrongAnswer

pytestmark = pytest.mark.slow
TWO = TUNING.model_copy(update={"workers": 2})
THREE = TWO.model_copy(update={"trials": 3})


def test_two_workers_try_what_was_asked_and_prune(tmp_path):
    def slow(parameters, report):
        time.sleep(0.05)
        (tmp_path / str(os.getpid())).touch()
        return objective(parameters, report)

    best, seen = tune(OptunaTuner(None, tmp_path / "study"), tuning=TWO, objective=slow)
    assert len(seen) == TWO.trials
    assert {trial.number for trial in seen} == set(range(TWO.trials))
    assert best.value == max(trial.value for trial in seen if trial.value is not None)
    assert any(trial.pruned for trial in seen)
    pids = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert len(pids) == 2
    assert str(os.getpid()) not in pids


def test_what_a_trial_tries_does_not_depend_on_the_worker_that_takes_it(tmp_path):
    """As long as no trial informs it: a worker that starts late suggests for a trial that was asked for long before."""
    first, again = (
        {
            trial.number: trial.parameters
            for trial in tune(OptunaTuner(None, tmp_path / name), tuning=THREE)[1]
        }
        for name in ("study", "again")
    )
    assert again == first
    assert len({parameters["x"] for parameters in first.values()}) == 3


def search_with_a_killed_worker(url, tmp_path):
    """The trial of the killed worker is tried again with the same parameters; the study has what was asked for."""
    marks = tmp_path / "marks"
    marks.mkdir()

    def killed(parameters, report):
        (marks / f"{time.monotonic_ns()}-{parameters['x']}").touch()
        if len(list(marks.iterdir())) >= 3:
            with contextlib.suppress(FileExistsError):
                (tmp_path / "killed").touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return objective(parameters, report)

    tuning = TWO.model_copy(update={"trials": 6})
    _, seen = tune(OptunaTuner(url, tmp_path), tuning=tuning, objective=killed)
    assert len(seen) == 6
    tried = [path.name.partition("-")[2] for path in marks.iterdir()]
    assert len(tried) == 7
    assert len(set(tried)) == 6
    assert set(tried) == {str(trial.parameters["x"]) for trial in seen}


@pytest.mark.parametrize("sql", [False, True])
def test_a_killed_worker_loses_nothing(tmp_path, sql):
    search_with_a_killed_worker(f"sqlite:///{tmp_path / 'optuna.db'}" if sql else None, tmp_path)


@pytest.mark.server
def test_a_killed_worker_loses_nothing_in_postgresql(tmp_path, postgres):
    search_with_a_killed_worker(postgres, tmp_path)


def test_a_trial_that_kills_each_worker_ends_the_search(tmp_path):
    def deadly(parameters, report):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ModelError, match=r"worker of trial \d died 3 times"):
        tune(OptunaTuner(None, tmp_path), tuning=TWO, objective=deadly)


def test_an_error_of_the_model_ends_the_search_and_keeps_its_words(tmp_path):
    def broken(parameters, report):
        raise WrongAnswer("answer 7 is no probability", hint="mend the model")

    with pytest.raises(WrongAnswer, match="answer 7") as caught:
        tune(OptunaTuner(None, tmp_path), tuning=TWO, objective=broken)
    assert caught.value.hint == "mend the model"


def test_the_time_ends_the_search_and_a_later_call_goes_on(tmp_path):
    def slow(parameters, report):
        time.sleep(0.5)
        return objective(parameters, report)

    short = TWO.model_copy(update={"timeout": timedelta(seconds=1)})
    _, seen = tune(OptunaTuner(None, tmp_path), tuning=short, objective=slow)
    assert 0 < len(seen) < TWO.trials
    _, all_of_them = tune(OptunaTuner(None, tmp_path), tuning=TUNING)
    assert len(all_of_them) == TWO.trials


TRAINING = """
import sys, time
from pathlib import Path
from doubles.search import suggest
from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.core.spec import TuningSpec

def endless(parameters, report):
    import os
    Path(sys.argv[1], f"pid-{os.getpid()}").touch()
    time.sleep(300)

if __name__ == "__main__":
    tuning = TuningSpec.model_validate("auto").model_copy(update={"workers": 2})
    OptunaTuner(None, Path(sys.argv[1])).tune("study", tuning, True, suggest, endless, print)
"""


def test_workers_end_with_a_killed_training(tmp_path):
    script = tmp_path / "training.py"
    script.write_text(TRAINING)
    support = Path(__file__).resolve().parents[1] / "support"
    training = subprocess.Popen(
        [sys.executable, script, tmp_path], env={**os.environ, "PYTHONPATH": str(support)}
    )
    try:
        until = time.monotonic() + 120
        while len(pids := [int(found.name[4:]) for found in tmp_path.glob("pid-*")]) < 2:
            assert time.monotonic() < until
            assert training.poll() is None
            time.sleep(0.1)
    finally:
        training.kill()
        training.wait()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.1)


def test_one_worker_leaves_the_digest_of_a_spec():
    assert "workers" not in TUNING.model_dump(mode="json")
    assert TuningSpec.model_validate(TWO.model_dump(mode="json")) == TWO
