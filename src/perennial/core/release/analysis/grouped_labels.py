"""How much the labels of a step vary between groups of requests: users, cycles, slices of time.

Answers of one cycle or user are right or wrong together, so a hundred labels of one cycle are less evidence than a
hundred of as many cycles. The sums of whole groups are compared (linearised ratio, "cluster-robust": K.-Y. Liang,
S. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 1986): what both versions have
in the same slice of time cancels, and what a group adds on one side counts in full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from perennial.core.release.label_counts import TruthCounts
from perennial.core.statistics import Floats

FEWEST = 10
"""Buckets with labels of a truth, on each side, below which its errors may be anything."""
ERRORS = 3.5
"""Standard errors by which a difference must exceed a limit, over the looks of a step."""

Truths = Mapping[str, TruthCounts]


def groupings(candidate: Truths, champion: Truths) -> tuple[str, ...]:
    """Return the ways of grouping that both versions have."""
    sides = ({way for counts in truths.values() for way in counts.groups} for truths in (candidate, champion))
    return tuple(sorted(set.intersection(*sides)))


def sums(truths: Truths, names: tuple[str, ...], way: str, of_loss: bool) -> tuple[Floats, Floats]:
    """Return the sums of each bucket and truth, and the requests in it, [buckets, truths] each."""
    buckets = max((len(truths[name].groups.get(way, ())) for name in names if name in truths), default=0)
    table = np.zeros((buckets, len(names), 4))
    for place, name in enumerate(names):
        rows = truths[name].groups.get(way, ()) if name in truths else ()
        if rows:
            table[:, place] = rows
    requests, wrong, losses, loss = np.moveaxis(table, -1, 0)
    return (loss, losses) if of_loss else (wrong, requests)


def lowest_difference(
    mine: tuple[Floats, Floats],
    theirs: tuple[Floats, Floats],
    shares: Floats,
    factor: float = 1.0,
    most: float = 1.0,
) -> float:
    """Return the mean of the candidate less `factor` times the champion's, less `ERRORS` standard errors.

    Args:
        mine, theirs: of `sums`, of candidate and champion in the same buckets.
        shares: of the truths, [truths].
        most: largest mean that a truth with labels in too few buckets may have at the champion.
    """
    (total, count), (other_total, other_count) = mine, theirs
    known = np.minimum((count > 0).sum(axis=0), (other_count > 0).sum(axis=0)) >= FEWEST
    unknown = float(shares[~known].sum())
    lowest = -factor * most * unknown if unknown > 0 else 0.0
    if not known.any():
        return lowest
    off, mean = _off(total[:, known], count[:, known])
    other_off, other_mean = _off(other_total[:, known], other_count[:, known])
    difference = float((mean - factor * other_mean) @ shares[known])
    by_bucket = (off - factor * other_off) @ shares[known]
    buckets = int(((count + other_count)[:, known] > 0).any(axis=1).sum())
    error = math.sqrt(float((by_bucket**2).sum()) * buckets / max(1, buckets - 1))
    return lowest + difference - ERRORS * error


def spread(total: Floats, count: Floats) -> float:
    """Return by how much the errors of a version vary more between buckets than independent ones; at least 1.

    The design effect (L. Kish, "Survey Sampling", 1965). 1 where fewer than `FEWEST` buckets have labels.
    """
    labelled = count.sum(axis=0)
    buckets = int((count.sum(axis=1) > 0).sum())
    if buckets < FEWEST:
        return 1.0
    off, mean = _off(total, count)
    shares = labelled / labelled.sum()
    independent = float((shares**2 * mean * (1.0 - mean) / np.maximum(labelled, 1e-12)).sum())
    seen = float(((off @ shares) ** 2).sum()) * buckets / (buckets - 1)
    return max(1.0, seen / independent) if independent > 0 else 1.0


def _off(total: Floats, count: Floats) -> tuple[Floats, Floats]:
    """Return by how much each bucket moves the mean of each truth, [buckets, truths], and the means."""
    whole = np.maximum(count.sum(axis=0), 1e-12)
    mean = total.sum(axis=0) / whole
    return (total - mean * count) / whole, mean
