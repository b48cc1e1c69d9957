"""Bounds on proportions by tilts: they hold at all looks, and are tight where there are many trials."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.release.analysis.tilted_bounds import tilted_bounds
from perennial.core.statistics import proportion_bounds


@pytest.mark.parametrize(
    "weights", [(1.0, 1.0), (0.1, 1.0)], ids=["plain", "half of the trials count a tenth"]
)
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_they_hold_at_all_looks_together(rate, weights):
    random = np.random.default_rng(3)
    trials = np.diff(np.unique(np.geomspace(1, 40_000, 120).astype(int)), prepend=0)
    weight = np.where(np.arange(len(trials)) % 2, *weights)
    hits = (random.binomial(trials, rate, size=(2000, len(trials))) * weight).cumsum(axis=1)
    low, high = tilted_bounds(hits, (trials * weight).cumsum(), 0.9)
    assert ((low > rate) | (high < rate)).any(axis=1).mean() <= 0.1


def test_they_are_narrower_than_the_mixture_of_many_trials_and_little_wider_of_few():
    def width(bounds, hits, trials):
        low, high = bounds(hits, trials, 0.998)
        return float(high - low)

    for trials, most in ((20, 1.1), (300, 1.03), (2000, 0.98), (20_000, 0.95), (200_000, 0.9)):
        for rate in (0.02, 0.1, 0.3):
            hits = rate * trials
            assert width(tilted_bounds, hits, trials) <= most * width(proportion_bounds, hits, trials)


def test_without_trials_nothing_is_known_and_more_hits_than_trials_are_refused():
    assert [float(bound) for bound in tilted_bounds(0, 0, 0.95)] == [0.0, 1.0]
    with pytest.raises(ValueError, match="3 hits of 2 trials"):
        tilted_bounds(3, 2, 0.95)
