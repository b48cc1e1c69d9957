"""The detector of harm: what it finds, how it says so, and that a restart changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from perennial.core.monitoring.batches import BatchedReference, batch_ends, batch_size
from perennial.core.monitoring.harm_detector import DetectorState, with_batch
from perennial.core.monitoring.harm_intake import UNKNOWN_DELAY, microseconds, with_predictions

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
EVERY = timedelta(minutes=2)
TOLERATED, BUDGET = 0.01, 1.0
CYCLE = 80


def answers(rng: np.random.Generator, rows: int, accuracy: float) -> np.ndarray:
    return (rng.random(rows) < accuracy).astype(float)


def reference(rows: int = 4000, accuracy: float = 0.9) -> BatchedReference:
    made = BatchedReference.of(answers(np.random.default_rng(5), rows, accuracy), np.arange(rows) // CYCLE)
    assert made is not None
    return made


REFERENCE = reference()
START = DetectorState.begin("d" * 64, REFERENCE, BEGIN)


def counted(
    state: DetectorState, value: np.ndarray, now: datetime | None = None, delay: timedelta | None = None
) -> DetectorState:
    """Return the state after predictions of which one came every two minutes since the beginning."""
    at = microseconds(BEGIN) + np.arange(len(value)) * (EVERY // timedelta(microseconds=1))
    now = now or BEGIN + len(value) * EVERY + timedelta(minutes=1)
    return with_predictions(state, at, np.arange(len(value)) // CYCLE, value, now, delay, TOLERATED, BUDGET)


def stream(before: int, after: int, seed: int = 1, accuracy: float = 0.8) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.r_[answers(rng, before, 0.9), answers(rng, after, accuracy)]


def test_a_loss_is_found_with_its_size_its_begin_and_its_delay():
    state = counted(START, stream(8000, 2000))
    harm = state.harm
    assert harm is not None
    assert harm.low < 0.1 < harm.high
    assert harm.now == pytest.approx(0.8, abs=0.03)
    assert harm.found_after < 800
    assert abs(harm.since - (BEGIN + 8000 * EVERY)) < 500 * EVERY
    assert (state.alarms, state.alarmed) == (1, (harm.at,))
    assert state.alarms_since(BEGIN) == 1


def test_no_loss_and_a_gain_raise_no_alarm():
    assert counted(START, stream(8000, 4000, accuracy=0.9)).alarms == 0
    assert counted(START, stream(4000, 4000, accuracy=0.97)).alarms == 0


def test_any_number_of_looks_counts_every_prediction_once():
    value = stream(3000, 1500)
    once, often = counted(START, value), START
    for seen in (*range(70, len(value), 333), len(value), len(value)):
        stored = DetectorState.model_validate_json(often.model_dump_json())
        often = counted(stored, value[:seen])
    assert often == once.model_copy(update={"until": often.until})
    assert once.labelled == once.seen == 4500
    assert once.rows + once.open.rows == 4500


def test_an_alarm_ends_when_the_accuracy_is_back():
    lost = counted(START, stream(4000, 1000))
    assert lost.harm is not None
    rng = np.random.default_rng(3)
    back = counted(lost, np.r_[stream(4000, 1000), answers(rng, 8000, 0.93)])
    assert back.harm is None
    assert back.alarms_since(BEGIN) == 1


def test_a_single_outage_is_no_loss_of_accuracy():
    value = stream(6000, 0)
    value[3000 : 3000 + CYCLE] = 0.0
    assert counted(START, value).alarms == 0


def test_rows_wait_for_their_labels_and_those_behind_them_too():
    """Wrong answers are found at once and right ones after hours: only what all is known of counts."""
    value = stream(4000, 0)
    hidden = value.copy()
    hidden[2000:][hidden[2000:] == 1.0] = np.nan
    now, delay = BEGIN + 4001 * EVERY, timedelta(days=10)
    early = counted(START, hidden, now, delay)
    assert early.seen == pytest.approx(2000, abs=10)
    assert counted(early, value, now, delay).labelled == pytest.approx(4000, abs=1)


def test_what_never_gets_a_label_stops_nothing_after_the_longest_delay():
    value = stream(3000, 0)
    value[::2] = np.nan
    assert counted(START, value, BEGIN + 3000 * EVERY).seen == 3000 - UNKNOWN_DELAY // EVERY
    assert counted(START, value, BEGIN + 3000 * EVERY, timedelta(minutes=10)).seen == 2996
    done = counted(START, value, BEGIN + 3000 * EVERY + UNKNOWN_DELAY + EVERY)
    assert (done.seen, done.labelled) == (3000, 1500)


def test_a_loss_that_is_tolerated_is_none():
    rng = np.random.default_rng(2)
    assert counted(START, answers(rng, 20_000, REFERENCE.mean - 0.008)).alarms == 0


def test_a_growing_error_of_numbers_is_found():
    rng = np.random.default_rng(4)
    known = BatchedReference.of(-np.abs(rng.normal(size=3000)), np.arange(3000), is_share=False)
    assert known is not None
    state = DetectorState.begin("d" * 64, known, BEGIN)
    state = counted(state, -np.abs(np.r_[rng.normal(size=3000), rng.normal(scale=1.3, size=2000)]))
    assert state.harm is not None
    assert state.harm.loss_percent == pytest.approx(30, abs=6)
    assert "mean error 0.79" in str(state.harm)


def test_the_evidence_accrues_the_budget_of_the_time_and_not_of_the_rows():
    """Without any loss, each bet loses what it bets; with nothing bet, only the time would count."""
    at_once = with_batch(START, 0.9, 80, BEGIN, BEGIN, TOLERATED, BUDGET)
    later = with_batch(START, 0.9, 80, BEGIN, BEGIN + timedelta(days=3), TOLERATED, BUDGET)
    assert sum(at_once.evidence) == 0
    assert 0 < sum(later.evidence) / len(later.evidence) < 0.1


def test_the_traffic_tells_the_rows_between_false_alarms():
    state = counted(START, stream(8000, 0))
    assert state.rows_per_month() == pytest.approx(30 * 24 * 30, rel=0.02)
    assert state.arl_rows(0.5) == pytest.approx(2 * 30 * 24 * 30, rel=0.02)
    assert START.arl_rows(0.5) is None


def test_batches_hold_whole_clusters_of_a_typical_size():
    assert batch_size(np.full(50, 80)) == 80
    assert batch_size(np.ones(4000, dtype=int)) == 50
    assert batch_size(np.ones(100, dtype=int)) == 10, "small data makes smaller batches"
    assert batch_size(np.array([2000, 2000])) == 200
    ends = batch_ends(np.repeat([1, 2, 3, 4], [30, 40, 90, 10]), 50)
    assert ends.tolist() == [70, 160]
    assert batch_ends(np.repeat([1, 2, 3, 4], [30, 40, 90, 10]), 50, begun=25).tolist() == [30, 160]
    assert batch_ends(np.array([]), 50).tolist() == []


def test_few_groups_of_a_reference_tell_nothing():
    assert BatchedReference.of(np.ones(1000), np.repeat(np.arange(4), 250)) is None
    assert BatchedReference.of(np.ones(0), np.ones(0)) is None
