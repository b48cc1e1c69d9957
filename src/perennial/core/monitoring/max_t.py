"""Permutation test of many figures at once: which moved, when any of them by chance is a false alarm.

Blocks of rows change places between the reference and the window. Each figure is compared with its own values under
these permutations, and the largest of all figures with the largest of each permutation (max-T with step-down,
Westfall and Young 1993, "Resampling-based multiple testing"), so that the share of windows without drift in which any
figure is called moved is at most the level, however the figures depend on each other. The newest half, quarter and
eighth of the window are judged in the same test: a change that began lately is not diluted by what was before.
P-values are (b + 1) / (B + 1) (Phipson and Smyth 2010, "Permutation p-values should never be zero").
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PARTS = (1.0, 0.5, 0.25, 0.125)
FEWEST_BLOCKS = 2
"""Blocks of the newest part of a window that is judged by itself."""
ROUNDING = 1e-4
"""Orders that exchange nothing give the same figure but for single precision."""
POWER_80 = 0.8416
"""Quantile of a power of 80 %."""


@dataclass(frozen=True)
class Figure:
    """Sums over the rows of each block, float [blocks, k], of a statistic with k numbers per row.

    Attributes:
        sums: of the reference's blocks, then of the window's.
        each_scaled: compare each number with its own spread; False where the numbers have one scale.
    """

    sums: np.ndarray
    each_scaled: bool = True


@dataclass(frozen=True)
class Moved:
    """How one figure compares with its permutations.

    Attributes:
        p: p-value, adjusted for all figures and parts of the window.
        blocks: newest blocks of the window in which it moved most.
        least: difference of the means of the first statistic that the whole window shows with a power of 80 %.
    """

    p: float
    blocks: int
    least: float


@dataclass(frozen=True)
class Permutations:
    """Orders of all blocks, the true one first.

    Attributes:
        order: int [draws + 1, blocks].
        rows: float [blocks].
        reference: number of blocks of the reference, which come first.
    """

    order: np.ndarray
    rows: np.ndarray
    reference: int

    @classmethod
    def drawn(cls, rows: np.ndarray, reference: int, draws: int, seed: int) -> Permutations:
        """Draw orders; the same seed gives the same ones."""
        shuffled = np.random.default_rng(seed).random((draws, len(rows))).argsort(axis=1)
        return cls(np.vstack([np.arange(len(rows)), shuffled]), rows.astype(float), reference)

    @property
    def parts(self) -> list[int]:
        """Return how many newest blocks of the window are judged: all, then fewer."""
        window = len(self.rows) - self.reference
        counts = [round(window * part) for part in PARTS]
        return [window, *(count for count in dict.fromkeys(counts[1:]) if FEWEST_BLOCKS <= count < window)]

    def chosen(self, first: int, last: int, draws: int | None = None) -> np.ndarray:
        """Return which blocks stand in these places of each order, float [draws, blocks] of 0 and 1."""
        order = self.order[:draws]
        mask = np.zeros(order.shape)
        np.put_along_axis(mask, order[:, first:last], 1.0, axis=1)
        return mask


def max_t(features: Mapping[str, Sequence[Figure]], orders: Permutations, level: float) -> dict[str, Moved]:
    """Return how the figures of each feature compare with their permutations.

    Args:
        features: figures of a feature, which moved if any of them did.
        level: share of windows without drift in which any feature may be called moved.
    """
    total, rows = len(orders.rows), orders.rows[:, None]
    figures = [(name, figure) for name, group in features.items() for figure in group]
    sums = np.hstack([figure.sums for _, figure in figures])
    centred = (sums - rows * (sums.sum(axis=0) / rows.sum())).astype(np.float32)
    ends = np.cumsum([figure.sums.shape[1] for _, figure in figures])
    begins = np.r_[0, ends[:-1]]
    scaled = np.repeat([figure.each_scaled for _, figure in figures], np.diff(ends, prepend=0))
    base = orders.chosen(0, orders.reference)
    base /= base @ rows
    best: dict[str, np.ndarray] = {}
    where: dict[str, tuple[float, int]] = {}
    first: dict[str, tuple[float, float, float]] = {}
    for count in orders.parts:
        newest = orders.chosen(total - count, total)
        apart = (newest / (newest @ rows) - base).astype(np.float32) @ centred
        spread = np.sqrt(np.einsum("ij,ij->j", apart, apart) / len(apart))  # of mean zero by symmetry
        np.square(apart, out=apart)
        apart /= np.where(scaled & (spread > 0), spread, 1.0) ** 2
        # The cube root of a sum of squares is nearly normal (Wilson and Hilferty 1931).
        roots = np.cbrt(np.add.reduceat(apart, begins, axis=1, dtype=float))
        middles, scales = roots.mean(axis=0), roots.std(axis=0)
        grades = np.where(scales > 0, (roots - middles) / np.where(scales > 0, scales, 1.0), 0.0)
        for place, (name, _) in enumerate(figures):
            grade = grades[:, place]
            if name not in first:
                first[name] = (float(middles[place]), float(scales[place]), float(spread[begins[place]]))
            if name not in where or grade[0] > where[name][0]:
                where[name] = (float(grade[0]), count)
            best[name] = np.maximum(best[name], grade) if name in best else grade
    names = sorted(best, key=lambda name: -best[name][0])
    largest = np.maximum.accumulate(np.array([best[name] for name in reversed(names)]), axis=0)[::-1]
    reaches = [(row >= best[name][0] - ROUNDING).mean() for name, row in zip(names, largest, strict=True)]
    adjusted = np.maximum.accumulate(reaches)
    critical = float(np.quantile(largest[0], 1 - level))
    return {
        name: Moved(float(p), where[name][1], _least(*first[name], critical))
        for name, p in zip(names, adjusted, strict=True)
    }


def _least(middle: float, scale: float, spread: float, critical: float) -> float:
    """Return the difference of means whose root exceeds the critical value with a power of 80 %."""
    return (math.sqrt(max(0.0, middle + critical * scale) ** 3) + POWER_80) * spread
