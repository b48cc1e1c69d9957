"""Drift of a window of values against a reference: how far (population stability index, PSI), and whether proven.

Three decisions correct known errors of the plain PSI:

- Bins are quantiles of the reference with open ends; missing values have their own bin. Bins of equal width,
  or bins that end at the range of the reference, lose exactly the values that moved furthest. A value that fills a
  bin by itself gets exactly this bin, so that values which the reference never had are not counted as known ones.
- Rows come in clusters (cycles, requests) of similar rows, so two halves of the same period already differ: PSI 0.3 or
  more without any drift. A permutation test of whole blocks (`max_t`, `measured`) says whether a column moved, and the
  mean PSI of its permutations, the allowance, is subtracted: only a proven excess counts.
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
JOINT = "joint"
"""Name of the watched features together: their dependence may change where none of them moves."""
MISSING = "missing"
EMPTY_SHARE = 1e-4
MOST_ROWS = 9_000
"""Most rows of a sample in a PSI: a bin with one of them has a share above `EMPTY_SHARE`."""


class Newest(Frozen):
    """The newest part of a window, in which a column moved most."""

    rows: int = Field(gt=0)
    psi: float = Field(ge=0)
    allowance: float = Field(ge=0)


class ColumnDrift(Frozen):
    """Drift of a column, or of all watched features together, in a window."""

    column: str
    psi: float = Field(ge=0)
    allowance: float = Field(ge=0, description="mean PSI of windows of this size without drift")
    p: float = Field(ge=0, le=1, description="p-value, adjusted for all columns")
    level: float = Field(gt=0, lt=1, description="p-value up to which the column has moved")
    certain_p: float = Field(
        1.0, ge=0, le=1, description="bound of the p-value, adjusted for all columns; of what is proven only"
    )
    warn_level: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="`certain_p` from which down a warning is in the budget; null: any proof",
    )
    newest: Newest | None = Field(None, description="a newer part of the window that moved more")
    least: float | None = Field(
        None,
        description="shift in standard deviations that this traffic shows with a power of 80 %; null: none",
    )

    size: str | None = Field(None, description="largest change in words, if proven")
    since: int | None = Field(
        None, description="row of the window from which it moved; null: before, or unknown"
    )

    @property
    def is_proven(self) -> bool:
        return self.p <= self.level

    @property
    def is_certain(self) -> bool:
        """Return True if a warning is within the budget of false ones."""
        return self.is_proven and (self.warn_level is None or self.certain_p <= self.warn_level)

    @property
    def excess(self) -> float:
        """Return the PSI above the allowance, which is compared with the alarm levels; 0 unless proven."""
        if not self.is_proven:
            return 0.0
        part = 0.0 if self.newest is None else self.newest.psi - self.newest.allowance
        return max(0.0, self.psi - self.allowance, part)

    def __str__(self) -> str:
        part = self.newest
        where = "" if part is None else f", {part.psi:.2f} in the newest {part.rows} rows"
        size = "" if self.size is None else f", {self.size}"
        return f"{self.column} PSI {self.psi:.2f} (+{self.excess:.2f}{where}; p {self.p:.2g}{size})"

    @property
    def of_prediction(self) -> bool:
        return self.column in (SCORE, DECISION)

    @property
    def of_feature(self) -> bool:
        return self.column not in (SCORE, DECISION, JOINT)


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
    return max(0.0, float(psis(reference, window)))


def psis(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the PSI of each pair of shares, float [...] of two float [..., bins]."""
    seen = (reference > 0) | (window > 0)
    r, w = _filled(reference), _filled(window)
    return np.asarray(np.where(seen, (w - r) * np.log(w / r), 0.0).sum(axis=-1))


def _filled(share: np.ndarray) -> np.ndarray:
    """Return the shares with empty bins filled as in Evidently 0.7, for samples of `counts`."""
    return np.where(share > 0, share, EMPTY_SHARE)
