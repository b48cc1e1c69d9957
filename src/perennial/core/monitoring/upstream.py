"""Faults of the source that look like drift: another unit, a constant column, missing values, repeated rows, silence.

They are judged on the window alone and its reference, before anyone thinks of a retraining: a model that learns from
a broken source learns the fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from perennial.core.monitoring.drift import Bins, ColumnDrift, counts, psi, shares

UNITS = (60, 1000, 3600, 100, 24, 1024, 2.54, 12, 0.4536, 1.609)
"""Ratios of usual units: seconds and minutes, metres and millimetres, centimetres and inches, ..."""
NEAR = 0.1
"""Relative difference of a ratio of medians from that of units."""
OTHER_UNIT = 1.5
"""Least ratio of medians that is called another unit."""
FEW_VALUES = 10
"""Fewer different values in the reference say nothing of a unit, and little of a constant."""
MORE_MISSING = 0.1
MORE_REPEATED = 0.3
SILENT = 10.0
"""Times the longest pause between two rows of the window."""
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
    absent = [float(np.isnan(values).mean()) for values in (reference, window)]
    if absent[1] >= absent[0] + MORE_MISSING:
        return f"{name} is missing in {absent[1]:.0%} of the rows, {absent[0]:.0%} before"
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


def repeated(reference: np.ndarray, window: np.ndarray) -> str:
    """Return a sentence if the window repeats its rows far more than as many of the reference do; else none.

    Args:
        reference, window: float [n, columns] and [m, columns].
    """
    size = min(len(reference), len(window))
    shown = [1 - len(np.unique(rows[-size:], axis=0)) / size for rows in (reference, window)]
    if shown[1] < shown[0] + MORE_REPEATED:
        return ""
    return f"{shown[1]:.0%} of the rows repeat another one exactly, {shown[0]:.0%} before"


def silent(at: Sequence[datetime], now: datetime, every: timedelta) -> str:
    """Return a sentence if no prediction came for far longer than ever in the window, and for several looks.

    Args:
        at: times of the window's rows, rising.
        every: time between two looks.
    """
    times = np.array([moment.timestamp() for moment in at])
    pause = now.timestamp() - times[-1]
    longest = float(np.diff(times).max(initial=0.0))
    if times[-1] - times[0] < DAYS_SEEN.total_seconds():
        return ""
    if pause <= max(SILENT * longest, 2 * every.total_seconds()):
        return ""
    return f"no prediction for {pause / 3600:.1f} h, at most {longest / 3600:.2g} h between two before"
