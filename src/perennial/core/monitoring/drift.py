"""Drift of a window of values against a reference: the calibrated population stability index (PSI).

Three decisions correct known errors of the plain PSI:

- Bins are quantiles of the reference with open ends; missing values have their own bin. Bins of equal width,
  or bins that end at the range of the reference, lose exactly the values that moved furthest. A value that fills a
  bin by itself gets exactly this bin, so that values which the reference never had are not counted as known ones.
- CI data comes in whole cycles with similar rows, so two halves of the same period already differ: PSI 0.3 or
  more without any drift. `allowance` measures this on the reference itself, per column and window size; only
  the excess counts.
- An empty bin gets the same share as in Evidently, so that both give the same PSI. Evidently fills with a much smaller
  share beside a bin of less than 1e-4, so a single row among 10,001 would change the PSI by more than an alarm
  level; `counts` therefore scales larger samples down.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.errors import DataError

SCORE = "score"
"""Name of the column with the model's scores, in the reference and in the window."""
DECISION = "decision"
"""Name of the column with the decisions, watched for kinds whose score alone does not say the answer."""
MISSING = "missing"
NULL_QUANTILE = 0.95
NULL_DRAWS = 200
EMPTY_SHARE = 1e-4
MOST_ROWS = 9_000
"""Most rows of a sample in a PSI: a bin with one of them has a share above `EMPTY_SHARE`."""


class ColumnDrift(Frozen):
    """Drift of a column in a window."""

    column: str
    psi: float = Field(ge=0)
    allowance: float = Field(ge=0, description="PSI that windows of this size reach without drift")

    @property
    def excess(self) -> float:
        """Return the PSI above the allowance, which is compared with the alarm levels."""
        return max(0.0, self.psi - self.allowance)

    @property
    def of_prediction(self) -> bool:
        return self.column in (SCORE, DECISION)


