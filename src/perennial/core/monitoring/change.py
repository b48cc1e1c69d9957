"""How a column changed, in words, and since when: for a drift that is proven, never to prove one."""

from __future__ import annotations

import numpy as np
import scipy  # loads its parts when they are first used

from perennial.core.monitoring.drift import MISSING, Bins

FEW_SHARES = 8
"""Values up to which a column is described by their shares, not by its mean."""
LEAST_SHIFT = 0.2
"""Standard deviations below which a change is described by the bin that changed most."""


def shift_of_ranks(difference: float) -> float:
    """Return the shift of a normal distribution, in standard deviations, that moves the mean rank by so much.

    Args:
        difference: of mean ranks between -0.5 and 0.5; half of it and more is no finite shift.
    """
    return float(np.sqrt(2) * scipy.special.ndtri(np.clip(0.5 + difference, 0.0, 1.0)))


def in_words(
    reference: np.ndarray, window: np.ndarray, part: np.ndarray, cut: Bins
) -> tuple[str, np.ndarray, np.ndarray]:
    """Describe the largest change, and return what to watch for its beginning.

    Args:
        reference, window: float [n] and [m]; NaN where missing.
        part: bool [m], rows of the window in which it changed.
        cut: bins of the reference.

    Returns:
        Words, and the watched number of each row of both: 1 in the bin whose share changed most, or the rank.
    """
    old, new = cut.codes(reference), cut.codes(window)
    shares = [np.bincount(codes, minlength=cut.size) / len(codes) for codes in (old, new[part])]
    apart = np.abs(shares[1] - shares[0])
    most = int(apart.argmax())
    known = [values[~np.isnan(values)] for values in (reference, window[part])]
    label = cut.labels[most]
    name = label if label == MISSING else label.partition(" ")[2]
    of_share = (
        f"share of {name} {shares[0][most]:.0%} -> {shares[1][most]:.0%}",
        (old == most).astype(float),
        (new == most).astype(float),
    )
    if (
        min(len(values) for values in known) == 0
        or most == cut.size - 1
        or np.unique(known[0]).size <= FEW_SHARES
    ):
        return of_share
    pooled = np.r_[reference, window]
    rank = scipy.stats.rankdata(pooled, nan_policy="omit") / np.count_nonzero(~np.isnan(pooled)) - 0.5
    rank = np.where(np.isnan(pooled), 0.0, rank)
    before, after = rank[: len(reference)], rank[len(reference) :]
    shift = shift_of_ranks(
        float(after[part & ~np.isnan(window)].mean() - before[~np.isnan(reference)].mean())
    )
    if np.isfinite(shift) and abs(shift) >= LEAST_SHIFT:
        return f"shift {shift:+.1f} sd", before, after
    return of_share


def begins(reference: np.ndarray, window: np.ndarray, block: np.ndarray) -> int | None:
    """Return the first row of the window from which its mean differs most from all before; None: before the window.

    The split with the largest standardised difference (cumulative sum statistic, Page 1955, "A test for a change in a
    parameter occurring at an unknown point").

    Args:
        reference, window: float [n] and [m], in time order.
        block: int [m], the block of each row of the window: the change is said to its block.
    """
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    total = len(reference) + len(window)
    before = len(reference) + starts
    sums = reference.sum() + np.r_[0.0, np.cumsum(window)][starts]
    everything = reference.sum() + window.sum()
    gap = (everything - sums) / (total - before) - sums / before
    first = int(np.argmax(np.abs(gap) * np.sqrt(before * (total - before) / total)))
    return int(starts[first]) if first else None
