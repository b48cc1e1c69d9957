"""Baselines: a feature used as the score. A trained model must rank at least as well."""

from __future__ import annotations

import numpy as np

from perennial.errors import DataError


def column_score(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return a feature as a score in [0, 1].

    Missing values become the mean of `known` (the training rows), so that they rank neither first nor last.

    Args:
        column: [n], a rate or a flag in [0, 1]; NaN where missing.
        known: the same feature in the training rows.

    Raises:
        DataError: the feature leaves [0, 1], or it is missing in all training rows.
    """
    if np.isnan(known).all():
        raise DataError("a baseline's feature is missing in all training rows", hint="train on more history")
    score = np.where(np.isnan(column), np.nanmean(known), column)
    if score.min() < 0 or score.max() > 1:
        raise DataError(
            f"a baseline's feature reaches from {score.min():g} to {score.max():g}: it is no rate",
            hint="name features within 0..1 under evaluation.baselines of the spec",
        )
    return score
