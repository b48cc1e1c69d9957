"""A short form of the benchmark of false alarms: the budget holds, and a loss is found when the guide says."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
STREAMS = 200


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("false_alarms")
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.3])
def test_a_month_without_a_loss_stays_within_its_share_of_the_budget(benchmark, correlation):
    """An eighth of a false alarm a month is allowed; what the guide shows is 0 to 7 %."""
    rng = np.random.default_rng(7)
    known = benchmark.streams(rng, STREAMS, benchmark.REFERENCE, 0.9, correlation)
    calm = benchmark.streams(rng, STREAMS, benchmark.MONTH, 0.9, correlation)
    for shift in (0, 40):  # whole cycles, and cycles that batches cut
        means = benchmark.batch_means(np.roll(calm, -shift, axis=1), 80)
        alarms = benchmark.detected(benchmark.reference_of(known, 80), means)
        assert alarms.sum() / STREAMS < benchmark.BUDGET


@pytest.mark.parametrize(("accuracy", "within"), [(0.8, 4_000), (0.9, 2_800), (0.95, 1_800), (0.98, 1_200)])
def test_a_loss_of_5_points_is_found_within_what_the_guide_says(benchmark, accuracy, within):
    rng = np.random.default_rng(8)
    known = benchmark.streams(rng, STREAMS, benchmark.REFERENCE, accuracy, 0.0)
    calm = benchmark.streams(rng, STREAMS, benchmark.MONTH, accuracy, 0.0)
    lost = benchmark.streams(rng, STREAMS, within, accuracy - benchmark.DROP, 0.0)
    means = benchmark.batch_means(np.concatenate([calm, lost], axis=1), 80)
    alarms = benchmark.detected(benchmark.reference_of(known, 80), means)
    early, delays = benchmark.figures(alarms, 80)
    assert early.mean() < 0.03
    assert np.isfinite(delays).mean() > 0.95


def test_the_detector_of_the_monitor_is_that_of_the_benchmark(benchmark):
    """One stream through the monitor's state gives the same alarms as all streams at once."""
    from datetime import UTC, datetime, timedelta

    from perennial.core.monitoring.batches import BatchedReference
    from perennial.core.monitoring.harm_detector import MONTH, DetectorState, with_batch

    rng = np.random.default_rng(9)
    known = benchmark.streams(rng, 1, benchmark.REFERENCE, 0.9, 0.0)
    right = benchmark.streams(rng, 1, 4_000, 0.85, 0.0)
    means = benchmark.batch_means(right, 80)
    reference = BatchedReference.of(known[0].astype(float), np.arange(benchmark.REFERENCE) // 80)
    assert reference is not None
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    state, alarmed = DetectorState.begin("d" * 64, reference, begin), []
    step = timedelta(seconds=MONTH.total_seconds() * 80 / benchmark.MONTH)
    for number, mean in enumerate(means[0]):
        before = state.evidence
        state = with_batch(
            state, float(mean), 80, begin + number * step, begin + (number + 1) * step,
            benchmark.TOLERATED, benchmark.BUDGET,
        )  # fmt: skip
        alarmed.append(sum(state.evidence) == 0 and sum(before) > 0)
    expected = benchmark.detected(benchmark.reference_of(known, 80), means)[0]
    assert alarmed == expected.tolist()
    assert any(alarmed)
