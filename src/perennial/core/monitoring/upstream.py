"""Faults of the source that look like drift: another unit, a constant column, missing values, repeated rows, silence.

They are judged on the window alone and its reference, before anyone thinks of a retraining: a model that learns from
a broken source learns the fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
from scipy.special import stdtrit

from perennial.core.monitoring.batch_means import batch_mean
from perennial.core.monitoring.budget.certain import log_tail
from perennial.core.monitoring.dependence import JOINED, Clusters
from perennial.core.monitoring.drift import Bins, ColumnDrift, counts, psi, shares

UNITS = (60, 1000, 3600, 100, 24, 1024, 2.54, 12, 0.4536, 1.609)
"""Ratios of usual units: seconds and minutes, metres and millimetres, centimetres and inches, ..."""
NEAR = 0.1
"""Relative difference of a ratio of medians from that of units."""
OTHER_UNIT = 1.5
"""Least ratio of medians that is called another unit."""
FEW_VALUES = 10
"""Fewer different values in the reference say nothing of a unit, and little of a constant."""
ERRS = 0.01
"""Share of looks at features without a fault that call any of them newly missing."""
DAYS_SEEN = timedelta(days=2)
"""Shorter windows do not know the pauses of a night."""


def faults(
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    drifts: Sequence[ColumnDrift],
    bins: int,
    same: float,
) -> tuple[str, ...]:
    """Return a sentence per fault of a column whose drift is proven.

    Args:
        columns: name -> values of the reference, float [n], and of the window, float [m]; NaN where missing.
        drifts: of the same columns.
        bins: number of bins of a PSI.
        same: PSI below which two distributions are alike.
    """
    moved = {drift.column for drift in drifts if drift.is_proven}
    texts = (_fault(name, *columns[name], bins, same) for name in columns if name in moved)
    return tuple(text for text in texts if text)


def _fault(name: str, reference: np.ndarray, window: np.ndarray, bins: int, same: float) -> str:
    old, new = (values[~np.isnan(values)] for values in (reference, window))
    if new.size == 0 or np.unique(old).size < FEW_VALUES:
        return ""
    if np.unique(new).size == 1:
        return f"{name} is constant: {new[0]:g} in every row"
    spread = [float(np.subtract(*np.quantile(values, [0.75, 0.25]))) for values in (old, new)]
    if min(spread) <= 0:
        return ""
    ratio = spread[1] / spread[0]
    if max(ratio, 1 / ratio) < OTHER_UNIT:
        return ""
    cut = Bins.of(old, bins)
    known, seen, again = (shares(counts(cut.codes(values), cut.size)) for values in (old, new, new / ratio))
    if psi(known, again) >= same or psi(known, seen) < same:
        return ""
    ways = [way for unit in UNITS for way in (unit, 1 / unit)]
    unit = next((f"; {way:.4g} is a ratio of units" for way in ways if abs(ratio / way - 1) < NEAR), "")
    return f"{name} is {ratio:.3g} times as large, distributed as before{unit}"


def newly_missing(
    columns: Mapping[str, tuple[np.ndarray, np.ndarray]],
    group: np.ndarray,
    asked: np.ndarray,
    more: float,
    certain: float | None = None,
) -> tuple[str, ...]:
    """Return a sentence per feature whose share of missing values has grown by `more` at least, and provably.

    Values of a request are missing together, and those of its neighbours often too, so the error of a share is that of
    runs of whole clusters (`batch_means`); the level is divided over the features.

    Args:
        columns: name -> values of the reference, float [n], and of the window, float [m]; NaN where missing.
        group, asked: [n] and [m], the cluster of each row.
        certain: level at which the bound of a permutation test of blocks (`certain`) must prove it, too.
    """
    texts = []
    for name, pair in columns.items():
        before, after = (np.isnan(values).astype(float) for values in pair)
        if after.mean() < before.mean() + more:
            continue
        later, earlier = batch_mean(after, asked), batch_mean(before, group)
        if later is None or earlier is None:
            continue
        t = float(stdtrit(min(later.batches, earlier.batches) - 1, 1 - ERRS / len(columns)))
        if later.value - earlier.value <= t * math.hypot(later.error, earlier.error):
            continue
        if certain is not None and _missing_p(before, after, group, asked) * len(columns) > certain:
            continue
        texts.append(f"{name} is missing in {after.mean():.0%} of the rows, {before.mean():.0%} before")
    return tuple(texts)


def _missing_p(before: np.ndarray, after: np.ndarray, group: np.ndarray, asked: np.ndarray) -> float:
    """Return a bound of the chance of so many missing values in the window, had blocks come in any order."""
    blocks = Clusters.of(group, asked).blocks(JOINED)
    rows = np.concatenate([np.bincount(block) for block in blocks])
    sums = np.concatenate([np.bincount(*pair) for pair in zip(blocks, (before, after), strict=True)])
    later = len(rows) - int(blocks[0].max()) - 1
    return math.exp(log_tail(sums - rows * (sums.sum() / rows.sum()), later))


def repeated(reference: np.ndarray, window: np.ndarray, more: float) -> str:
    """Return a sentence if the window repeats its rows more than as many of the reference do; else none.

    Args:
        reference, window: float [n, columns] and [m, columns].
        more: least growth of the share of such rows.
    """
    size = min(len(reference), len(window))
    shown = [1 - len(np.unique(rows[-size:], axis=0)) / size for rows in (reference, window)]
    if shown[1] < shown[0] + more:
        return ""
    return f"{shown[1]:.0%} of the rows repeat another one exactly, {shown[0]:.0%} before"


def silent(at: Sequence[datetime], now: datetime, every: timedelta, times_longest: float) -> str:
    """Return a sentence if no prediction came for far longer than ever in the window, and for several looks.

    Args:
        at: times of the window's rows, rising.
        every: time between two looks.
        times_longest: multiple of the longest pause between two rows that is no pause any more.
    """
    times = np.array([moment.timestamp() for moment in at])
    pause = now.timestamp() - times[-1]
    longest = float(np.diff(times).max(initial=0.0))
    if times[-1] - times[0] < DAYS_SEEN.total_seconds():
        return ""
    if pause <= max(times_longest * longest, 2 * every.total_seconds()):
        return ""
    return f"no prediction for {pause / 3600:.1f} h, at most {longest / 3600:.2g} h between two before"
