"""The drift of all watched columns of a window: PSI, allowance and evidence of each, by one permutation test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import scipy  # loads its parts when they are first used

from perennial.core.monitoring import joint
from perennial.core.monitoring.budget.certain import certain_p
from perennial.core.monitoring.change import begins, in_words, shift_of_ranks
from perennial.core.monitoring.dependence import Clusters, block_sums
from perennial.core.monitoring.drift import JOINT, Bins, ColumnDrift, Newest, counts, psi, psis, shares
from perennial.core.monitoring.max_t import Figure, Moved, Permutations, max_t
from perennial.errors import DataError

LEVEL = 0.01
"""Share of looks at traffic without drift that call any column moved."""
DRAWS = 1999
ALLOWANCE_DRAWS = 200
MOST_BINNED = 16
"""Columns of an array whose bins are compared; of more, their ranks and their joint distribution are."""
Sample = tuple[np.ndarray, np.ndarray]
"""Values of the reference, float [n] or [n, size] of an array, and of the window, float [m] or [m, size]; NaN where
missing."""


def measure(
    columns: Mapping[str, Sample],
    group: np.ndarray,
    asked: np.ndarray,
    bins: int,
    seed: int,
    answers: frozenset[str] = frozenset(),
    level: float = LEVEL,
    warn_level: float | None = None,
) -> list[ColumnDrift]:
    """Return the drift of each column or array, in their order, then of all features together.

    Args:
        columns: name -> its values in time order.
        group: [n], the cluster of each reference row.
        asked: [m], the cluster (request) of each row of the window.
        bins: number of bins, without the bin for missing values.
        seed: seed of the permutations; the same input gives the same figures.
        answers: the columns that are answers, not features.
        level: share of looks without drift in which any column is called moved.
        warn_level: share of them in which any may be called certain, if smaller; None: what is proven is certain.

    Raises:
        DataError: a sample has no rows, or the reference has a single group.
    """
    if len(group) == 0 or len(asked) == 0:
        raise DataError("no rows to compare", hint="wait for predictions, or check the reference")
    if (group == group[0]).all():
        raise DataError(
            "the reference has a single group, so differences between groups cannot be measured",
            hint="evaluate on at least two groups",
        )
    known, samples = len(group), Clusters.of(group, asked)
    pooled = {name: np.vstack([_matrix(sample) for sample in pair]) for name, pair in columns.items()}
    ranks = {name: _ranks(values) for name, values in pooled.items()}
    needs = {
        name: samples.neighbours(values[:known, : joint.MOST_COLUMNS], values[known:, : joint.MOST_COLUMNS])
        for name, values in ranks.items()
    }
    features = [name for name in columns if name not in answers]
    several = sum(ranks[name].shape[1] for name in features) > 1
    waves = joint.waves(np.hstack([ranks[name] for name in features]), seed) if several else None
    if waves is not None:
        all_ranks = np.hstack([ranks[name][:, : joint.MOST_COLUMNS] for name in features])
        needs[JOINT] = samples.neighbours(all_ranks[:known], all_ranks[known:])
    kinds = {
        neighbours: _Blocks.of(
            samples.blocks(neighbours), [name for name in needs if needs[name] == neighbours]
        )
        for neighbours in sorted(set(needs.values()))
    }
    # Columns in blocks of other lengths are permuted by themselves: each kind gets its part of the level.
    able = max(1, sum(kind.least_p <= level for kind in kinds.values()))
    drifts: dict[str, ColumnDrift] = {}
    strict = warn_level if warn_level is not None and warn_level < level else None
    for kind in kinds.values():
        block, orders = kind.block, Permutations.drawn(kind.rows, kind.reference, DRAWS, seed)
        figures = {
            name: _figures(pooled[name], ranks[name], block, bins, seed)
            for name in kind.names
            if name != JOINT
        }
        if JOINT in kind.names and waves is not None:
            together = block_sums(waves, block)
            figures[JOINT] = [Figure(together, each_scaled=False)]
        for name, moved in max_t(figures, orders, level / able).items():
            adjusted = replace(moved, p=min(1.0, moved.p * able))
            if name == JOINT and waves is not None:
                drifts[name] = joint.drift(waves, together, block, orders, adjusted, bins, level)
            else:
                drifts[name] = _column(name, pooled[name], block, orders, adjusted, bins, level)
            if strict is not None:
                bound = 1.0
                if name != JOINT and drifts[name].is_proven:
                    bound = min(1.0, len(columns) * certain_p(figures[name], orders))
                drifts[name] = drifts[name].model_copy(update={"certain_p": bound, "warn_level": strict})
    return [drifts[name] for name in needs]


@dataclass(frozen=True)
class _Blocks:
    """Blocks of one length, and the columns that need it.

    Attributes:
        block: int [n + m], of the rows of the reference, then of the window.
        reference: blocks of the reference.
    """

    block: np.ndarray
    reference: int
    names: tuple[str, ...]

    @classmethod
    def of(cls, blocks: tuple[np.ndarray, np.ndarray], names: list[str]) -> _Blocks:
        before, after = blocks
        count = int(before.max()) + 1
        return cls(np.r_[before, after + count], count, tuple(names))

    @property
    def rows(self) -> np.ndarray:
        return np.bincount(self.block)

    @property
    def least_p(self) -> float:
        """Return the smallest p-value that so few blocks can give."""
        return 1 / math.comb(len(self.rows), self.reference)


def _matrix(values: np.ndarray) -> np.ndarray:
    return (values[:, None] if values.ndim == 1 else values).astype(np.float32).astype(float)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the rank of each known value between -0.5 and 0.5, and 0 for a missing one, float [n, columns]."""
    count = np.maximum(1, (~np.isnan(values)).sum(axis=0))
    ranks = scipy.stats.rankdata(values, axis=0, nan_policy="omit")
    return np.where(np.isnan(values), 0.0, (ranks - 0.5) / count - 0.5)


