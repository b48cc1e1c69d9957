"""Warnings within a budget: the bound of a p-value is never below it, and small enough for what really moved."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.core.monitoring.budget.alarm_budget import INSTANTS, AlarmBudget
from perennial.core.monitoring.budget.certain import certain_p, log_tail
from perennial.core.monitoring.max_t import Figure, Permutations
from perennial.core.monitoring.measured import measure
from perennial.core.monitoring.upstream import newly_missing

WARN = 1e-7


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=3, max_size=11).filter(lambda values: len(set(values)) > 1),
       st.data())  # fmt: skip
def test_the_bound_is_not_below_the_share_of_all_orders(values, data):
    count = data.draw(st.integers(1, len(values) - 1))
    centred = np.array(values) - np.mean(values)
    seen = centred[-count:].sum()
    sums = np.array(
        [centred[list(places)].sum() for places in itertools.combinations(range(len(values)), count)]
    )
    truth = (sums >= seen - 1e-9).mean() if seen >= 0 else (sums <= seen + 1e-9).mean()
    assert math.exp(log_tail(centred, count)) >= truth * (1 - 1e-6)


def test_the_bound_is_the_truth_where_the_newest_are_the_largest():
    values = np.r_[np.zeros(12), np.full(4, 1.0)]
    assert math.exp(log_tail(values - values.mean(), 4)) == pytest.approx(1 / math.comb(16, 4), rel=1e-3)


def test_two_outages_that_happen_to_be_new_are_not_taken_for_certain():
    sums = np.random.default_rng(2).normal(size=(200, 1))
    sums[-2:] = 200.0
    found = certain_p([Figure(sums)], Permutations.drawn(np.ones(200), 160, 10, 1))
    assert found > 1e-4, "any two of 200 blocks are the newest ones once in 20,000 orders"


def test_chance_is_called_certain_no_more_often_than_the_bound_says():
    rng = np.random.default_rng(1)
    orders = Permutations.drawn(np.ones(60), 45, 10, 1)
    found = [certain_p([Figure(rng.standard_t(3, size=(60, 4)))], orders) for _ in range(400)]
    assert np.mean(np.array(found) <= 0.05) <= 0.05


def rows(shift: float, clusters: int) -> list:
    """Return the drift of three columns whose rows come in clusters, each all alike."""
    rng = np.random.default_rng(7)
    each = 2700 // clusters
    values = np.repeat(rng.normal(size=(clusters, 3)), each, axis=0)
    known = (2 * clusters // 3) * each
    values[known:, :2] += shift
    cluster = np.repeat(np.arange(clusters), each)
    columns = {f"f{place}": (column[:known], column[known:]) for place, column in enumerate(values.T)}
    return measure(columns, cluster[:known], cluster[known:], 10, seed=0, warn_level=WARN)


def test_a_shift_with_enough_rows_is_certain_and_what_stays_is_not():
    first, second, third, together = rows(1.0, 2700)
    assert first.is_certain
    assert second.certain_p < WARN
    assert not third.is_certain
    assert not together.is_certain


def test_few_blocks_prove_a_shift_and_are_not_certain_of_it():
    first, *_ = rows(9.0, 60)
    assert first.is_proven
    assert not first.is_certain
    assert first.certain_p >= 1 / math.comb(20, 6)


def test_a_level_above_that_of_a_look_changes_nothing():
    rng = np.random.default_rng(3)
    pair = {"x": (rng.normal(size=800), rng.normal(0.6, 1, size=300))}
    groups = np.arange(800), np.arange(300)
    assert measure(pair, *groups, 10, seed=0) == measure(pair, *groups, 10, seed=0, warn_level=0.3)


def test_missing_values_warn_where_enough_requests_have_them():
    few, many = np.repeat(np.arange(24), 75), np.arange(1800)
    for clusters, warns in ((few, 0), (many, 1)):
        before, after = np.zeros(1800), np.zeros(1800)
        after[np.isin(clusters, np.unique(clusters)[::3])] = np.nan
        found = [
            newly_missing({"x": (before, after)}, clusters, clusters, 0.1, level) for level in (None, 1e-9)
        ]
        assert [len(texts) for texts in found] == [1, warns]


def test_the_budget_is_divided_over_models_and_instants():
    budget = AlarmBudget(alarms_a_month=1, drift_warnings_a_month=3, models=("a", "b", "c"))
    assert budget.drift_share == 1
    assert 2 * INSTANTS * budget.warn_level == pytest.approx(1)
