"""Bounds of a mean without an upper end, simulated: false alarms over all looks, and power."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.mean_bounds import FIRST, mean_bounds, mean_exceeds

RUNS, LABELS = 800, 4000
ERRORS = {
    "normal": lambda random, size: np.abs(random.normal(size=size)),
    "heavy": lambda random, size: np.abs(random.standard_t(4, size)),
    "lognormal": lambda random, size: random.lognormal(0.0, 1.0, size),
    "mostly right": lambda random, size: random.exponential(size=size) * (random.random(size) < 0.2),
}
every_distribution = pytest.mark.parametrize("errors", ERRORS.values(), ids=ERRORS)


def sums(errors, random) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sums, sums of squares and counts after each label of each run, [runs, labels]."""
    values = errors(random, (RUNS, LABELS))
    return values.cumsum(axis=1), (values**2).cumsum(axis=1), np.arange(1, LABELS + 1)


def alarms(errors, seed: int, worse: float, factor: float) -> np.ndarray:
    """Whether each run ever aborted, with a look at every label."""
    random = np.random.default_rng(seed)
    total, squares, count = sums(errors, random)
    champion = sums(errors, random)
    return mean_exceeds(worse * total, worse**2 * squares, count, *champion, factor, 0.95).any(axis=1)


@every_distribution
def test_the_mean_leaves_its_bounds_at_any_of_4000_looks_at_most_as_often_as_said(errors):
    random = np.random.default_rng(3)
    low, high = mean_bounds(*sums(errors, random), 0.95)
    mean = errors(random, 4_000_000).mean()
    left = ((low > mean) | (high < mean)).any(axis=1).mean()
    assert left <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS)


@every_distribution
def test_a_candidate_exactly_at_the_limit_is_aborted_in_at_most_5_percent_of_the_releases(errors):
    assert alarms(errors, 5, worse=1.1, factor=1.1).mean() <= 0.05


@every_distribution
def test_a_candidate_with_doubled_errors_is_found(errors):
    assert alarms(errors, 7, worse=2.0, factor=1.1).mean() > 0.98


@pytest.mark.parametrize("errors", [ERRORS["normal"], ERRORS["heavy"], ERRORS["lognormal"]])
def test_errors_that_grow_by_half_are_found_where_they_are_not_mostly_zero(errors):
    assert alarms(errors, 7, worse=1.5, factor=1.1).mean() > 0.98


def test_nothing_is_judged_on_few_labels_and_one_label_decides_nothing():
    low, high = mean_bounds(5.0, 5.0, FIRST - 1, 0.95)
    assert (low, high) == (-np.inf, np.inf)
    values = np.full(FIRST, 1.0)
    values[-1] = 1e9
    proven = mean_exceeds(values.sum(), (values**2).sum(), FIRST, 300.0, 310.0, FIRST, 1.1, 0.95)
    assert not proven
