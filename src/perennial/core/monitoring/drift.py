"""How far a window of values is from a reference: the population stability index (PSI), calibrated.

Three decisions, each against a way in which the plain figure misleads:

- Bins are quantiles of the reference with open ends, and missing values are a bin of their own. Bins of
  equal width, or bins that end at the reference's range, lose exactly the values that moved furthest.
- CI data comes in whole cycles whose rows resemble each other, so two halves of the very same period
  already differ: PSI 0.3 or more without any drift. `allowance` measures that on the reference itself,
  per column and window size, and only what exceeds it counts.
- An empty bin gets the share that Evidently gives it, so that its figures and these agree.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.errors import DataError

SCORE = "score"
"""The column of the model's own answers, in a reference and in a window."""
MISSING = "missing"
NULL_QUANTILE = 0.95
NULL_DRAWS = 200
EMPTY_SHARE = 1e-4


class ColumnDrift(Frozen):
    """The drift of one column in one window."""

    column: str
    psi: float = Field(ge=0)
    allowance: float = Field(ge=0, description="PSI that windows of this size reach without drift")

    @property
    def excess(self) -> float:
        """What cannot be put down to the clustering of the reference; this is compared with the levels."""
        return max(0.0, self.psi - self.allowance)

    @property
    def of_prediction(self) -> bool:
        return self.column == SCORE


@dataclass(frozen=True)
class Bins:
    """Bins of one column: `edges` are the inner borders, ascending; each bin is closed on the left."""

    edges: np.ndarray

    @classmethod
    def of(cls, reference: np.ndarray, count: int) -> Bins:
        """About `count` bins of equal weight in the reference.

        A column of few distinct values gets one bin a value; a pile at the smallest value (a pass rate
        of 0) is a bin of its own.

        Args:
            reference: float [n]; NaN is a missing value.
            count: number of bins wanted, missing values aside.
        """
        known = reference[~np.isnan(reference)]
        if known.size == 0:
            return cls(np.empty(0))
        distinct = np.unique(known)
        if distinct.size <= count:
            return cls(distinct[1:])
        cuts = np.quantile(known, np.linspace(0, 1, count + 1)[1:-1], method="inverted_cdf")
        return cls(np.unique(np.where(cuts == distinct[0], distinct[1], cuts)))

    def codes(self, values: np.ndarray) -> np.ndarray:
        """float [n] -> int64 [n]: 0 .. len(edges), and len(edges) + 1 for a missing value."""
        codes = np.searchsorted(self.edges, values, side="right").astype(np.int64)
        codes[np.isnan(values)] = len(self.edges) + 1
        return codes

    @property
    def labels(self) -> tuple[str, ...]:
        """One readable name per code; numbered, so that they sort and never coincide."""
        borders = ["-inf", *(f"{edge:.4g}" for edge in self.edges), "inf"]
        pairs = itertools.pairwise(borders)
        return (*(f"{number:02d} [{low}, {high})" for number, (low, high) in enumerate(pairs)), MISSING)

    @property
    def size(self) -> int:
        return len(self.edges) + 2


def shares(codes: np.ndarray, size: int) -> np.ndarray:
    """int [n] -> float [size], summing to 1.

    Raises:
        DataError: there is no value to count.
    """
    if codes.size == 0:
        raise DataError("no rows to compare", hint="wait for predictions, or check the reference")
    return np.bincount(codes, minlength=size) / codes.size


def psi(reference: np.ndarray, window: np.ndarray) -> float:
    """Population stability index: sum of (w - r) * ln(w / r) over the bins that either side fills.

    Args:
        reference, window: float [bins], shares that sum to 1.
    """
    seen = (reference > 0) | (window > 0)
    r, w = _filled(reference[seen]), _filled(window[seen])
    return max(0.0, float(np.sum((w - r) * np.log(w / r))))


def _filled(share: np.ndarray) -> np.ndarray:
    """Empty bins as Evidently 0.7 fills them."""
    least = share[share > 0].min()
    return np.where(share > 0, share, least / 1e6 if least <= EMPTY_SHARE else EMPTY_SHARE)


def allowance(codes: np.ndarray, group: np.ndarray, size: int, window: int, seed: int) -> float:
    """The PSI that 95 % of windows reach without drift.

    Windows are runs of rows that start at a whole group, drawn out of the reference and compared with
    the rest of it: a block resampling, since rows of one group are not independent (Künsch 1989, "The
    jackknife and the bootstrap for general stationary observations"). A reference smaller than two
    windows is drawn in halves: smaller windows differ more, so the allowance can only be too careful.

    Args:
        codes: int [n], in time order.
        group: int [n], ascending; rows of one group (a CI cycle) belong together.
        size: number of bins.
        window: rows of the windows that will be judged.
        seed: of the drawing; the same input gives the same allowance.

    Raises:
        DataError: fewer than two groups, so that nothing is known of their differences.
    """
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    if len(starts) < 2:
        raise DataError(
            "the reference holds a single group: nothing is known of how groups differ",
            hint="evaluate on at least two CI cycles",
        )
    length = min(window, len(codes) // 2)
    possible = starts[starts + length <= len(codes)]
    chosen = np.random.default_rng(seed).choice(possible, NULL_DRAWS)
    total = np.bincount(codes, minlength=size)
    drawn = {}
    for start in np.unique(chosen):
        inside = np.bincount(codes[start : start + length], minlength=size)
        drawn[start] = psi((total - inside) / (len(codes) - length), inside / length)
    return float(np.quantile([drawn[start] for start in chosen], NULL_QUANTILE))


def column_drift(
    column: str, reference: np.ndarray, window: np.ndarray, group: np.ndarray, bins: int, seed: int
) -> ColumnDrift:
    """Bins, PSI and allowance of one column in one go.

    Args:
        column: its name.
        reference: float [n], in time order; NaN where missing.
        window: float [m].
        group: int [n], ascending: the groups of the reference.
        bins: number of bins, missing values aside.
        seed: of the calibration.
    """
    cut = Bins.of(reference, bins)
    known = cut.codes(reference)
    return ColumnDrift(
        column=column,
        psi=psi(shares(known, cut.size), shares(cut.codes(window), cut.size)),
        allowance=allowance(known, group, cut.size, len(window), seed),
    )
