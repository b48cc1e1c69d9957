"""Bounds that hold at every look: coverage by simulation, and the edges."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.statistics import (
    difference_bounds,
    difference_exceeds,
    exceeds,
    growth_to_decide,
    proportion_bounds,
    quantile,
    tail_level,
)


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


def test_many_bounds_are_the_single_ones():
    hits, trials = np.array([0, 3, 60, 1000, 0, 1440]), np.array([10, 50, 1000, 1000, 0, 72000])
    low, high = proportion_bounds(hits, trials, 0.975)
    single = [proportion_bounds(int(x), int(n), 0.975) for x, n in zip(hits, trials, strict=True)]
    np.testing.assert_allclose(np.column_stack([low, high]), single, atol=1e-9)


def test_growth_decides_and_not_much_less_does():
    factor = growth_to_decide(10, 720, 7, 720, 0.005, 0.01, 0.95)
    n = int(720 * factor)
    assert difference_bounds(10 / 720 * n, n, 7 / 720 * n, n, 0.95)[1] == pytest.approx(0.01, abs=2e-4)
    assert growth_to_decide(0, 0, 5, 100, 0.005, 0.01, 0.95) is None


def test_tail_level_bounds_the_quantile_at_every_look():
    """The sample quantile at that level lies below the true p95 in few of 300 streams, over 20 looks."""
    generator = np.random.default_rng(5)
    assert tail_level(0.05, 100, 0.975) is None
    levels = {n: tail_level(0.05, n, 0.95) for n in range(200, 4001, 200)}
    wrong = 0
    for stream in generator.uniform(size=(300, 4000)):
        wrong += any(
            np.quantile(stream[:n], level, method="inverted_cdf") < 0.95 for n, level in levels.items()
        )
    assert wrong <= 15