def _bin_rows(codes: np.ndarray, block: np.ndarray, size: int) -> np.ndarray:
    """Return the rows of each bin in each block, float [blocks, size]."""
    total = (int(block.max()) + 1) * size
    return np.bincount(block * size + codes, minlength=total).reshape(-1, size).astype(float)


def _figures(values: np.ndarray, ranks: np.ndarray, block: np.ndarray, bins: int, seed: int) -> list[Figure]:
    """Return the statistics of a column: mean rank, rows per bin; of an array also all its numbers together."""
    of_ranks = block_sums(ranks, block)
    figures = [Figure(of_ranks[:, [place]]) for place in range(ranks.shape[1])]
    for place in range(min(MOST_BINNED, values.shape[1])):
        cut = Bins.of(values[:, place], bins)  # of both samples: bins of one of them would tell which it is
        rows = _bin_rows(cut.codes(values[:, place]), block, cut.size)
        figures.append(Figure(rows[:, rows.any(axis=0)]))
    if values.shape[1] > 1:
        figures.append(Figure(block_sums(joint.waves(ranks, seed), block), each_scaled=False))
    return figures


def _column(
    name: str,
    values: np.ndarray,
    block: np.ndarray,
    orders: Permutations,
    moved: Moved,
    bins: int,
    level: float,
) -> ColumnDrift:
    """Return the drift of a column: PSI and allowance on bins of the reference; of an array, of its largest PSI."""
    known = int(np.count_nonzero(block < orders.reference))
    cuts = [Bins.of(column[:known], bins) for column in values.T]
    codes = [cut.codes(column) for cut, column in zip(cuts, values.T, strict=True)]
    of_blocks = [_bin_rows(code, block, cut.size) for code, cut in zip(codes, cuts, strict=True)]

    def figure(count: int) -> tuple[np.ndarray, list[float], float]:
        inside = block >= len(orders.rows) - count
        sizes = [
            psi(*(shares(counts(code[rows], cut.size)) for rows in (slice(known), inside)))
            for code, cut in zip(codes, cuts, strict=True)
        ]
        return inside, sizes, _allowance(of_blocks, orders, count)

    window = len(orders.rows) - orders.reference
    part, sizes, allowed = figure(window)
    drift = ColumnDrift(
        column=name,
        psi=max(sizes),
        allowance=allowed,
        p=moved.p,
        level=level,
        least=_finite(shift_of_ranks(moved.least)),
    )
    if not drift.is_proven:
        return drift
    newest = None
    if moved.blocks < window:
        inside, part_sizes, part_allowed = figure(moved.blocks)
        if max(part_sizes) - part_allowed > drift.psi - allowed:
            newest = Newest(rows=int(inside.sum()), psi=max(part_sizes), allowance=part_allowed)
            part, sizes = inside, part_sizes
    most = int(np.argmax(sizes))
    size, before, after = in_words(values[:known, most], values[known:, most], part[known:], cuts[most])
    since = begins(before, after, block[known:])
    return drift.model_copy(update={"newest": newest, "size": size, "since": since})


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _allowance(of_blocks: list[np.ndarray], orders: Permutations, count: int) -> float:
    """Return the mean of the largest PSI of the columns over permutations of the blocks."""
    draws = max(20, ALLOWANCE_DRAWS // len(of_blocks)) + 1
    total = len(orders.rows)
    sides = [orders.chosen(*place, draws)[1:] for place in ((0, orders.reference), (total - count, total))]
    largest = np.zeros(draws - 1)
    for rows in of_blocks:
        part = [side @ rows for side in sides]
        largest = np.maximum(largest, psis(*(each / each.sum(axis=1, keepdims=True) for each in part)))
    return float(largest.mean())
