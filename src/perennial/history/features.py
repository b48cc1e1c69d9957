"""Features of tests and suites from a CI history, with the time at which each value is known.

A history gives two kinds of rows, which only a point-in-time join combines:

- **state rows** (`test_features`, `suite_features`): values known after a cycle, with the time at which the
  *whole* cycle is known;
- **examples**: a row per scheduled test, with the time at which its cycle *starts*.

For each example the join takes the newest state row that is not later. A cycle is known at least a millisecond
after its start, so an example never sees its own cycle. A cycle that starts before its predecessor has ended
does not see the predecessor, because its results are not known yet.

The number of a cycle defines its order. If clocks disagree (a cycle starts before its predecessor), its start
is raised to the latest start so far, and its end above the end of the predecessor. Both times then increase
with the number, so no value of a cycle reaches an example of the same or an earlier cycle, and the join is
unambiguous.

Times are whole milliseconds (starts rounded down, ends up), which every store preserves.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

RECENT_CYCLES = 5
"""Number of latest cycles of a test in `execution_time_ms` and `recent_failures`."""
SHORT_HISTORY = 10
"""Earlier cycles below which the history of a test is called short."""

TICK = pd.Timedelta(milliseconds=1)


def test_features(history: pd.DataFrame) -> pd.DataFrame:
    """Return a state row per cycle and executed test, with the values known after the cycle.

    A test in several suites has a single state, from its executions in all of them. Rates count executions
    where stated, else cycles; a cycle has failed if any of its runs failed (`collapse`).

    Args:
        history: executions, in the columns of `perennial.history.schema`.

    Returns:
        Rows by event_timestamp, then test_id. test_id and suite (str); event_timestamp and created_timestamp
        (datetime64[ns, UTC], both the end of the cycle); and as float64, never NaN:
        execution_time_ms (mean of the last 5 cycles), pass_rate_7d and pass_rate_30d (passed share of the
        executions in the days that end with this cycle), failure_rate (over all cycles, by Laplace's rule of
        succession: (failed + 1) / (run + 2), so that a single failed cycle is no certainty), failure_count and
        run_count (cycles), recent_failures (failed cycles of the last 5), last_execution_status
        (1 failed, 0 passed), runs_since_failure (cycles since the last failed cycle; all cycles if none
        failed), avg_retry_count (runs beyond the first, per cycle), flakiness_score (changes of verdict per
        pair of successive executions; 0 after a single execution), last_run_at (unix seconds of the cycle's end).
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


# pytest must not collect it as a test, in spite of its name.
test_features.__test__ = False  # type: ignore[attr-defined]


def suite_features(history: pd.DataFrame) -> pd.DataFrame:
    """Return a state row per cycle and executed suite, with the values known after the cycle.

    Returns:
        Rows by event_timestamp, then suite. suite (str); event_timestamp and created_timestamp as in
        `test_features`; and as float64, never NaN: suite_failure_rate_last (failed share of the tests of this
        cycle), suite_failure_rate_7d (failed share of all tests of the cycles in the 7 days that end with
        this cycle), suite_cycle_size (tests in this cycle).
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
    """Return an example per cycle, suite and test: does this test fail in the cycle that starts now?

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
    """Merge the executions of a test in a cycle and suite, which are retries, into a row.

    The row has failed if **any** run failed: a failed run has interrupted somebody, even if a retry passes.

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
    """Return start and end of each cycle (index: cycle, rising) by the rules of the module docstring.

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
    """Merge the suites of a test in the rows of `collapse`; sort by test, then cycle."""
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
    """Return for each row the position of the first row of its group; groups are contiguous."""
    starts = np.ones(len(code), dtype=bool)
    starts[1:] = code[1:] != code[:-1]
    return np.maximum.accumulate(np.where(starts, np.arange(len(code)), 0))


def _sums(values: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Return for each i the sum of `values` from `start[i]` to `i`, both included.

    Values must be whole numbers, so that the running total is exact: rounding would let rows of a test, also
    future rows, change the last bits of the features of another test.
    """
    total = np.concatenate([[0.0], np.cumsum(values)])
    return total[1:] - total[start]


def _window_start(known_at: pd.Series, first: np.ndarray, code: np.ndarray, days: int) -> np.ndarray:
    """Return for each row the first row of its group that is less than `days` older (times rise in a group)."""
    width = days * 86_400_000
    millis = known_at.to_numpy("datetime64[ms]").astype("int64")
    millis = millis - millis.min() if len(millis) else millis
    # A single axis for all groups: each is shifted by more than a window past the end of the group before.
    key = millis + code.astype("int64") * (int(millis.max(initial=0)) + width + 1)
    return np.maximum(np.searchsorted(key, key - width, side="right"), first)


def _unix_seconds(times: pd.Series) -> np.ndarray:
    return times.to_numpy("datetime64[ms]").astype("int64") / 1000.0
