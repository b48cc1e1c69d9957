"""The steps of each strategy."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from perennial import catalog
from perennial.core.release.phase import Phase
from perennial.core.release.plan import plan, promotes
from perennial.core.release_spec import ReleaseSpec, Strategy
from perennial.orchestration.release_phases import phase_tasks
from perennial.settings import Settings

MODEL = "test_failure_predictor"


def policy(**changes) -> ReleaseSpec:
    written = catalog.spec(MODEL, Settings()).release
    return ReleaseSpec.model_validate(written.model_dump() | changes)


@pytest.mark.parametrize(
    ("strategy", "servers", "weights"),
    [
        ("canary", 2, [5, 20, 50]),
        ("blue_green", 2, [100]),
        ("ab", 2, [50]),
        ("rolling", 4, [25, 50, 75]),
        ("rolling", 1, []),
    ],
)
def test_shares_follow_the_mirror(strategy, servers, weights):
    shadow, *shares = plan(policy(strategy=strategy), servers)
    assert (shadow.phase, shadow.weight) == (Phase.SHADOW, 0)
    assert [one.weight for one in shares] == weights
    assert [one.number for one in shares] == list(range(len(weights)))
    assert {one.phase for one in shares} <= {Phase.CANARY}
    assert [one.weight for one in plan(policy(strategy=strategy, shadow=None), servers)] == weights


def test_shadow_only_mirrors_and_immediate_waits_for_nothing():
    (only,) = plan(policy(strategy="shadow_only"), 2)
    assert (only.phase, only.duration) == (Phase.SHADOW, timedelta(hours=1))
    assert plan(policy(strategy="immediate"), 2) == ()


@pytest.mark.parametrize("strategy", list(Strategy))
def test_all_but_shadow_only_promote(strategy):
    assert promotes(policy(strategy=strategy)) == (strategy is not Strategy.SHADOW_ONLY)


@pytest.mark.parametrize(
    "changes", [{"strategy": "big_bang"}, {"strategy": "shadow_only", "shadow": None}, {"hold": None}]
)
def test_policy_that_cannot_be_walked_is_refused(changes):
    with pytest.raises(ValidationError):
        policy(**changes)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_dag_has_a_task_for_each_step_and_one_for_the_end(strategy):
    chosen = policy(strategy=strategy)
    first, *steps, last = phase_tasks(chosen, 3)
    assert first == ("load", "LOADING", 0)
    assert [(phase, step) for _, phase, step in steps] == [(one.phase, one.number) for one in plan(chosen, 3)]
    assert last == ("finish" if strategy is Strategy.SHADOW_ONLY else "promote", "PROMOTING", 0)
    names = [name for name, _, _ in (first, *steps, last)]
    assert len(set(names)) == len(names)
