"""Served values beside recomputed ones."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.monitoring.skew import feature_skew, worst_first

BINS = 10


def test_the_same_values_do_not_differ_even_through_float32():
    offline = np.r_[np.random.default_rng(0).normal(1e4, 1e3, 500), np.nan]
    found = feature_skew("f", offline.astype(np.float32).astype(float), offline, BINS)
    assert (found.differ, found.largest < 1e-2) == (0.0, True)
    assert found.psi == pytest.approx(0.0, abs=1e-6)


def test_known_on_one_side_only_differs():
    found = feature_skew(
        "f", np.array([1.0, np.nan, 3.0, np.nan]), np.array([1.0, 2.0, np.nan, np.nan]), BINS
    )
    assert (found.differ, found.missing_served, found.missing_offline) == (0.5, 0.5, 0.5)
    assert found.largest == 0.0


def test_shift_shows_in_all_figures_and_comes_first():
    offline = np.random.default_rng(1).normal(size=1000)
    moved = feature_skew("moved", offline + 3.0, offline, BINS)
    kept = feature_skew("kept", offline, offline, BINS)
    assert moved.differ == 1.0
    assert moved.largest == pytest.approx(3.0)
    assert moved.psi > 1.0
    assert [one.feature for one in worst_first([kept, moved])] == ["moved", "kept"]


def test_no_rows_say_nothing():
    assert feature_skew("f", np.array([]), np.array([]), BINS).differ is None
