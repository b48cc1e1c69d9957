"""Rankings without learning: a feature taken as the score. A learnt ranking must be at least as good."""

from __future__ import annotations

import numpy as np

from perennial.errors import DataError


def column_score(column: np.ndarray, known: np.ndarray) -> np.ndarray:
    """A feature as a score in [0, 1].

    A thing without history gets the mean of `known` (the training rows): neither first nor last.

    Args:
        column: [n], a rate or a flag in [0, 1]; NaN where nothing is known.
        known: the same feature over the training rows.

    Raises:
        DataError: the feature is no rate, or nothing at all is known in the training rows.
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
