"""A search in PostgreSQL that processes share: one is killed, and then the server is."""

from __future__ import annotations

import pytest
from backends.servers import PASSWORDS
from backends.shared_search import search_with_a_killed_follower
from doubles.search import objective
from doubles.shared_search import lead, offer

from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.errors import StoreUnavailable

pytestmark = [pytest.mark.production, pytest.mark.timeout(900)]


def test_a_killed_follower_loses_nothing(databases, tmp_path):
    search_with_a_killed_follower(databases.address("optuna"), tmp_path)


def test_a_server_that_goes_and_comes_back_loses_no_trial(databases, tmp_path):
    tuner, begun = OptunaTuner(databases.address("optuna"), tmp_path), []
    search = offer().model_copy(update={"study": "rates-4567"})

    def led(parameters, report):
        begun.append(parameters)
        if len(begun) == 3:
            databases.kill()
        return objective(parameters, report)

    with pytest.raises(StoreUnavailable) as away:
        lead(tuner, search, led)
    assert PASSWORDS["optuna"] not in str(away.value)
    assert len(begun) == 3
    databases.revive()
    _, seen = lead(tuner, search, led)
    assert len({trial.number for trial in seen}) == search.tuning.trials
    assert begun[2] in [trial.parameters for trial in seen], (
        "the trial in which the server went was tried again"
    )
