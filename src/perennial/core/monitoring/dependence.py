"""Blocks of rows that may change places: neighbouring clusters joined until blocks are independent of each other.

Rows of a cluster (a CI cycle, a request) resemble each other, and neighbouring clusters do too. A test that permutes
rows, or single clusters, then calls ordinary traffic a drift. Blocks are runs of whole clusters in time order, of as
many rows as `JOINED` mean clusters have, or of more where the lag-1 autocorrelation of clusters asks for longer ones
(Andrews 1991, "Heteroskedasticity and autocorrelation consistent covariance matrix estimation"; Politis and White
2004, "Automatic block-length selection for the dependent bootstrap"). Where an analysis of variance does not tell the
blocks apart, rows are independent, and short blocks give more permutations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are first used

JOINED = 3
MOST_BLOCKS = 400
"""Most blocks of both samples together: more make a test slower, not better."""
ALIKE = 0.05
"""P-value above which rows of the reference count as independent."""
ALIKE_LATER = 0.001
"""The same of the window: a slow change there looks like a dependence, which the reference does not have."""
NOTHING = 1e-9
"""Variance of ranks below which values are equal but for rounding; that of all different values is 1/12."""
FEWEST = 2
"""Blocks from which a dependence can be measured."""


def clusters(group: np.ndarray) -> np.ndarray:
    """Return the cluster of each row, int [n], numbered in the order in which they begin."""
    _, first, places = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[places]


def joined(cluster: np.ndarray, length: float) -> np.ndarray:
    """Return the block of each row, int [n]: runs of whole clusters with about `length` rows.

    Args:
        cluster: int [n], from `clusters`.
        length: rows of a block; blocks of a sample are equally long, as far as whole clusters allow.
    """
    rows = np.bincount(cluster)
    length = len(cluster) / max(1, round(len(cluster) / length))
    middle = np.cumsum(rows) - rows / 2
    numbers = np.unique((middle / length).astype(int), return_inverse=True)[1]
    return np.asarray(numbers[cluster])


@dataclass(frozen=True)
class Clusters:
    """The clusters of both samples, numbered, with the rows of a usual one.

    Attributes:
        reference, window: int [n] and [m], the cluster of each row.
        usual: mean rows of a cluster, in the sample where they are larger.
    """

    reference: np.ndarray
    window: np.ndarray
    usual: float

    @classmethod
    def of(cls, group: np.ndarray, asked: np.ndarray) -> Clusters:
        """Number the groups of the reference and the requests of the window."""
        both = clusters(group), clusters(asked)
        return cls(*both, max(len(cluster) / (int(cluster.max()) + 1) for cluster in both))

    def neighbours(self, reference: np.ndarray, window: np.ndarray) -> int:
        """Return how many neighbouring clusters a block needs for these columns: 0 if rows are independent.

        Else one of 3, 6, 12, ..., so that few kinds of blocks serve many columns. A change within the window is what
        the test looks for, and no dependence: the largest one is removed before the dependence is measured.

        Args:
            reference, window: float [n, columns] and [m, columns], as ranks, without NaN, in time order.
        """
        settled = without_change(window, self.window)
        whole = self.blocks(JOINED)
        if _alike(reference, whole[0], ALIKE) and _alike(settled, whole[1], ALIKE_LATER):
            return 0
        needed = max(
            _lasting(values, joined(cluster, self.usual))
            for values, cluster in ((reference, self.reference), (settled, self.window))
        )
        doubled = math.ceil(math.log2(max(1.0, needed / JOINED)))
        return JOINED * (1 << doubled)

    def blocks(self, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the block of each row of the reference and of the window, numbered from 0 in time order.

        Blocks of both have about as many rows, so that any may take the place of any other.
        """
        least = max(JOINED, (len(self.reference) + len(self.window)) / MOST_BLOCKS)
        if neighbours == 0:
            return joined(np.arange(len(self.reference)), least), joined(np.arange(len(self.window)), least)
        length = max(neighbours * self.usual, least)
        return joined(self.reference, length), joined(self.window, length)


def without_change(values: np.ndarray, cluster: np.ndarray) -> np.ndarray:
    """Return the values minus the means of the two parts of each column that differ most, split between clusters."""
    rows = np.bincount(cluster)[:, None]
    if len(rows) <= FEWEST:
        return values
    before = np.cumsum(rows, axis=0)[:-1]
    sums = np.cumsum(_means(values, cluster) * rows, axis=0)
    after, total = len(values) - before, sums[-1]
    gap = (total - sums[:-1]) / after - sums[:-1] / before
    split = np.argmax(np.abs(gap) * np.sqrt(before * after), axis=0)
    at = np.arange(values.shape[1])
    first = sums[split, at] / before[split, 0]
    second = (total - sums[split, at]) / after[split, 0]
    return np.asarray(values - np.where(cluster[:, None] <= split, first, second))


def _lasting(values: np.ndarray, cluster: np.ndarray) -> int:
    """Return how many neighbouring clusters a block needs, by the column with the largest autocorrelation."""
    means = _means(values, cluster)
    if len(means) <= FEWEST:
        return JOINED
    off = means - means.mean(axis=0)
    spread = (off**2).sum(axis=0)
    varies = spread / len(means) > NOTHING
    if not varies.any():
        return JOINED
    follows = ((off[1:] * off[:-1]).sum(axis=0)[varies] / spread[varies]).max()
    # Minus its standard error: the largest of several columns is above the truth.
    follows = min(max(float(follows) - len(means) ** -0.5, 0.0), 0.99)
    neighbours: float = (math.sqrt(1.5) * 2 * follows / (1 - follows**2)) ** (2 / 3) * len(means) ** (1 / 3)
    return math.ceil(neighbours)


def _alike(values: np.ndarray, block: np.ndarray, least: float) -> bool:
    """Return True if the means of blocks vary as those of independent rows: in each column, and in all together."""
    rows = np.bincount(block)
    if len(rows) < FEWEST:
        return False
    means, freedom = _means(values, block), len(rows) - 1
    within = ((values - means[block]) ** 2).sum(axis=0) / max(1, len(values) - len(rows))
    varies = within > NOTHING
    between = (rows[:, None] * (means - values.mean(axis=0)) ** 2).sum(axis=0)
    if not varies.any():
        return not (between > NOTHING).any()
    ratio = between[varies] / within[varies]
    each = scipy.stats.chi2.sf(ratio.max(), freedom) * varies.sum()
    together = scipy.stats.chi2.sf(ratio.sum(), freedom * varies.sum())
    return bool(min(each, together) > least)


def block_sums(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return the sums over the rows of each block, float [blocks, k] of float [n, k]."""
    order = np.argsort(block, kind="stable")
    starts = np.searchsorted(block[order], np.arange(block.max() + 1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0))


def _means(values: np.ndarray, block: np.ndarray) -> np.ndarray:
    return np.asarray(block_sums(values, block) / np.bincount(block)[:, None])
