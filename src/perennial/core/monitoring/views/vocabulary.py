"""How unusual the words of a text are beside those of other texts, from hashed counts of n-grams.

The mean information of its n-grams, in bits, under their shares in the reference (cross entropy; C. E. Shannon,
"Prediction and entropy of printed English", 1951): another language, domain or way of writing raises it, and an n-gram
that the reference never had costs most. Shares have one n-gram more in each bucket (Laplace). A reference row is
judged by the groups other than its own, and a row of the window by all groups but one, in turn: else one of both would
be compared with more texts, and be less unusual for that alone.
"""

from __future__ import annotations

import numpy as np


def surprises(
    reference: np.ndarray, cluster: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean bits of the n-grams of each row of both, float [n] and [m]; NaN for a text without any.

    Args:
        reference, window: counts, float [n, buckets] and [m, buckets]; NaN where the text is missing.
        cluster: int [n], the group of each reference row, numbered from 0.
    """
    known, seen = np.nan_to_num(reference), np.nan_to_num(window)
    left_out = cluster[np.arange(len(seen)) * len(known) // max(1, len(seen))]
    total = known.sum(axis=0)
    before, after = np.empty(len(known)), np.empty(len(seen))
    for own, others in zip(_rows_of(cluster), _rows_of(left_out, int(cluster.max()) + 1), strict=True):
        apart = total - known[own].sum(axis=0)
        before[own], after[others] = _bits(known[own], apart), _bits(seen[others], apart)
    return before, after


def unseen(reference: np.ndarray, window: np.ndarray) -> float:
    """Return the share of the window's n-grams in buckets that the reference never had; 0 without n-grams."""
    counts = np.nan_to_num(window).sum(axis=0)
    new = np.nan_to_num(reference).sum(axis=0) == 0
    return float(counts[new].sum() / counts.sum()) if counts.sum() else 0.0


def _rows_of(cluster: np.ndarray, count: int | None = None) -> list[np.ndarray]:
    """Return the rows of each cluster."""
    order = np.argsort(cluster, kind="stable")
    ends = np.cumsum(np.bincount(cluster, minlength=count or 0))
    return np.split(order, ends[:-1])


def _bits(counts: np.ndarray, total: np.ndarray) -> np.ndarray:
    costs = -np.log2((total + 1) / (total.sum() + len(total)))
    grams = counts.sum(axis=1)
    return np.asarray(np.divide(counts @ costs, grams, out=np.full(len(counts), np.nan), where=grams > 0))
