"""What was known of a test and of its suite, and when: the only maker of model features from a CI history.

Two kinds of rows come out of a history, and they meet only through a point-in-time join:

- **state rows** (`test_features`, `suite_features`): what is known after a cycle, stamped with the moment
  at which the *whole* cycle was known, never earlier;
- **examples**: one question per scheduled test, stamped with the moment at which its cycle *started*.

The join takes, for each example, the newest state row that is not younger than it. A cycle is known at least
one millisecond after its start, so no cycle ever sees itself, not even one of a single execution. A cycle
that starts while the one before it still runs does not see that one either: its results were not in yet.

Cycles happen in the order of their numbers. Where clocks disagree (a cycle starts before the one with the
number below it), its start is lifted to the latest start so far, and its end above the end before it. Both
stamps then rise with the number, so nothing in a cycle can reach an example of the same or an earlier one,
and no two cycles are known at the same moment, which would leave the join a choice.

Stamps are whole milliseconds (starts rounded down, ends up): every store that they pass through keeps those.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

RECENT_CYCLES = 5
"""Latest cycles of a test that `execution_time_ms` and `recent_failures` look at."""
SHORT_HISTORY = 10
"""Earlier cycles below which the history of a test is called short."""

TICK = pd.Timedelta(milliseconds=1)


def test_features(history: pd.DataFrame) -> pd.DataFrame:
    """One state row per (cycle, test that ran): what is known of the test once that cycle is known.

    A test that belongs to several suites has one state, from its executions in all of them. Rates count
    executions where they say so, else cycles; a cycle is failed when any of its runs failed (`collapse`).

    Args:
        history: executions, in the columns of `perennial.history.schema`.

    Returns:
        Rows by event_timestamp, then test_id. test_id and suite (str); event_timestamp and created_timestamp
        (datetime64[ns, UTC], both the end of the cycle); and as float64, never NaN:
        execution_time_ms (mean of the last 5 cycles), pass_rate_7d and pass_rate_30d (passed share of the
        executions in the days that end with this cycle), failure_rate (over all cycles, by Laplace's rule of
        succession: (failed + 1) / (run + 2), so that one red cycle is no certainty), failure_count and
        run_count (cycles), recent_failures (failed ones of the last 5 cycles), last_execution_status
        (1 failed, 0 passed), runs_since_failure (cycles since the last failed one; all of them where none
        failed), avg_retry_count (runs beyond the first, per cycle), flakiness_score (changes of verdict per
        pair of successive executions; 0 after a single one), last_run_at (unix seconds of the cycle's end).
    """
    rows = _states(history)
    code = rows["test_id"].factorize()[0]
    at = np.arange(len(rows))
    first = _first_of_group(code)
    cycles = at - first + 1.0
    runs, failed_runs, failed = (rows[name].to_numpy("float64") for name in ("runs", "failed_runs", "failed"))
    recent = np.maximum(first, at - RECENT_CYCLES + 1)
    week, month = (_window_start(rows["known_at"], first, code, days) for days in (7, 30))
    last_failed = np.maximum.accumulate(np.where(failed > 0, at, -1))
    failure_count = _sums(failed, first)
    executions = _sums(runs, first)
    features = pd.DataFrame(
        {
            "test_id": rows["test_id"],
            "suite": rows["suite"],
            "event_timestamp": rows["known_at"],
            "created_timestamp": rows["known_at"],
            "execution_time_ms": _sums(rows["duration_ms"].to_numpy("float64"), recent) / (at - recent + 1),
            "pass_rate_7d": 1.0 - _sums(failed_runs, week) / _sums(runs, week),
            "pass_rate_30d": 1.0 - _sums(failed_runs, month) / _sums(runs, month),
            "failure_rate": (failure_count + 1.0) / (cycles + 2.0),
            "failure_count": failure_count,
            "run_count": cycles,
            "recent_failures": _sums(failed, recent),
            "last_execution_status": failed,
            "runs_since_failure": np.where(last_failed >= first, at - last_failed, cycles).astype("float64"),
            "avg_retry_count": (executions - cycles) / cycles,
            "flakiness_score": _sums(rows["flips"].to_numpy("float64"), first)
            / np.maximum(executions - 1.0, 1.0),
            "last_run_at": _unix_seconds(rows["known_at"]),
        }
    )
    return features.sort_values(["event_timestamp", "test_id"], ignore_index=True)


# It is no test of ours, whatever its name looks like to pytest.
test_features.__test__ = False  # type: ignore[attr-defined]


def suite_features(history: pd.DataFrame) -> pd.DataFrame:
    """One state row per (cycle, suite that ran): what is known of the suite once that cycle is known.

    Returns:
        Rows by event_timestamp, then suite. suite (str); event_timestamp and created_timestamp as in
        `test_features`; and as float64, never NaN: suite_failure_rate_last (failed share of the tests of this
        cycle), suite_failure_rate_7d (failed share of all tests of the cycles in the 7 days that end with
        this one), suite_cycle_size (tests in this cycle).
    """
    rows = (
        collapse(history)
        .groupby(["suite", "cycle"], sort=True)
        .agg(known_at=("known_at", "first"), tests=("failed", "size"), failed=("failed", "sum"))
        .reset_index()
    )
    code = rows["suite"].factorize()[0]
    week = _window_start(rows["known_at"], _first_of_group(code), code, days=7)
    tests, failed = rows["tests"].to_numpy("float64"), rows["failed"].to_numpy("float64")
    features = pd.DataFrame(
        {
            "suite": rows["suite"],
            "event_timestamp": rows["known_at"],
            "created_timestamp": rows["known_at"],
            "suite_failure_rate_last": failed / tests,
            "suite_failure_rate_7d": _sums(failed, week) / _sums(tests, week),
            "suite_cycle_size": tests,
        }
    )
    return features.sort_values(["event_timestamp", "suite"], ignore_index=True)


def examples(history: pd.DataFrame) -> pd.DataFrame:
    """One question per (cycle, suite, test): will this test fail in the cycle that starts now?

    Returns:
        Rows by cycle, then suite, then test_id. test_id, suite (str); cycle (int64); event_timestamp and
        requested_at (datetime64[ns, UTC], both the start of the whole cycle); cycle_size (int64, tests of the
        suite in the cycle, known when it is scheduled); failed (int8, the target: any run failed);
        history_length (str: `new` when the test ran in no earlier cycle, `short` below 10, else `long`).
    """
    rows = collapse(history).sort_values(["cycle", "suite", "test_id"], ignore_index=True)
    earlier = rows.groupby(["suite", "test_id"]).cumcount().to_numpy()
    length = np.select([earlier == 0, earlier < SHORT_HISTORY], ["new", "short"], "long")
    return pd.DataFrame(
        {
            "test_id": rows["test_id"],
            "suite": rows["suite"],
            "cycle": rows["cycle"],
            "event_timestamp": rows["started_at"],
            "requested_at": rows["started_at"],
            "cycle_size": rows.groupby(["cycle", "suite"])["test_id"].transform("size").astype("int64"),
            "failed": rows["failed"].astype("int8"),
            "history_length": length.astype(object),
        }
    )


def collapse(history: pd.DataFrame) -> pd.DataFrame:
    """One row per (cycle, test, suite): several executions of a test in one cycle are retries.

    A cycle counts as failed when **any** run failed: a red run has already interrupted somebody, also when a
    repetition turns it green.

    Returns:
        cycle, test_id, suite; runs and failed_runs (int64); failed (bool); flips (changes of verdict from
        the execution before, across cycles); duration_ms (mean, in whole ms); started_at and known_at of the
        whole cycle.
    """
    ordered = history.sort_values(["test_id", "cycle", "started_at", "execution_id"], ignore_index=True)
    same_test = ordered["test_id"].eq(ordered["test_id"].shift())
    flips = same_test & ordered["verdict"].ne(ordered["verdict"].shift())
    rows = (
        ordered.assign(flips=flips.astype("int64"), verdict=ordered["verdict"].astype("int64"))
        .groupby(["cycle", "test_id", "suite"], sort=True)
        .agg(
            runs=("verdict", "size"),
            failed_runs=("verdict", "sum"),
            flips=("flips", "sum"),
            duration_ms=("duration_ms", "mean"),
        )
        .reset_index()
    )
    rows["failed"] = rows["failed_runs"] > 0
    rows["duration_ms"] = rows["duration_ms"].round()
    return rows.join(cycle_times(history), on="cycle")


def cycle_times(history: pd.DataFrame) -> pd.DataFrame:
    """Start and end of each cycle (index: cycle, rising); see the top of this module for the rules.

    Returns:
        started_at (earliest start, rising) and known_at (latest start plus duration, strictly rising and
        later than started_at), datetime64[ns, UTC] in whole milliseconds.
    """
    ends = history["started_at"] + pd.to_timedelta(history["duration_ms"], unit="ms")
    times = pd.DataFrame({"cycle": history["cycle"], "start": history["started_at"], "end": ends})
    times = times.groupby("cycle", sort=True).agg({"start": "min", "end": "max"})
    started = times["start"].dt.floor("ms").cummax()
    ended = times["end"].dt.ceil("ms")
    ended = ended.where(ended > started, started + TICK)
    ticks = pd.to_timedelta(np.arange(len(times)), unit="ms")
    return pd.DataFrame({"started_at": started, "known_at": (ended - ticks).cummax() + ticks})


def _states(history: pd.DataFrame) -> pd.DataFrame:
    """`collapse` with the suites of a test merged, by test, then cycle."""
    rows = collapse(history)
    sums = {name: (name, "sum") for name in ("runs", "failed_runs", "flips")}
    merged = rows.groupby(["test_id", "cycle"], sort=True).agg(
        suite=("suite", "last"),
        **sums,
        failed=("failed", "max"),
        duration_ms=("duration_ms", "mean"),
        known_at=("known_at", "first"),
    )
    return merged.assign(duration_ms=merged["duration_ms"].round()).reset_index()


def _first_of_group(code: np.ndarray) -> np.ndarray:
    """For each row the position of the first row of its group; groups lie together."""
    starts = np.ones(len(code), dtype=bool)
    starts[1:] = code[1:] != code[:-1]
    return np.maximum.accumulate(np.where(starts, np.arange(len(code)), 0))


def _sums(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Sum of `values` from `start[i]` to `i`, both included, for each i.

    Values are whole numbers, so the running total is exact: else rows of one test would move the last bits of
    another's features, and the future would shine through.
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[1:] - total[start]


def _window_start(known_at: pd.Series, first: np.ndarray, code: np.ndarray, days: int) -> np.ndarray:
    """For each row the first one of its group that is less than `days` older (times rise in a group)."""
    width = days * 86_400_000
    millis = known_at.to_numpy("datetime64[ms]").astype("int64")
    millis = millis - millis.min() if len(millis) else millis
    # One axis for all groups, each shifted by more than a window past the end of the one before.
    key = millis + code.astype("int64") * (int(millis.max(initial=0)) + width + 1)
    return np.maximum(np.searchsorted(key, key - width, side="right"), first)


def _unix_seconds(times: pd.Series) -> np.ndarray:
    return times.to_numpy("datetime64[ms]").astype("int64") / 1000.0