@dataclass(frozen=True)
class Bins:
    """Bins of a column: `edges` are the inner borders, ascending; each bin is closed on the left."""

    edges: np.ndarray

    @classmethod
    def of(cls, reference: np.ndarray, count: int) -> Bins:
        """Return about `count` bins of equal weight in the reference, and bins of single values.

        Each value of a column of few distinct values has a bin of its own, as has each value with the weight of a whole
        bin in any column; what lies below, between and above these values has bins that the reference does not fill.

        Args:
            reference: float [n]; NaN is a missing value.
            count: number of bins, without those of single values and that for missing values.
        """
        known = _as_served(reference[~np.isnan(reference)])
        if known.size == 0:
            return cls(np.empty(0))
        values, rows = np.unique(known, return_counts=True)
        if values.size <= count:
            return cls(_around(values))
        cuts = np.quantile(known, np.linspace(0, 1, count + 1)[1:-1], method="inverted_cdf")
        single = _around(values[rows >= known.size / count])
        return cls(np.union1d(np.setdiff1d(cuts, values[:1]), single))

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the bin of each value, int64 [n]: 0 .. len(edges), and len(edges) + 1 for a missing value."""
        codes = np.searchsorted(self.edges, _as_served(values), side="right").astype(np.int64)
        codes[np.isnan(values)] = len(self.edges) + 1
        return codes

    @property
    def labels(self) -> tuple[str, ...]:
        """Return a readable name per code, numbered so that the names sort and are unique."""
        pairs = itertools.pairwise([-np.inf, *self.edges, np.inf])
        names = (
            f"{low:.4g}" if high == np.nextafter(low, np.inf) else f"[{low:.4g}, {high:.4g})"
            for low, high in pairs
        )
        return (*(f"{number:02d} {name}" for number, name in enumerate(names)), MISSING)

    @property
    def size(self) -> int:
        return len(self.edges) + 2


def _as_served(values: np.ndarray) -> np.ndarray:
    """Round to float32 as the model does: else 0.1 of a log would lie beside the 0.1 of a table."""
    return values.astype(np.float32).astype(float)


def _around(values: np.ndarray) -> np.ndarray:
    """Return the edges that enclose each of these values alone."""
    return np.unique(np.concatenate([values, np.nextafter(values, np.inf)]))


def counts(codes: np.ndarray, size: int) -> np.ndarray:
    """Return the rows of each bin, int [size]: of more than `MOST_ROWS` rows, so many with the same shares.

    Rounding changes a share by at most 1 in `MOST_ROWS`; each bin that had a row keeps at least one.

    Raises:
        DataError: there is no value to count.
    """
    if codes.size == 0:
        raise DataError("no rows to compare", hint="wait for predictions, or check the reference")
    return scaled(np.bincount(codes, minlength=size))


def scaled(rows: np.ndarray) -> np.ndarray:
    """Return counts that sum to `MOST_ROWS`, if they sum to more."""
    if rows.sum() <= MOST_ROWS:
        return rows
    fewer = np.where(rows > 0, np.maximum(np.rint(rows * (MOST_ROWS / rows.sum())), 1), 0).astype(np.int64)
    fewer[np.argmax(fewer)] += MOST_ROWS - fewer.sum()  # what rounding added or took, where it weighs least
    return fewer


def shares(rows: np.ndarray) -> np.ndarray:
    """Return the share of each bin, float [size], with sum 1."""
    return np.asarray(rows / rows.sum())


def psi(reference: np.ndarray, window: np.ndarray) -> float:
    """Return the population stability index: the sum of (w - r) * ln(w / r) over bins with rows in r or w.

    Args:
        reference, window: float [bins], shares that sum to 1.
    """
    seen = (reference > 0) | (window > 0)
    r, w = _filled(reference[seen]), _filled(window[seen])
    return max(0.0, float(np.sum((w - r) * np.log(w / r))))


def _filled(share: np.ndarray) -> np.ndarray:
    """Return the shares with empty bins filled as in Evidently 0.7, for samples of `counts`."""
    return np.where(share > 0, share, EMPTY_SHARE)


def allowance(codes: np.ndarray, group: np.ndarray, size: int, window: int, seed: int) -> float:
    """Return the 95 % quantile of the PSI of windows without drift; of several columns, that of the largest PSI.

    Windows are runs of rows of the reference that start with a group; each is compared with the rest of the
    reference. This is a block resampling, since rows of the same group are not independent (Künsch 1989, "The
    jackknife and the bootstrap for general stationary observations"). A reference smaller than two windows
    is resampled in halves: smaller windows differ more, so the allowance is never too small. The columns of an array
    are one test: the quantile of their largest PSI over the same windows holds for all of them together, however they
    depend on each other (Westfall and Young 1993, "Resampling-based multiple testing", max-T).

    Args:
        codes: int [n] or [n, columns], in time order.
        group: int [n], ascending: the group (CI cycle) of each row.
        size: number of bins.
        window: number of rows of a judged window.
        seed: seed of the resampling; the same input gives the same allowance.

    Raises:
        DataError: the reference has fewer than two groups, so their differences cannot be measured.
    """
    starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    if len(starts) < 2:
        raise DataError(
            "the reference has a single group, so differences between groups cannot be measured",
            hint="evaluate on at least two CI cycles",
        )
    length = min(window, len(codes) // 2)
    possible = starts[starts + length <= len(codes)]
    chosen = np.random.default_rng(seed).choice(possible, NULL_DRAWS)
    columns = np.atleast_2d(codes.T)
    totals = [np.bincount(column, minlength=size) for column in columns]
    null = {}
    for start in np.unique(chosen):
        inside = [np.bincount(column[start : start + length], minlength=size) for column in columns]
        null[start] = max(
            psi(shares(scaled(total - part)), shares(scaled(part)))
            for total, part in zip(totals, inside, strict=True)
        )
    return float(np.quantile([null[start] for start in chosen], NULL_QUANTILE))


def column_drift(
    column: str, reference: np.ndarray, window: np.ndarray, group: np.ndarray, bins: int, seed: int
) -> ColumnDrift:
    """Return the drift of a column or an array: cut it into bins, then measure PSI and allowance.

    Args:
        column: name of the column or the array.
        reference: float [n] or [n, size], in time order; NaN where missing.
        window: float [m] or [m, size].
        group: int [n], ascending: the group of each reference row.
        bins: number of bins, without the bin for missing values.
        seed: seed of the resampling for the allowance.
    """
    pairs = list(zip(np.atleast_2d(reference.T), np.atleast_2d(window.T), strict=True))
    edges = [Bins.of(known, bins) for known, _ in pairs]
    size = max(cut.size for cut in edges)
    codes = [cut.codes(known) for cut, (known, _) in zip(edges, pairs, strict=True)]
    return ColumnDrift(
        column=column,
        psi=max(
            psi(shares(counts(known, size)), shares(counts(cut.codes(seen), size)))
            for cut, known, (_, seen) in zip(edges, codes, pairs, strict=True)
        ),
        allowance=allowance(np.stack(codes, axis=1), group, size, len(window), seed),
    )
