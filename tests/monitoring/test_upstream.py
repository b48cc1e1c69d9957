"""Faults of a source that look like drift, and drift that is none of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.monitoring.upstream import faults, newly_missing, repeated, silent

NOW = datetime(2025, 6, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def judged(reference, window, proven=True):
    moved = ColumnDrift(column="x", psi=1, allowance=0, p=0.001 if proven else 0.5, level=0.01)
    return faults({"x": (reference, window)}, [moved], 10, 0.1)


@pytest.fixture
def usual():
    return np.random.default_rng(5).lognormal(size=4000)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 1000 * x, "times as large, distributed as before; 1000 is a ratio of units"),
        (lambda x: x / 2.54, "times as large, distributed as before"),
        (lambda x: np.full_like(x, 7.0), "constant: 7"),
    ],
)
def test_a_fault_is_named_where_the_drift_is_proven(usual, change, words):
    later = np.random.default_rng(6).lognormal(size=1500)
    (text,) = judged(usual, change(later))
    assert words in text
    assert judged(usual, change(later), proven=False) == ()


def test_a_shift_and_another_distribution_are_no_faults(usual):
    normal = np.random.default_rng(7).normal(size=4000)
    assert judged(normal, normal[:1500] + 1) == ()
    assert judged(usual, np.exp(2 * np.random.default_rng(8).normal(size=1500))) == ()
    assert judged(usual, usual[:1500]) == ()


def missing(before: float, after: float, rows: int = 1, features: int = 1) -> tuple[str, ...]:
    """Judge features of which x misses these shares of requests with so many rows each."""
    rng = np.random.default_rng(4)
    sides = [
        np.where(np.repeat(rng.random(count) < share, rows), np.nan, 1.0)
        for share, count in ((before, 3000 // rows), (after, 1500 // rows))
    ]
    request = [np.repeat(np.arange(len(values) // rows), rows) for values in sides]
    whole = tuple(np.ones(len(values)) for values in sides)
    columns = {"x": tuple(sides)} | {f"y{number}": whole for number in range(features - 1)}
    return newly_missing(columns, *request, more=0.1)


def test_a_feature_is_newly_missing_where_requests_prove_it():
    assert missing(0, 0.25) == ("x is missing in 26% of the rows, 0% before",)
    assert missing(0, 1)[0].startswith("x is missing in 100%")
    assert missing(0.2, 0.27) == () == missing(0.5, 0.1), "less than the spec asks for"
    assert missing(0.05, 0.2, rows=150, features=20) == (), "ten requests prove nothing"
    assert missing(0, 0.9, rows=75, features=20), "twenty prove as much as this"


def test_rows_that_repeat_are_seen_unless_they_always_did():
    rng = np.random.default_rng(9)
    free, storm = rng.normal(size=(4000, 3)), np.tile(rng.normal(size=(5, 3)), (300, 1))
    assert "100% of the rows repeat another one exactly, 0% before" in repeated(free, storm, 0.3)
    assert repeated(free, rng.normal(size=(1500, 3)), 0.3) == ""
    assert repeated(np.tile(storm, (3, 1)), storm, 0.3) == ""


def test_silence_is_longer_than_any_pause_of_days():
    days = [NOW - timedelta(hours=hours) for hours in range(100, 0, -1)]
    assert "no prediction for 30.0 h" in silent([moment - 29 * HOUR for moment in days], NOW, HOUR, 10)
    assert silent(days, NOW, HOUR, 10) == ""
    assert silent([NOW - 30 * HOUR, NOW - 29 * HOUR], NOW, HOUR, 10) == "", "a day does not know its nights"
