"""Drift of several columns together: a change of how they depend on each other moves none of them alone.

The statistic is the maximum mean discrepancy (Gretton et al. 2012, "A kernel two-sample test") with a Gaussian kernel
over normal scores of the ranks, by random Fourier features (Rahimi and Recht 2007): it is a difference of means, so
that blocks of rows can be permuted as for any other figure. Its size is said in the terms of the table of levels: the
PSI of the witness function, which is learnt on every other block and measured on those between.
"""

from __future__ import annotations

import numpy as np
import scipy  # loads its parts when they are first used

from perennial.core.monitoring.drift import JOINT, Bins, ColumnDrift, Newest, psi, shares
from perennial.core.monitoring.max_t import FEWEST_BLOCKS, Moved, Permutations

WAVES = 100
MOST_COLUMNS = 64
"""Columns that are compared together: of a longer array, the first."""
WITNESSES = 10
"""Permutations of which the mean PSI is the allowance."""


def waves(ranks: np.ndarray, seed: int) -> np.ndarray:
    """Return random Fourier features of the rows, float [n, 2 * WAVES].

    Args:
        ranks: float [n, columns], between -0.5 and 0.5; 0 for a missing value.
    """
    half = 0.5 - 0.25 / len(ranks)
    scores = scipy.special.ndtri(0.5 + np.clip(ranks[:, :MOST_COLUMNS], -half, half))
    scale = 1 / np.sqrt(scores.shape[1])  # a usual distance of two rows is then about 1.4
    turns = scores @ np.random.default_rng(seed).normal(scale=scale, size=(scores.shape[1], WAVES))
    return np.hstack([np.cos(turns), np.sin(turns)])


def drift(
    features: np.ndarray, sums: np.ndarray, block: np.ndarray, orders: Permutations, moved: Moved, bins: int,
    level: float,
) -> ColumnDrift:  # fmt: skip
    """Return the drift of all columns together, by the witness function.

    Args:
        features: float [n, 2 * WAVES], from `waves`.
        sums: float [blocks, 2 * WAVES], over the rows of each block.
    """
    total = len(orders.rows)

    def figure(count: int) -> tuple[int, float, float]:
        sizes = []
        for order in orders.order[: WITNESSES + 1]:
            role = np.full(total, -1)
            role[order[: orders.reference]] = 0
            role[order[total - count :]] = 1
            sizes.append(_witness(features, sums, orders.rows, block, role, bins))
        return int((block >= total - count).sum()), sizes[0], float(np.mean(sizes[1:]))

    window = total - orders.reference
    _, whole, allowed = figure(window)
    newest = None
    if moved.p <= level and moved.blocks < window:
        rows, part, part_allowed = figure(moved.blocks)
        if part - part_allowed > whole - allowed:
            newest = Newest(rows=rows, psi=part, allowance=part_allowed)
    return ColumnDrift(column=JOINT, psi=whole, allowance=allowed, p=moved.p, level=level, newest=newest)


def _witness(
    features: np.ndarray, sums: np.ndarray, rows: np.ndarray, block: np.ndarray, role: np.ndarray, bins: int
) -> float:
    """Return the PSI of the witness values between blocks of role 0 and 1; 0 where there are too few of them."""
    half = np.zeros(len(role), dtype=int)
    for side in (0, 1):
        places = np.flatnonzero(role == side)
        if len(places) < FEWEST_BLOCKS:
            return 0.0
        half[places] = np.arange(len(places)) % 2

    def mean(side: int, fold: int) -> np.ndarray:
        chosen = (role == side) & (half == fold)
        return np.asarray(sums[chosen].sum(axis=0) / rows[chosen].sum())

    learnt = np.stack(
        [mean(1, fold) - mean(0, fold) for fold in (1, 0)], axis=1
    )  # on the half that is not judged
    side, fold = role[block], half[block]
    values = (features @ learnt)[np.arange(len(block)), fold]
    for number in (0, 1):
        judged = fold == number
        off = values[judged & (side == 0)]
        values[judged] = (values[judged] - off.mean()) / (off.std() + 1e-12)
    cut = Bins.of(values[side == 0], bins)
    return psi(
        *(shares(np.bincount(cut.codes(values[side == number]), minlength=cut.size)) for number in (0, 1))
    )
