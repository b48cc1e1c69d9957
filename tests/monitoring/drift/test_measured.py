"""Drift that is proven: no alarm about cycles that resemble each other, and none missed that the traffic can show."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from perennial.core.monitoring.dependence import Clusters
from perennial.core.monitoring.drift import JOINT
from perennial.core.monitoring.max_t import Figure, Permutations, max_t
from perennial.core.monitoring.measured import measure

COLUMNS = 4


def cycles(rng, rows: int, between: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows in cycles of about 40, each like its neighbour, and the cycle of each."""
    sizes = np.maximum(1, rng.lognormal(np.log(40), 0.7, size=rows)).astype(int)
    cycle = np.repeat(np.arange(rows), sizes)[:rows]
    effects = rng.normal(size=(cycle[-1] + 1, COLUMNS))
    for before, after in pairwise(range(len(effects))):
        effects[after] = 0.4 * effects[before] + np.sqrt(1 - 0.16) * effects[after]
    own = rng.normal(size=(rows, COLUMNS))
    return np.sqrt(between) * effects[cycle] + np.sqrt(1 - between) * own, cycle


def compared(values, cycle, known=2000):
    columns = {f"f{place}": (column[:known], column[known:]) for place, column in enumerate(values.T)}
    return measure(columns, cycle[:known], cycle[known:], 10, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("between", [0.0, 0.4])
def test_a_reference_of_2000_rows_gives_few_false_alarms(between):
    rng = np.random.default_rng(3)
    alarms = [any(drift.excess >= 0.1 for drift in compared(*cycles(rng, 2700, between))) for _ in range(40)]
    assert sum(alarms) <= 2  # of 40 with a rate of 1 %: more have a chance of less than 1 in 100


def test_half_a_standard_deviation_is_found_with_its_size():
    values, _ = cycles(np.random.default_rng(1), 2700, 0.0)
    values[2000:] += 0.5
    drifts = compared(values, np.arange(2700))
    assert all(drift.excess > 0.1 for drift in drifts)
    assert {drift.size for drift in drifts if drift.of_feature} <= {
        "shift +0.4 sd",
        "shift +0.5 sd",
        "shift +0.6 sd",
    }
    assert all((drift.since or 0) < 70 for drift in drifts), "the whole window has moved"


def test_a_change_in_the_window_is_found_with_its_beginning():
    values, _ = cycles(np.random.default_rng(2), 2700, 0.0)
    values[2500:, 0] += 1.5
    moved, *others = compared(values, np.arange(2700))
    assert moved.is_proven
    assert moved.newest is not None
    assert moved.newest.rows < 400
    assert moved.since == pytest.approx(500, abs=60)
    assert not any(drift.is_proven for drift in others if drift.of_feature)


def test_columns_that_depend_on_each_other_move_together_alone():
    values, _ = cycles(np.random.default_rng(4), 2700, 0.0)
    later = values[2000:]
    later[:] = np.sqrt(0.7) * later[:, [0]] + np.sqrt(0.3) * later
    later /= later.std(axis=0)
    *alone, together = compared(values, np.arange(2700))
    assert together.column == JOINT
    assert together.excess > 0.1
    assert not any(drift.excess > 0.1 for drift in alone)


def test_missing_values_and_shares_are_said_as_such():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 3, size=(2700, 2)).astype(float)
    values[2000:, 0][rng.random(700) < 0.3] = np.nan
    values[2000:, 1] = np.where(rng.random(700) < 0.5, 2.0, values[2000:, 1])
    first, second, _ = compared(values, np.arange(2700))
    assert first.size.startswith("share of missing 0% -> ")
    assert second.size == "share of 2 32% -> 66%"


def test_what_three_blocks_cannot_show_is_said():
    rng = np.random.default_rng(6)
    values = np.repeat(rng.normal(size=(8, 1)), 100, axis=0) + 0.01 * rng.normal(size=(800, 1))
    cycle = np.repeat(np.arange(8), 100)
    (drift,) = measure({"x": (values[:500, 0], values[500:, 0] + 9)}, cycle[:500], cycle[500:], 10, seed=0)
    assert not drift.is_proven


def test_blocks_hold_whole_clusters_and_are_about_equal():
    group = np.repeat(np.arange(50), 40)
    asked = np.arange(700)
    clusters = Clusters.of(group, asked)
    before, after = clusters.blocks(3)
    assert all(len(np.unique(before[group == number])) == 1 for number in range(50))
    assert np.bincount(after).min() > 100
    assert (np.diff(after) >= 0).all()


def test_p_values_are_adjusted_for_all_figures():
    rng = np.random.default_rng(7)
    sums = rng.normal(size=(60, 200))
    sums[40:, 0] += 3
    orders = Permutations.drawn(np.ones(60), 40, 999, 1)
    moved = max_t({str(place): [Figure(sums[:, [place]])] for place in range(200)}, orders, 0.01)
    assert [name for name, each in moved.items() if each.p <= 0.05] == ["0"]
    assert moved["0"].p >= 1 / 1000
