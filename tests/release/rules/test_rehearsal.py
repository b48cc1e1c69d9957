"""Rehearsed chances against the rules that a release really calls, on random arrivals; and the edges."""

from __future__ import annotations

import importlib
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from perennial import catalog
from perennial.core.release.analysis.rehearsal import HARMS, HEALTHY, rehearse
from perennial.core.release.analysis.simulated_step import simulated_steps
from perennial.core.release.analysis.traffic_profile import TrafficProfile
from perennial.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("release_parts.independent")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def policy():
    return catalog.spec("test_failure_predictor", Settings()).release


def traffic(rate: float, **changes) -> TrafficProfile:
    usual = {
        "error_rate": 0.01,
        "latency_p95_ms": 120.0,
        "latency_log_sd": 0.5,
        "accuracy": 0.85,
        "labelled": 0.5,
    }
    return TrafficProfile(requests_per_hour=rate, **usual | changes)


def test_stages_of_the_shipped_policy(policy):
    assert [(one.name, one.hours, one.promotes) for one in simulated_steps(policy, traffic(600))] == [
        ("shadow", 1, False), ("5 %", 6, False), ("20 %", 12, False), ("50 %", 24, True),
    ]  # fmt: skip
    assert simulated_steps(policy, traffic(600))[0].shares == (1.0, 1.0)
    assert simulated_steps(policy, traffic(600))[1].shares == (0.05, 0.95)


@pytest.mark.parametrize(
    ("strategy", "steps"),
    [
        ("blue_green", [("shadow", 1, None, False), ("100 %", 24, 1, True)]),
        ("shadow_only", [("shadow", 1, None, False)]),
        ("rolling", [("shadow", 1, None, False), ("50 %", 24, None, True)]),
        ("ab", [("shadow", 1, None, False), ("50 %", 10, None, True)]),
        ("immediate", []),
    ],
)
def test_stages_of_every_strategy(policy, strategy, steps):
    changes = {
        "strategy": strategy,
        "hold": "P1D",
        "ab": {"weight": 50, "sample": 3000, "duration": "P7D", "mismatch": 0.001},
    }
    other = policy.model_validate(policy.model_dump() | changes)
    found = [(one.name, one.hours, one.before, one.promotes) for one in simulated_steps(other, traffic(600))]
    assert found == steps


def test_a_doubled_error_rate_does_not_outlive_the_old_champion_that_is_kept_warm(policy):
    changes = {"strategy": "blue_green", "hold": "P1D"}
    other = policy.model_validate(policy.model_dump() | changes)
    found = rehearse(other, traffic(6000), seed=1, releases=200, looks=20, advise=False)
    assert found.promoted["doubled error rate"] <= 0.05, (
        "a person is asked: an hour bounds the champion badly"
    )
    assert found.false_aborts < 0.02


def test_a_person_is_asked_about_a_test_only_after_its_duration_however_early_its_sample_is_complete(policy):
    other = policy.model_validate(policy.model_dump() | {"strategy": "ab", "shadow": None})
    for rate in (600, 6000):
        (stage,) = simulated_steps(other, traffic(rate))
        assert stage.hours < other.ab.duration / timedelta(hours=1)
        asked = other.ab.duration + other.unsure_after
        assert stage.hours + stage.wait == pytest.approx(asked / timedelta(hours=1))


def test_less_accuracy_is_not_caught_where_the_champion_answers_nothing(policy):
    """No label says how right the champion would have been; who relies on it is warned."""
    other = policy.model_validate(policy.model_dump() | {"strategy": "blue_green", "shadow": None})
    found = rehearse(other, traffic(6000), seed=1, releases=100, looks=20, advise=False)
    assert found.caught[HARMS[2].name] < 0.02
    assert f"{HARMS[2].name}: caught in 0% of releases" in found.warnings


@pytest.mark.slow
def test_the_same_seed_gives_the_same_answer(policy):
    first, second = (
        rehearse(policy, traffic(9000), seed=1, releases=20, looks=20, advise=False) for _ in range(2)
    )
    assert first == second


