"""Mean of values that come in groups, with a standard error by batch means.

Neighbouring values are not independent, so the error comes from the means of a few long batches in order of time
(B. Schmeiser, "Batch size effects in the analysis of simulation output", Operations Research 1982).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from perennial.core.monitoring.dependence import clusters

BATCHES = 20
FEWEST_BATCHES = 5
"""Fewer batches tell too little of how they differ for any verdict."""


class BatchMean(NamedTuple):
    """Mean of values with its standard error."""

    value: float
    error: float
    batches: int
    """Number of batches that the error is from."""


def batch_mean(values: np.ndarray, group: np.ndarray) -> BatchMean | None:
    """Return the mean of values in order of time.

    A batch is made of whole groups, since the values of a group (the tests of a CI cycle, the rows of a request) are
    alike: batches that end within one would be alike too, and the error too small.

    Args:
        values: float [n], in time order.
        group: [n], the group of each value.

    Returns:
        None below two values per batch, or where the groups make fewer than `FEWEST_BATCHES` batches.
    """
    if len(values) < 2 * BATCHES:
        return None
    cluster = clusters(group)
    order = np.argsort(cluster, kind="stable")  # groups as they begin, each in one piece
    begins = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    wanted = np.arange(1, BATCHES) * len(values) / BATCHES
    at = np.searchsorted(begins, wanted)
    batches = np.split(values.astype(float)[order], np.unique(begins[at[at < len(begins)]]))
    if len(batches) < FEWEST_BATCHES:
        return None
    value = float(values.mean())
    off = [float(batch.sum()) - len(batch) * value for batch in batches]
    count = len(batches)
    error = math.sqrt(sum(amount**2 for amount in off) * count / (count - 1)) / len(values)
    return BatchMean(value, error, count)
