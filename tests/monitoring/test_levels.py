"""The spec's table over windows: what asks for what, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from perennial import catalog
from perennial.core.assets import Reason
from perennial.core.monitoring.drift import JOINT, SCORE, ColumnDrift, Newest
from perennial.core.monitoring.harm_detector import Harm
from perennial.core.monitoring.levels import AccuracyEstimate, Coverage, Level, verdict
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None)).monitoring
GOOD = AccuracyEstimate(value=0.9, error=0.005, labels=3000)


def drifts(*excesses: float, score: float = 0.0, allowance: float = 0.4, p=0.001) -> list[ColumnDrift]:
    named = [*zip(SPEC.columns, excesses, strict=False), (SCORE, score)]
    return [
        ColumnDrift(column=name, psi=allowance + more, allowance=allowance, p=p, level=0.01)
        for name, more in named
    ]


def judge(found=(), reference=GOOD, window=GOOD, rows=1500, harm=None):
    return verdict(SPEC, found, reference, window, rows, harm=harm)


def harm(now: float) -> Harm:
    since = datetime(2025, 6, 1, 10, tzinfo=UTC)
    return Harm(
        number=1, at=since, since=since, against="reference", base=0.9, now=now, low=0.01, high=0.2, rows=900,
        found_after=820,
    )  # fmt: skip


def causes(judged) -> list[Reason]:
    return [cause.reason for cause in judged.causes]


@pytest.mark.parametrize(
    ("excesses", "level"),
    [
        ((0, 0), Level.OK),
        ((0.09, 0.09), Level.OK),
        ((0.11, 0.11), Level.WATCH),
        ((0.21, 0.25), Level.WARN),
        ((0.31, 0.5), Level.WARN),
        ((5, 0), Level.WATCH),
        ((5, 0.21), Level.WARN),
    ],
)
def test_features_must_move_together(excesses, level):
    assert judge(drifts(*excesses)).level is level


def test_drift_alone_asks_for_no_retraining_and_says_how_far_it_went():
    told = judge(drifts(0.31, 0.5))
    assert told.causes == ()
    assert "as far as level retrain" in told.reasons[0]
    assert "as far as" not in judge(drifts(0.25, 0.5)).reasons[0]


def test_plain_psi_within_the_allowance_is_no_drift():
    assert judge(drifts(0, 0, 0, 0, allowance=2.0)).level is Level.OK


def test_what_is_not_proven_is_no_drift():
    assert judge(drifts(9, 9, score=9, p=0.02)).level is Level.OK


@pytest.mark.parametrize(
    ("certain", "level"),
    [((1e-8, 1e-8), Level.WARN), ((1e-8, 1e-6), Level.WATCH), ((1e-6, 1e-6), Level.WATCH)],
)
def test_features_warn_only_within_the_budget_of_false_warnings(certain, level):
    found = drifts(0.3, 0.25)
    moved = [
        drift.model_copy(update={"certain_p": p, "warn_level": 1e-7})
        for drift, p in zip(found, (*certain, 1.0), strict=True)
    ]
    told = judge(moved)
    assert told.level is level
    assert ("than the budget of false drift warnings allows" in told.reasons[0]) == (level is Level.WATCH)
    alone = [
        drift.model_copy(update={"certain_p": certain[1], "warn_level": 1e-7}) for drift in drifts(score=9)
    ]
    assert judge(alone).level is level


def test_features_that_depend_on_each_other_in_another_way_are_a_watch():
    together = ColumnDrift(column=JOINT, psi=0.9, allowance=0.1, p=0.001, level=0.01)
    told = judge([*drifts(0, 0), together])
    assert (told.level, told.causes) == (Level.WATCH, ())
    assert "depend on each other" in told.reasons[0]


def test_the_newest_part_of_a_window_counts_where_it_moved_more():
    half = Newest(rows=700, psi=0.9, allowance=0.1)
    moved = [drift.model_copy(update={"newest": half}) for drift in drifts(0.05, 0.05)]
    told = judge(moved)
    assert told.level is Level.WARN
    assert "as far as level retrain" in told.reasons[0]
    assert "0.90 in the newest 700 rows" in told.reasons[0]


def test_the_score_alone_warns_at_most():
    told = judge(drifts(0, 0, score=9))
    assert told.level is Level.WARN
    assert told.causes == ()


@pytest.mark.parametrize(
    ("value", "level"),
    [(0.9, Level.OK), (0.878, Level.WATCH), (0.83, Level.WARN), (0.79, Level.WARN), (0.99, Level.OK)],
)
def test_accuracy_drop(value, level):
    told = judge(window=AccuracyEstimate(value=value, error=0.003, labels=1500))
    assert told.level is level
    assert told.drop_percent == pytest.approx(100 * (0.9 - value) / 0.9)
    assert causes(told) == [], "the test of a window errs too often to ask for a retraining"


@pytest.mark.parametrize(("now", "level"), [(0.883, Level.WARN), (0.86, Level.RETRAIN), (0.5, Level.RETRAIN)])
def test_harm_that_the_detector_has_found_asks_from_the_level_on(now, level):
    told = judge(harm=harm(now))
    assert told.level is level
    assert causes(told) == ([Reason.ACCURACY] if level is Level.RETRAIN else [])
    assert f"90.0% -> {now:.1%}" in told.reasons[0]
    assert "since about 2025-06-01 10:00 UTC, found after 820 labels" in told.reasons[0]


def test_drift_beside_harm_is_told_as_its_perhaps_cause():
    told = judge(drifts(0.4, 0.6), harm=harm(0.8))
    assert causes(told) == [Reason.ACCURACY]
    assert (
        f"perhaps since 2 of 2 features moved, as far as level retrain: {SPEC.columns[1]}" in told.reasons[0]
    )
    assert "perhaps" not in judge(harm=harm(0.8)).reasons[0]


def test_a_drop_that_chance_may_have_made_is_none():
    assert judge(window=AccuracyEstimate(value=0.79, error=0.053, labels=1500)).level is Level.WATCH
    assert judge(window=AccuracyEstimate(value=0.79, error=0.09, labels=1500)).level is Level.OK


def test_few_labels_leave_the_accuracy_unjudged():
    told = judge(window=AccuracyEstimate(value=0.1, error=0.01, labels=SPEC.min_labels - 1))
    assert told.level is Level.OK
    assert told.drop_percent is None


def test_few_predictions_are_unsure_whatever_they_say():
    told = judge(
        drifts(9, 9), window=AccuracyEstimate(value=0.1, error=0.01, labels=400), rows=SPEC.min_window - 1
    )
    assert told.level is Level.UNSURE
    assert str(SPEC.min_window) in told.reasons[0]


def test_the_worst_finding_is_told_first_and_names_its_columns():
    told = judge(drifts(0.4, 0.6), window=AccuracyEstimate(value=0.883, error=0.003, labels=1500))
    assert SPEC.columns[1] in told.reasons[0]


def test_accuracy_of_rows_that_come_in_clumps_has_a_larger_error():
    rng = np.random.default_rng(2)
    clumped = np.repeat(rng.random(20) < 0.8, 50)
    mixed = rng.permutation(clumped)
    each = np.arange(1000)
    assert AccuracyEstimate.of(clumped, each).error > 3 * AccuracyEstimate.of(mixed, each).error


def test_no_batch_ends_within_a_group():
    """Cycles of 160 rows, a batch is 75: of two batches in a cycle one repeats the other."""
    rng = np.random.default_rng(2)
    errors, values = [], []
    for _ in range(300):
        cycle = np.repeat(np.arange(10), 160)[:1500]
        right = rng.random(1500) < 0.8 + 0.2 * rng.uniform(-1, 1, 10)[cycle]
        estimate = AccuracyEstimate.of(right, cycle)
        errors.append(estimate.error)
        values.append(estimate.value)
    assert estimate.batches == 10
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(values), rel=0.15)


def test_groups_that_are_mixed_stay_whole():
    group = np.tile(["a", "b", "c", "d", "e", "f"], 100)
    right = (group == "a").astype(float)
    estimate = AccuracyEstimate.of(right, group)
    assert (estimate.batches, estimate.value) == (6, pytest.approx(1 / 6))
    assert estimate.error == pytest.approx(1 / 6)  # a sixth of the groups, standard error of six


def test_a_few_groups_tell_nothing():
    assert AccuracyEstimate.of(np.ones(1000), np.repeat(np.arange(4), 250)) is None
    assert AccuracyEstimate.of(np.ones(10, dtype=bool), np.arange(10)) is None


@pytest.mark.parametrize(
    ("value", "level"), [(0.91, Level.OK), (0.89, Level.OK), (0.8, Level.WARN), (0.2, Level.WARN)]
)
def test_intervals_that_hold_fewer_labels_than_they_claim_warn_at_most(value, level):
    seen = AccuracyEstimate(value=value, error=0.02, labels=1000)
    told = verdict(SPEC, drifts(0, 0), GOOD, GOOD, 1500, coverage=Coverage(seen=seen, claimed=0.9))
    assert (told.level, told.causes) == (level, ())
    assert any(f"the 90% intervals hold {value:.1%} of 1000 labels" in reason for reason in told.reasons)
    few = Coverage(seen=seen.model_copy(update={"labels": SPEC.min_labels - 1}), claimed=0.9)
    assert verdict(SPEC, drifts(0, 0), GOOD, GOOD, 1500, coverage=few).level is Level.OK
