"""Batches of whole clusters, whose means a sequential test may treat as nearly independent.

Answers of a cluster (the tests of a CI cycle, the rows of a request) are right or wrong together. A batch is made of
whole clusters in time order and has at least as many rows as a typical cluster of the reference, so that its mean
varies as much as clusters do, whatever the dependence within them (batch means: Schmeiser 1982).
"""

from __future__ import annotations

import numpy as np
from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.monitoring.dependence import clusters

FEWEST_ROWS, MOST_ROWS = 50, 200
FEWEST_BATCHES = 5
"""A reference of fewer batches tells too little of how they differ."""
WANTED_BATCHES = 10
MOST_WEIGHT = 4.0


class BatchedReference(Frozen):
    """Quality of a version on its reference rows, by batches."""

    mean: float = Field(description="over all rows")
    variance: float = Field(ge=0, description="of weight times deviation from the mean, of a batch")
    batches: int = Field(ge=FEWEST_BATCHES)
    weight: float = Field(gt=0, description="sum of the weights of the batches")
    size: int = Field(ge=1, description="least rows of a batch, here and in live traffic")
    is_share: bool = Field(True, description="values lie in [0, 1]; else they are losses, negated")

    @classmethod
    def of(cls, values: np.ndarray, group: np.ndarray, is_share: bool = True) -> BatchedReference | None:
        """Return the figures of reference rows; None where they make fewer than `FEWEST_BATCHES` batches.

        Args:
            values: float [n], higher is better: how right each answer is, or its negated loss.
            group: [n], the cluster of each row.
        """
        if len(values) == 0:
            return None
        cluster = clusters(group)
        order = np.argsort(cluster, kind="stable")  # clusters as they begin, each in one piece
        size = batch_size(np.bincount(cluster))
        ends = batch_ends(cluster[order], size)
        if len(ends) < FEWEST_BATCHES:
            return None
        sums = np.add.reduceat(values[order].astype(float)[: ends[-1]], np.r_[0, ends[:-1]])
        rows = np.diff(ends, prepend=0)
        weight = batch_weight(rows, size)
        mean = float((weight * sums / rows).sum() / weight.sum())
        off = weight * (sums / rows - mean)
        return cls(
            mean=mean,
            variance=float((off**2).sum() / (len(ends) - 1)),
            batches=len(ends),
            weight=float(weight.sum()),
            size=size,
            is_share=is_share,
        )


class OpenBatch(Frozen):
    """Rows that do not fill a batch yet."""

    rows: int = Field(0, ge=0)
    total: float = 0.0
    begins: AwareDatetime | None = None


def batch_size(sizes: np.ndarray) -> int:
    """Return the least rows of a batch, from the rows of each cluster, int [clusters].

    A typical cluster is that of a row drawn at random; small data makes smaller batches, so that there are some.
    """
    rows = int(sizes.sum())
    typical = float((sizes.astype(float) ** 2).sum() / rows)
    return max(1, min(round(max(typical, FEWEST_ROWS)), MOST_ROWS, rows // WANTED_BATCHES))


def batch_weight(rows: np.ndarray | int, size: int) -> np.ndarray:
    """Return how much a batch counts: by its rows, so that all rows count alike, but no cluster for too many."""
    return np.minimum(np.asarray(rows) / size, MOST_WEIGHT)


def batch_ends(cluster: np.ndarray, size: int, begun: int = 0) -> np.ndarray:
    """Return where each full batch ends, int64 [batches]; rows after the last end fill none.

    Args:
        cluster: [n], equal within a cluster, which lies in one piece.
        begun: rows that the first batch has already.
    """
    ends = np.flatnonzero(np.r_[cluster[1:] != cluster[:-1], True]) + 1 if len(cluster) else np.empty(0, int)
    full: list[int] = []
    begin = -begun
    while (at := int(np.searchsorted(ends, begin + size))) < len(ends):
        begin = int(ends[at])
        full.append(begin)
    return np.asarray(full, dtype=np.int64)
