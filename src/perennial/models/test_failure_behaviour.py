"""Behavioural tests that every version of `test_failure_predictor` must pass."""

from __future__ import annotations

from perennial.core.evaluation.checks import Case

STEADY = {
    "execution_time_ms": 1000.0,
    "pass_rate_7d": 1.0,
    "pass_rate_30d": 1.0,
    "failure_rate": 1 / 52,
    "failure_count": 0.0,
    "run_count": 50.0,
    "recent_failures": 0.0,
    "last_execution_status": 0.0,
    "runs_since_failure": 50.0,
    "avg_retry_count": 0.0,
    "flakiness_score": 0.0,
    "suite_failure_rate_last": 0.2,
    "suite_failure_rate_7d": 0.2,
    "suite_cycle_size": 40.0,
    "hours_since_last_run": 24.0,
    "cycle_size": 40.0,
    "weekday": 1.0,
}
"""A test that passed its last fifty runs."""
FAILING = STEADY | {
    "pass_rate_7d": 0.0,
    "pass_rate_30d": 0.8,
    "failure_rate": 6 / 52,
    "failure_count": 5.0,
    "recent_failures": 5.0,
    "last_execution_status": 1.0,
    "runs_since_failure": 0.0,
    "flakiness_score": 0.02,
}
"""The same test after five failures in a row."""
BROKEN = FAILING | {
    "pass_rate_30d": 0.0,
    "failure_rate": 51 / 52,
    "failure_count": 50.0,
    "flakiness_score": 0.0,
}
"""A test that never passed."""

CASES = (
    Case("failed the last five runs, above passed the last fifty", "minimum", STEADY, FAILING),
    Case("never passed, above never failed", "minimum", STEADY, BROKEN),
    Case(
        "a worse record of the past month and of all time",
        "direction",
        STEADY,
        STEADY
        | {"pass_rate_30d": 0.5, "failure_rate": 0.5, "failure_count": 25.0, "runs_since_failure": 8.0},
    ),
    Case(
        "a test that takes a millisecond longer",
        "invariance",
        STEADY,
        STEADY | {"execution_time_ms": 1001.0},
        tolerance=0.02,
    ),
)
