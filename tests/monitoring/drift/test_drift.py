"""PSI that does not lose what moved furthest, and evidence that does not call ordinary traffic a drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from perennial.core.monitoring.drift import MISSING, Bins, counts, psi, shares
from perennial.core.monitoring.measured import measure
from perennial.errors import DataError

GROUP = np.repeat(np.arange(40), 50)


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def mixed(values):
    return np.random.default_rng(4).permutation(values)


def drift(reference, window, bins=10):
    return measure({"x": (reference, window)}, GROUP[: len(reference)], np.arange(len(window)), bins, seed=3)[
        0
    ]


def test_psi_is_the_textbook_figure():
    reference, window = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert psi(reference, window) == pytest.approx(expected)


@given(arrays(float, 6, elements=st.floats(0.01, 1)), arrays(float, 6, elements=st.floats(0.01, 1)))
def test_psi_is_symmetric_and_zero_only_for_equal_shares(one, other):
    one, other = one / one.sum(), other / other.sum()
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == 0
    assert psi(one, other) >= 0


def test_values_outside_the_reference_are_counted(rng):
    reference = rng.normal(size=2000)
    moved = np.where(rng.random(1000) < 0.3, 12.0, rng.normal(size=1000))
    assert drift(reference, moved).excess > 0.3


def test_one_outlier_hides_no_shift_and_is_none(rng):
    reference = rng.normal(size=2000)
    outlier = np.r_[rng.normal(size=999), 1e6]
    assert drift(reference, outlier).excess < 0.05
    assert drift(reference, np.r_[rng.normal(5, 1, 999), 1e6]).excess > 1


def test_missing_values_are_a_bin_of_their_own(rng):
    reference = rng.normal(size=2000)
    window = np.where(rng.random(1000) < 0.5, np.nan, rng.normal(size=1000))
    assert drift(reference, window).excess > 0.3


def test_a_column_that_is_always_missing_can_be_compared():
    nothing = np.full(2000, np.nan)
    assert drift(nothing, nothing[:1000]).psi == 0
    assert drift(nothing, np.zeros(1000)).excess > 1


def test_few_values_get_a_bin_each_and_a_pile_at_the_smallest_its_own(rng):
    few = Bins.of(np.array([0.0, 1.0, 1.0]), 10)
    assert few.codes(np.array([-0.1, 0, 0.5, 1, 1.1, np.nan])).tolist() == [0, 1, 2, 3, 4, 5]
    assert few.labels[1] == "01 0"
    pile = np.r_[np.zeros(900), rng.random(1100) + 0.1]
    codes = Bins.of(pile, 10).codes(pile)
    assert (codes == codes[0]).sum() == 900


@given(
    arrays(float, st.integers(1, 200), elements=st.floats(-1e3, 1e3) | st.just(np.nan)), st.integers(3, 12)
)
def test_every_value_has_exactly_one_named_bin(values, count):
    bins = Bins.of(values, count)
    codes = bins.codes(values)
    assert len(bins.labels) == bins.size == len(set(bins.labels))
    assert bins.labels[-1] == MISSING
    assert ((codes >= 0) & (codes < bins.size)).all()
    assert ((codes == bins.size - 1) == np.isnan(values)).all()
    assert shares(counts(codes, bins.size)).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("reference", "window"),
    [
        (np.zeros(2000), np.full(600, 1e6)),
        (np.arange(2000) % 2.0, 99.0 * (np.arange(600) % 2)),
        ((np.random.default_rng(3).random(2000) > 0.01).astype(float), np.full(600, 7.0)),
        (mixed(np.r_[np.arange(100.0), np.full(1900, 100.0)]), np.full(600, 1e6)),  # a pile at the largest
        (mixed(np.r_[np.arange(100.0), np.full(1900, 50.0)]), np.full(600, 50.5)),  # in the middle
        (mixed(np.repeat([0.0, 1.0], 1000)), np.full(600, 0.5)),
    ],
)
def test_a_value_that_the_reference_never_had_is_no_known_one(reference, window):
    assert drift(reference, window).excess > 0.3


def test_the_same_number_in_another_precision_is_the_same_value():
    reference = np.tile([0.1, 0.7], 1000)
    assert drift(reference, reference[:600].astype(np.float32).astype(float)).psi == 0


def test_a_row_more_does_not_move_the_figure():
    def figure(rows):
        reference = np.r_[0.0, np.full(rows - 1, 1.0)]  # of each value one has a bin of a single row
        return drift_of(reference, np.r_[np.full(40, 2.0), np.full(960, 1.0)])

    def drift_of(reference, window):
        bins = Bins.of(reference, 10)
        return psi(*(shares(counts(bins.codes(values), bins.size)) for values in (reference, window)))

    few, many = figure(9_999), figure(10_001)
    assert few == pytest.approx(many, rel=0.01)
    assert few == pytest.approx(figure(1_000_000), rel=0.01)


def test_clustered_rows_are_no_drift_whatever_their_plain_psi(rng):
    clustered = np.repeat(rng.normal(size=40), 50) + 0.1 * rng.normal(size=2000)
    later = np.repeat(rng.normal(size=10), 50) + 0.1 * rng.normal(size=500)
    found = drift(clustered, later)
    assert found.psi > 0.3, "the plain figure would be an alarm"
    assert found.allowance > 0.3
    assert found.excess == 0


def test_the_same_input_gives_the_same_figures(rng):
    reference, window = rng.normal(size=2000), rng.normal(0.1, 1, size=600)
    assert drift(reference, window) == drift(reference, window)


def test_a_single_group_says_nothing_of_how_groups_differ():
    with pytest.raises(DataError, match="single group"):
        measure({"x": (np.zeros(100), np.zeros(50))}, np.zeros(100), np.arange(50), 10, seed=0)


def test_no_rows_are_an_error():
    with pytest.raises(DataError, match="no rows"):
        drift(np.arange(2000.0), np.empty(0))
