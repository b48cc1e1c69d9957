"""Feature definitions on histories small enough to count by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from perennial.errors import DataError
from perennial.history import features, schema
from perennial.history.prepare import SUITE_VIEW, TEST_VIEW, prepare

MIDNIGHT = pd.Timestamp("2025-01-06", tz="UTC")


def run(cycle, test, minutes, verdict, duration_ms=60_000, suite="ci"):
    return {
        "suite": suite,
        "test_id": test,
        "cycle": cycle,
        "started_at": MIDNIGHT + pd.Timedelta(minutes=minutes),
        "duration_ms": duration_ms,
        "verdict": verdict,
        "area": "",
    }


def history(*runs):
    return schema.conform(pd.DataFrame(runs).assign(execution_id=[f"{n}" for n in range(len(runs))]), "test")


def state(frame, test, number=-1):
    rows = features.test_features(frame)
    return rows[rows["test_id"] == test].iloc[number]


def test_one_red_run_makes_the_cycle_red_and_the_rest_are_retries():
    last = state(history(run(1, "a", 0, 1), run(1, "a", 2, 0), run(1, "a", 4, 0), run(2, "a", 60, 0)), "a", 0)
    assert (last["last_execution_status"], last["failure_count"], last["run_count"]) == (1, 1, 1)
    assert last["avg_retry_count"] == 2
    assert last["pass_rate_7d"] == pytest.approx(2 / 3)
    assert last["flakiness_score"] == 0.5


def test_rates_counts_and_runs_since_the_last_failure():
    verdicts = [0, 1, 0, 0, 0, 0, 0, 0]
    frame = history(*(run(n + 1, "a", n * 60, verdict) for n, verdict in enumerate(verdicts)))
    last = state(frame, "a")
    assert last["run_count"] == 8
    assert last["failure_count"] == 1
    assert last["failure_rate"] == pytest.approx(2 / 10)
    assert last["recent_failures"] == 0
    assert last["runs_since_failure"] == 6
    assert last["flakiness_score"] == pytest.approx(2 / 7)
    assert state(frame, "a", 1)["runs_since_failure"] == 0
    assert state(frame, "a", 0)["runs_since_failure"] == 1
    assert state(frame, "a", 5)["recent_failures"] == 1


def test_windows_end_with_the_cycle_and_hold_whole_days():
    day = 24 * 60
    frame = history(
        run(1, "a", 0, 1), run(2, "a", 6 * day, 0), run(3, "a", 8 * day, 0), run(4, "a", 40 * day, 1)
    )
    rows = features.test_features(frame)
    assert rows["pass_rate_7d"].tolist() == [0, 0.5, 1, 0]
    assert rows["pass_rate_30d"].round(3).tolist() == [0, 0.5, 0.667, 0]


def test_time_is_the_mean_of_the_last_five_cycles():
    frame = history(*(run(n, "a", n * 60, 0, duration_ms=n * 1000) for n in range(1, 8)))
    assert state(frame, "a")["execution_time_ms"] == 5000


def test_a_state_is_known_when_its_whole_cycle_is():
    frame = history(run(1, "a", 0, 0), run(1, "b", 30, 0, duration_ms=600_000))
    rows = features.test_features(frame)
    assert set(rows["event_timestamp"]) == {MIDNIGHT + pd.Timedelta(minutes=40)}
    assert (rows["created_timestamp"] == rows["event_timestamp"]).all()
    assert set(features.examples(frame)["event_timestamp"]) == {MIDNIGHT}


def test_a_cycle_of_one_run_that_took_no_time_is_known_after_its_start():
    frame = history(run(1, "a", 0, 1, duration_ms=0))
    assert (
        features.test_features(frame)["event_timestamp"] > features.examples(frame)["event_timestamp"]
    ).all()


def test_clocks_that_disagree_never_bring_the_order_of_cycles_into_disorder():
    times = features.cycle_times(history(run(1, "a", 100, 0), run(2, "a", 10, 1), run(3, "a", 20, 0)))
    assert times["started_at"].is_monotonic_increasing
    assert times["known_at"].is_monotonic_increasing
    assert times["known_at"].is_unique
    assert (times["known_at"] > times["started_at"]).all()


def test_suites_count_their_own_tests():
    frame = history(
        run(1, "a", 0, 1), run(1, "b", 0, 0), run(1, "c", 0, 0, suite="nightly"), run(2, "a", 60, 0)
    )
    rows = features.suite_features(frame).set_index(["suite", "event_timestamp"]).sort_index()
    assert rows.loc["ci", "suite_failure_rate_last"].tolist() == [0.5, 0]
    assert rows.loc["ci", "suite_failure_rate_7d"].round(3).tolist() == [0.5, 0.333]
    assert rows.loc["nightly", "suite_cycle_size"].tolist() == [1]
    asked = features.examples(frame).set_index("test_id")
    assert asked.loc["c", "cycle_size"] == 1
    assert asked.loc["b", "cycle_size"] == 2


def test_examples_say_how_much_of_the_test_was_known():
    rows = features.examples(history(*(run(n, "a", n * 60, 0) for n in range(1, 13))))
    assert rows["history_length"].tolist() == ["new", *["short"] * 9, "long", "long"]


def test_every_feature_of_the_spec_is_made_and_nothing_is_missing():
    made = prepare(history(run(1, "a", 0, 1), run(2, "b", 60, 0)))
    assert set(made.views) == {TEST_VIEW, SUITE_VIEW}
    for view in made.views.values():
        assert not view.isna().any().any()


def test_an_empty_history_is_an_error():
    with pytest.raises(DataError, match="empty"):
        prepare(schema.empty())
