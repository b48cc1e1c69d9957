"""Signs that a column holds a share, perhaps of the target, over rows that it has in common with other rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fractions import Fraction

import numpy as np
from scipy.special import chdtr, chdtrc

CHANCE = 1e-6
"""Largest probability that an honest column agrees as closely with the shares of the target as was seen."""
NUMBER_RATIO = 1e-3
"""The same as a share of the scatter to expect, for numbers: panels of equal make-up scatter less than by chance."""
FEWEST_VALUES = 6
LARGEST_COUNT = 2_000
ROUNDING = 1e-10
TIED = 0.99
"""Share of the rows whose value follows from a share, from which a column is tied to it."""


def too_exact(column: np.ndarray, target: np.ndarray, is_number: bool) -> bool:
    """Return whether the mean of the target per value of a column follows a line more closely than chance allows.

    The rows with the value v of an honest column are a sample: their share of a class scatters around what v
    predicts, with the variance p (1 - p) / n. A column that was computed as the share of the target over groups of
    rows, the row itself included, has no scatter. This is the lower tail of the chi-square test, by which R. A.
    Fisher judged Mendel's counts (Annals of Science 1, 1936). Rows that repeat scatter more, not less.

    Args:
        column: [n], NaN for a missing value; all rows, since a share of some of them scatters again.
        target: [n], a number or the number of a class.
    """
    known = ~np.isnan(column)
    values, places, counts = np.unique(column[known], return_inverse=True, return_counts=True)
    if len(values) < FEWEST_VALUES or len(values) > known.sum() / 2:
        return False
    target = target[known].astype(float)
    if is_number:
        spread = float(target.std())
        if spread == 0:
            return False
        target = (target - target.mean()) / spread  # what rounding comes to depends on the unit of the target
        return _follows_a_line(values, places, counts, target, NUMBER_RATIO)
    classes = np.unique(target)
    return any(
        _follows_a_line(values, places, counts, (target == label).astype(float), None)
        for label in classes[len(classes) == 2 :]  # the shares of two classes say the same
    )


def _follows_a_line(
    values: np.ndarray, places: np.ndarray, counts: np.ndarray, target: np.ndarray, ratio: float | None
) -> bool:
    means = np.bincount(places, target) / counts
    shared = (
        counts > 1
    )  # a value of a single row has the target of that row: an honest column may come that close
    x, y, weight = values[shared], means[shared], counts[shared].astype(float)
    if shared.sum() < FEWEST_VALUES:
        return False
    middle, level = np.average(x, weights=weight), np.average(y, weights=weight)
    spread = float(np.average((x - middle) ** 2, weights=weight))
    slope = float(np.average((x - middle) * (y - level), weights=weight)) / spread
    line = level + slope * (x - middle)
    if ratio is None:
        variance = line * (1 - line)
        total = float(level * (1 - level))
    else:
        total = float(np.sum((target - means[places])[shared[places]] ** 2) / (weight - 1).sum())
        variance = np.full(len(x), total)
    inside = variance > ROUNDING  # a line that ends at 0 or 1 leaves nothing to scatter there
    freedom = int(inside.sum()) - 2
    if freedom < FEWEST_VALUES - 2 or total <= ROUNDING:
        return False
    scatter = float(np.sum((weight * (y - line) ** 2)[inside] / variance[inside]))
    rise = float(np.sum(weight * (line - level) ** 2)) / total
    if ratio is not None and scatter > ratio * freedom:
        return False
    return bool(chdtr(freedom, scatter) < CHANCE and chdtrc(1, rise) < CHANCE)


def common_shares(columns: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return the columns that look like shares of counts which rows have in common: name -> an example.

    All values are between -1 and 1; those that are no whole numbers are fractions of counts up to 2,000, most of
    them such as 137/389 and not decimals such as 0.35; a value has three rows or more on average. What is counted
    cannot be seen: it may be the target.

    Args:
        columns: name -> float64 [n], NaN for a missing value. As float32 they are too coarse.
    """
    shares = {name: _example(values[~np.isnan(values)]) for name, values in columns.items()}
    return {name: example for name, example in shares.items() if example is not None}


def tied_to_shares(columns: Mapping[str, np.ndarray], shares: Collection[str]) -> dict[str, str]:
    """Return the columns that have a single value for each value of a share: name -> that share.

    They are figures of the same groups, perhaps of the same counts: a copy, a mean or a variance of shares. One row in
    a hundred may differ, since two groups may have one share.

    Args:
        columns: as of `common_shares`.
        shares: columns that look like shares.
    """
    tied: dict[str, str] = {}
    for share in shares:
        values, groups, sizes = np.unique(columns[share], return_inverse=True, return_counts=True)
        if len(values) < FEWEST_VALUES:
            continue
        for name, column in columns.items():
            distinct, places = np.unique(column, return_inverse=True)
            if name in shares or len(distinct) < FEWEST_VALUES:
                continue
            pairs = np.unique(np.column_stack([groups, places]), axis=0)
            single = np.bincount(pairs[:, 0], minlength=len(values)) == 1
            # Most groups have a single value of a column that is nearly always missing or nought.
            rare = places != np.bincount(places).argmax()
            follows = single[groups]
            is_tied = min(follows.mean(), follows[rare].mean()) >= TIED
            if is_tied and (sizes[single] > 1).sum() >= FEWEST_VALUES:
                tied.setdefault(name, share)
    return tied


def _example(known: np.ndarray) -> str | None:
    if not known.size or np.abs(known).max() > 1:
        return None
    values, counts = np.unique(known, return_counts=True)
    broken = values != np.round(values)
    if broken.sum() < FEWEST_VALUES - 2 or len(values) > len(known) / 3:
        return None
    exact = [float(value) for value in values[broken]]
    shares = [Fraction(value).limit_denominator(LARGEST_COUNT) for value in exact]
    if any(abs(float(share) - value) > ROUNDING for share, value in zip(shares, exact, strict=True)):
        return None
    undecimal = np.array([not _is_decimal(share.denominator) for share in shares])
    if undecimal.mean() < 1 / 2:
        return None
    commonest = int(np.argmax(counts[broken] * undecimal))
    return f"{shares[commonest]} in {counts[broken][commonest]} rows"


def _is_decimal(denominator: int) -> bool:
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1
