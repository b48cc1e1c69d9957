"""Which predictions enter the detector of harm, and when: in order of their time, as soon as they are mature.

A label may come late, and wrong answers are often found sooner than right ones. So a prediction does not enter when its
label comes, but when all before it have theirs too (all but `MISSING`), and at the latest after the longest time that a
label needs. What has no label by then never enters.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np

from perennial.core.monitoring.batches import OpenBatch, batch_ends
from perennial.core.monitoring.harm_detector import DetectorState, with_batch

UNKNOWN_DELAY = timedelta(days=1)
"""Longest time until a label comes where the spec does not say it."""
SETTLED = timedelta(seconds=20)
"""Younger predictions may still be on their way into the log."""
MISSING = 0.01
"""Share of the predictions without a label that those after them do not wait for."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def with_predictions(
    state: DetectorState,
    at_us: np.ndarray,
    cluster: np.ndarray,
    value: np.ndarray,
    now: datetime,
    delay: timedelta | None,
    tolerated: float,
    budget: float,
) -> DetectorState:
    """Return the state after all predictions that are mature; repeated with the same rows, it changes nothing.

    Args:
        at_us: int64 [n], ascending: microseconds since 1970 of each prediction of the version.
        cluster: [n], equal for the rows of a request.
        value: float [n], higher is better; NaN without a label.
        delay: longest time until a label comes.
    """
    fresh = at_us >= microseconds(state.until)
    at_us, cluster, value = at_us[fresh], cluster[fresh], value[fresh]
    old = microseconds(now - max(delay or UNKNOWN_DELAY, SETTLED))
    count, until = _mature(at_us, value, old, microseconds(now - SETTLED))
    if count and not state.seen:
        begins = _time(at_us[0])  # time without traffic accrues nothing
        state = state.model_copy(update={"began": begins, "reached": begins})
    state = _with_rows(state, at_us[:count], cluster[:count], value[:count], tolerated, budget)
    known = int(np.isfinite(value[:count]).sum())
    return state.model_copy(
        update={
            "until": max(state.until, _time(until)),
            "seen": state.seen + count,
            "labelled": state.labelled + known,
        }
    )


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def _mature(at_us: np.ndarray, value: np.ndarray, old: int, settled: int) -> tuple[int, int]:
    """Return how many of the first rows are mature, and the time before which all are; no time is cut in two."""
    count = int(np.searchsorted(at_us, old))
    later = slice(count, int(np.searchsorted(at_us, settled)))
    known = np.isfinite(value[later])
    missing, rows = np.cumsum(~known), np.arange(1, len(known) + 1)
    newest = round(1 / MISSING)  # where the labels end, no more of them are taken as missing
    recent = missing - np.r_[np.zeros(min(newest, len(known)), dtype=int), missing[:-newest]]
    enough = (missing <= MISSING * rows) & (recent <= 1)
    apart = np.diff(at_us[later.start : later.stop + 1], append=np.iinfo(np.int64).max)[: len(known)] > 0
    ends = np.flatnonzero(enough & known & apart)
    if len(ends) == 0:
        return count, old
    end = count + int(ends[-1]) + 1
    return end, int(at_us[end]) if end < len(at_us) else int(at_us[end - 1]) + 1


def _with_rows(
    state: DetectorState,
    at_us: np.ndarray,
    cluster: np.ndarray,
    value: np.ndarray,
    tolerated: float,
    budget: float,
) -> DetectorState:
    """Fill batches with whole clusters, in the order in which these begin."""
    known = np.isfinite(value)
    at_us, cluster, value = at_us[known], cluster[known], value[known]
    if not len(value):
        return state
    _, first, places = np.unique(cluster, return_index=True, return_inverse=True)
    order = np.argsort(first[places], kind="stable")
    at_us, value, begun = at_us[order], value[order], state.open
    ends = batch_ends(first[places][order], state.reference.size, begun.rows)
    for begin, end in itertools.pairwise([0, *ends.tolist()]):
        rows = begun.rows + end - begin
        mean = (begun.total + float(value[begin:end].sum())) / rows
        begins = begun.begins or _time(at_us[begin])
        state = with_batch(state, mean, rows, begins, _time(at_us[begin:end].max()), tolerated, budget)
        begun = OpenBatch()
    rest = int(ends[-1]) if len(ends) else 0
    if rest < len(value):
        begun = OpenBatch(
            rows=begun.rows + len(value) - rest,
            total=begun.total + float(value[rest:].sum()),
            begins=begun.begins or _time(at_us[rest]),
        )
    return state.model_copy(update={"open": begun})


def _time(at_us: int) -> datetime:
    return EPOCH + int(at_us) * MICROSECOND