@pytest.mark.slow
def test_the_bars_hold(policy):
    once = rehearse(policy, traffic(9000), seed=1, releases=300, looks=20, advise=False)
    assert once.false_aborts < 0.02
    assert once.promoted["doubled error rate"] <= 0.05
    assert once.promoted[HEALTHY.name] > 0.95
    assert not once.warnings
    for name in once.caught:
        assert once.caught[name] + once.asks[name] + once.promoted[name] == pytest.approx(1.0)


@pytest.mark.slow
def test_poor_power_is_warned_of_with_what_would_do(policy):
    found = rehearse(policy, traffic(600), seed=1, releases=200, looks=20)
    last = found.steps[-1]
    advice = last.advice["doubled error rate"]
    assert last.caught["doubled error rate"] < 0.5
    assert advice.weight == 50
    assert 72 < advice.hours < 240
    assert any(text.startswith("doubled error rate: caught in ") for text in found.warnings)
    step = policy.steps[-1].model_copy(update={"duration": timedelta(hours=advice.hours)})
    longer = policy.model_validate(policy.model_dump() | {"steps": [*policy.steps[:-1], step]})
    again = rehearse(longer, traffic(600), seed=2, releases=400, looks=20, advise=False)
    assert again.steps[-1].caught["doubled error rate"] > 0.4


def test_without_a_search_no_advice_is_told(policy):
    found = rehearse(policy, traffic(60), seed=1, releases=50, looks=20, advise=False)
    assert found.warnings[0] == "doubled error rate: caught in 0% of releases"


def test_latency_below_the_floor_is_never_caught(policy):
    found = rehearse(policy, traffic(6000, latency_p95_ms=30.0), seed=1, releases=100, looks=20, advise=False)
    assert found.caught["1.5 x latency"] < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("harm", "step", "rate"),
    [
        (HARMS[0], 3, 2200),
        pytest.param(HARMS[1], 2, 700, marks=pytest.mark.deep),
        pytest.param(HARMS[2], 3, 6000, marks=pytest.mark.deep),
    ],
)
def test_rehearsed_chance_is_that_of_the_real_rules(benchmark, policy, harm, step, rate):
    """At traffic where the chance is far from 0 and 1: 80 releases through `judge_traffic`, within 3.5 sd."""
    said = (
        rehearse(policy, traffic(rate), seed=3, releases=1000, looks=8, advise=False)
        .steps[step]
        .caught[harm.name]
    )
    generator = np.random.default_rng(4)
    stage = simulated_steps(policy, traffic(rate))[step]
    seen = [benchmark.real_outcome(policy, stage, traffic(rate), harm, 8, generator) for _ in range(80)]
    assert 0.1 < said < 0.9
    assert abs(seen.count("FAIL") / 80 - said) < 3.5 * (said * (1 - said) / 80) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "harm", "rate", "said_in"),
    [
        pytest.param("ab", HARMS[0], 1900, (0.3, 0.9), marks=pytest.mark.deep),
        ("blue_green", HARMS[2], 3000, (0.0, 0.02)),
    ],
)
def test_and_in_the_step_of_other_strategies(benchmark, policy, strategy, harm, rate, said_in):
    """A sample that is complete early leaves the rest of the step's time to prove more; labels that nobody
    asks for prove nothing."""
    other = policy.model_validate(policy.model_dump() | {"strategy": strategy, "shadow": None})
    now = traffic(rate)
    said = rehearse(other, now, seed=3, releases=1000, looks=4, advise=False).steps[0].caught[harm.name]
    generator = np.random.default_rng(4)
    (stage,) = simulated_steps(other, now)
    seen = [benchmark.real_outcome(other, stage, now, harm, 4, generator) for _ in range(40)]
    assert said_in[0] <= said <= said_in[1]
    assert abs(seen.count("FAIL") / 40 - said) < max(0.02, 3.5 * (said * (1 - said) / 40) ** 0.5)
