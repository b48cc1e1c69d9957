"""Bounds that hold at every look: coverage by simulation, and the edges."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.statistics import difference_exceeds, exceeds, proportion_bounds, quantile


def test_bounds_hold_the_share_and_narrow():
    wide, narrow = proportion_bounds(5, 50, 0.95), proportion_bounds(500, 5000, 0.95)
    assert wide[0] < narrow[0] < 0.1 < narrow[1] < wide[1]


def test_edges():
    assert proportion_bounds(0, 0, 0.95) == (0.0, 1.0)
    assert proportion_bounds(0, 100, 0.95)[0] == 0.0
    assert proportion_bounds(100, 100, 0.95)[1] == 1.0
    assert proportion_bounds(100, 100, 0.95)[0] > 0.9
    for hits, trials in ((-1, 3), (4, 3)):
        with pytest.raises(ValueError, match="trials"):
            proportion_bounds(hits, trials, 0.95)


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_looking_after_every_batch_rarely_errs(rate):
    """The whole point: 60 looks together err less often than a one-look test errs once."""
    generator = np.random.default_rng(7)
    hits = generator.binomial(50, rate, size=(300, 60)).cumsum(axis=1)
    trials = np.arange(1, 61) * 50
    wrong = [
        any(exceeds(int(h), int(n), rate, 0.95) for h, n in zip(row, trials, strict=True)) for row in hits
    ]
    assert np.mean(wrong) <= 0.05


def test_means_of_dependent_answers_rarely_err():
    """Values in [0, 1], here all-or-nothing within a request or evenly spread, by their sum."""
    generator = np.random.default_rng(8)
    values = generator.beta(0.5, 1.5, size=(200, 400))  # mean 0.25
    sums = values.cumsum(axis=1)
    wrong = [any(exceeds(float(row[n - 1]), n, 0.25, 0.95) for n in range(20, 401, 20)) for row in sums]
    assert np.mean(wrong) <= 0.05


def test_real_harm_is_proven():
    assert difference_exceeds(60, 1000, 5, 4000, 0.01, 0.95)
    assert not difference_exceeds(3, 100, 20, 4000, 0.01, 0.95)
    assert not difference_exceeds(0, 0, 0, 0, 0.01, 0.95)


def test_quantile_is_a_value_that_was_seen():
    assert quantile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert quantile([1.0, 2.0], 0.95) == 2.0
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)
