"""Short versions of the benchmark's rows on labels (`benchmarks/release_parts/labels.py`)."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from perennial.core.verdict import Verdict

BENCHMARKS = str(Path(__file__).resolve().parents[3] / "benchmarks")


@pytest.fixture(scope="module")
def part():
    """The part of the benchmark."""
    sys.path.insert(0, BENCHMARKS)
    yield importlib.import_module("release_parts.labels")
    sys.path.remove(BENCHMARKS)


@pytest.mark.parametrize("row", [0, 2, 3, 4, 6, 7])
def test_no_candidate_of_equal_accuracy_is_aborted(part, row):
    _, traffic, candidate, errors = part.ROWS[row]
    assert candidate in ("healthy", "misses less", "misses more")
    ends = part.drawn(traffic, errors, 15, np.random.default_rng(1))
    assert ends.count(Verdict.FAIL) == 0


@pytest.mark.parametrize("row", [12, 13, 16])
def test_five_points_less_accuracy_are_found(part, row):
    _, traffic, candidate, errors = part.ROWS[row]
    assert candidate.startswith("5 pt")
    ends = part.drawn(traffic, errors, 15, np.random.default_rng(1))
    assert ends.count(Verdict.FAIL) >= 14
