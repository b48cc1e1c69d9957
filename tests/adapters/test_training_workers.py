"""Several processes fit the model that one fits; a killed one changes nothing; none has a secret or an open port."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from doubles.worker_group import PARAMETERS, deadly, examples, fit, surroundings, wrong

from perennial.adapters.torch_elastic.group import together
from perennial.errors import WorkerLost, WrongAnswer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def of_two():
    return together(2, fit)


def answers(model) -> np.ndarray:
    return model.predict(examples().features)


def test_two_workers_fit_what_one_fits(of_two):
    assert np.abs(answers(of_two) - answers(together(1, fit))).max() < 0.01


def test_a_killed_worker_changes_nothing(of_two, tmp_path):
    """All begin again: the result of a second run, with a kill in its midst, is that of the first to the last digit."""
    again = together(2, functools.partial(fit, tmp_path / "killed"))
    assert (tmp_path / "killed").exists()
    assert np.array_equal(answers(again), answers(of_two))


def test_workers_have_no_secret_and_listen_on_loopback_only(monkeypatch):
    for name in (
        "MLFLOW_TRACKING_PASSWORD",
        "PERENNIAL_DATABASE_URL",
        "PERENNIAL_TUNING_URL_FILE",
        "AWS_SECRET_KEY",
    ):
        monkeypatch.setenv(name, "of-the-training")
    environment, arguments, listening = together(2, surroundings)
    assert environment
    assert "of-the-training" not in {*environment.values(), arguments}
    assert listening
    for address in listening:
        host = address.partition(":")[0]
        assert host in ("0100007F", "0000000000000000FFFF00000100007F"), address


@pytest.mark.deep
def test_an_error_keeps_its_words():
    with pytest.raises(WrongAnswer, match="answer 7") as caught:
        together(2, wrong)
    assert caught.value.hint == "mend the model"


@pytest.mark.deep
def test_a_worker_that_dies_each_time_ends_the_training():
    with pytest.raises(WorkerLost, match=r"worker \d of 2 ended .*SIGKILL.* 3 times") as caught:
        together(2, deadly)
    assert caught.value.exit_code == 47


@pytest.mark.deep
def test_dropout_is_the_only_large_difference():
    """Each process draws its own units; the answers still agree within the noise of another seed."""
    parameters = {**PARAMETERS, "dropout": 0.2}
    one, three = (answers(together(workers, functools.partial(fit, None, parameters))) for workers in (1, 3))
    assert np.abs(one - three).mean() < 0.05
