"""How far a champion's errors depend on each other, measured and rehearsed; releases under dependent traffic."""

from __future__ import annotations

import importlib
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from perennial import catalog
from perennial.core.release.analysis.rehearsal import HEALTHY, rehearse
from perennial.core.release.analysis.traffic_profile import Dependence, TrafficProfile
from perennial.core.release.counted.dependence import measured_dependence
from perennial.core.release.counted.slices import Slice
from perennial.core.release.traffic import Counters
from perennial.settings import Settings

ROOT = Path(__file__).parents[3]
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
DOUBLED = "doubled error rate"


def champion(errors: list[int]) -> list[Slice]:
    return [
        Slice(
            began=START + timedelta(hours=number), counted={"stable": Counters(requests=1000, errors=count)}
        )
        for number, count in enumerate(errors)
    ]


def test_storms_and_unequal_users_are_measured():
    generator = np.random.default_rng(1)
    alone = measured_dependence(champion(generator.binomial(1000, 0.01, 40).tolist()), {}, 0.5)
    assert 0.5 < alone.by_time < 1.7
    assert (alone.by_users, alone.user_variance) == (None, None)
    storms = [int(generator.geometric(0.1, generator.poisson(1.0)).sum()) for _ in range(40)]
    assert measured_dependence(champion(storms), {}, 0.5).error_burst > 4
    rates = generator.beta(0.5, 49.5, 24)
    users = {str(n): Counters(requests=5000, errors=int(5000 * rate)) for n, rate in enumerate(rates)}
    measured = measured_dependence(champion([10] * 40), {"stable": users}, 0.5)
    assert measured.by_users > 20
    assert "independent ones" in str(measured)
    few = measured_dependence(champion([1] * 5), {}, 0.5)
    assert few.by_time is None
    assert "not known: 5 errors in 5 time slices" in str(few)


def rehearsed(**dependence):
    policy = catalog.spec("test_failure_predictor", Settings()).release
    traffic = TrafficProfile(
        requests_per_hour=6000, error_rate=0.01, latency_p95_ms=120, latency_log_sd=0.5, accuracy=0.85, labelled=0.0,
        dependence=Dependence(**dependence),
    )  # fmt: skip
    return rehearse(policy, traffic, seed=1, releases=100, looks=20, advise=False)


def test_rehearsal_says_what_dependent_traffic_costs():
    alone = rehearsed()
    assert (alone.caught[DOUBLED], alone.asks[HEALTHY.name]) == (1.0, 0.0)
    few = rehearsed(users=60, user_spread=1.4)
    assert few.caught[HEALTHY.name] < 0.02
    assert few.promoted[DOUBLED] < 0.05
    assert few.asks[HEALTHY.name] > 0.3
    assert any("of healthy releases: this traffic cannot tell them" in warning for warning in few.warnings)


@pytest.fixture(scope="module")
def dependent():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        yield importlib.import_module("release_parts.dependent")
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "traffic", ["errors in storms of one client, of 20", "each pool its own outage of 5 minutes a day"]
)
def test_bars_hold_on_dependent_traffic(dependent, monkeypatch, traffic):
    """A short version of the table in docs/guide/verdicts.md; 50 releases of each candidate."""
    monkeypatch.setattr(dependent, "CASES", {traffic: dependent.CASES[traffic]})
    healthy, doubled = dependent.outcomes(50, 11)
    assert healthy.aborted == 0
    assert doubled.promoted <= 1
