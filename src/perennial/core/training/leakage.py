"""Signs that an input tells the target before it is known."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from perennial.core.input_spec import InputSpec, by_name
from perennial.core.training.target_shares import too_exact

Folds = list[tuple[np.ndarray, np.ndarray]]
SUSPICIOUS = 0.98
"""Share of the target that a column alone must explain on rows that its tree has not seen."""
MOST_ROWS = 5_000
LEAVES, FOLDS = 64, 4
DISTINCT = 0.5
"""Share of distinct values from which equal values tell a copy."""
FUTURE = 0.5
"""Share of the rows whose time in a column is later than the time of the row."""


def telling_columns(
    features: np.ndarray, names: tuple[str, ...], target: np.ndarray, is_number: bool, seed: int
) -> dict[str, str]:
    """Return the columns that predict the target alone: name -> why.

    Each column gets a small decision tree of its own, judged by cross-validation: by R2 for numbers, else by the
    share of wrong answers that it removes, compared with the most frequent class. A column that is the share of the
    target over groups of rows need not predict it well: see `too_exact`.

    Args:
        features: float32 [n, names], NaN for a missing value.
        target: [n], a number or the number of a class.
        seed: draws at most 5,000 rows, and the folds.
    """
    reasons = {
        name: "the mean of the target over the rows with the same value, too exact for chance"
        for name, column in zip(names, features.T, strict=True)
        if too_exact(column.astype(float), target, is_number)
    }
    order = np.random.default_rng(seed).permutation(len(target))[:MOST_ROWS]
    features, target = features[order], target[order].astype(float)
    folds = _folds(target, is_number, seed)
    for place, name in enumerate(names):
        column = features[:, [place]]
        if _copies(column[:, 0], target):
            reasons[name] = "a copy of the target"
            continue
        share = _explained(column, target, is_number, seed, folds)
        if share >= SUSPICIOUS:
            measure = "of the variance of the target" if is_number else "of the errors of guessing"
            reasons[name] = f"alone it removes {share:.1%} {measure}"
    return reasons


def by_input(reasons: Mapping[str, str], inputs: Mapping[str, InputSpec]) -> dict[str, str]:
    """Return the reasons under the names of the inputs: that of an array is the first of its columns."""
    columns = list(reasons)
    return {
        name: reasons[name] if name in reasons else f"{columns[places[0]]}: {reasons[columns[places[0]]]}"
        for name, places in by_name(inputs, columns).items()
    }


def future_times(times: Mapping[str, np.ndarray], row_times: np.ndarray) -> dict[str, str]:
    """Return the columns of times that are mostly later than the time of their row: name -> why.

    Args:
        times: name -> days or seconds [n], NaN for a missing value.
        row_times: the same unit, [n].
    """
    reasons = {}
    for name, values in times.items():
        known = ~np.isnan(values) & ~np.isnan(row_times)
        if not known.any():
            continue
        share = float(np.mean(values[known] > row_times[known]))
        if share >= FUTURE:
            reasons[name] = f"in {share:.0%} of the rows it is later than the time of the row"
    return reasons


def copies_across(features: np.ndarray, target: np.ndarray, later: np.ndarray) -> list[tuple[int, int]]:
    """Return the later rows that are copies of an earlier row: (its place, place of that row).

    A copy equals in all inputs and the target, and has a known value in a column whose values are mostly distinct:
    other rows may well be equal without being copies.

    Args:
        features: float32 [n, names], NaN equals NaN.
        target: [n].
        later: [n], true for the rows of the later side.
    """
    rows = np.ascontiguousarray(np.column_stack([features, target.astype(np.float32)]), dtype=np.float32)
    rows[np.isnan(rows)] = np.nan
    telling = np.zeros(len(rows), dtype=bool)
    for column in features.T:
        known = ~np.isnan(column)
        if known.any() and len(np.unique(column[known])) > DISTINCT * known.sum():
            telling |= known
    earlier = {rows[place].tobytes(): int(place) for place in np.flatnonzero(~later & telling)}
    copies = ((int(place), earlier.get(rows[place].tobytes())) for place in np.flatnonzero(later & telling))
    return [(place, copy) for place, copy in copies if copy is not None]


def _copies(column: np.ndarray, target: np.ndarray) -> bool:
    """Return whether column and target are the same up to names: each value has one target, and back."""
    if np.isnan(column).any():
        return False
    values, codes = np.unique(column, return_inverse=True)
    labels, classes = np.unique(target, return_inverse=True)
    pairs = np.unique(np.stack([codes, classes]), axis=1).shape[1]
    return len(values) == len(labels) == pairs and len(values) < len(column) / 2


def _explained(column: np.ndarray, target: np.ndarray, is_number: bool, seed: int, folds: Folds) -> float:
    """Return the share that a tree explains; a bound below `SUSPICIOUS` as soon as it cannot be reached any more."""
    kind = DecisionTreeRegressor if is_number else DecisionTreeClassifier
    tree = kind(max_leaf_nodes=LEAVES, min_samples_leaf=max(1, len(target) // 1000), random_state=seed)
    whole = (
        float(np.sum((target - target.mean()) ** 2))
        if is_number
        else len(target) - float(np.unique(target, return_counts=True)[1].max())
    )
    wrong = 0.0
    for train, judged in folds:
        answer = tree.fit(column[train], target[train]).predict(column[judged])
        errors = (answer - target[judged]) ** 2 if is_number else answer != target[judged]
        wrong += float(np.sum(errors))
        if wrong > (1 - SUSPICIOUS) * whole:
            break
    return 1 - wrong / whole if whole else 0.0


def _folds(target: np.ndarray, is_number: bool, seed: int) -> Folds:
    """Return the rows to fit and to judge of each fold, in a drawn order; a class may have few rows."""
    mixed = np.random.default_rng(seed).permutation(len(target))
    if is_number:
        pairs = KFold(FOLDS).split(mixed)
    else:
        rarest = int(np.unique(target, return_counts=True)[1].min())
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")
            pairs = iter(list(StratifiedKFold(max(2, min(FOLDS, rarest))).split(mixed, target[mixed])))
    return [(mixed[train], mixed[judged]) for train, judged in pairs]
