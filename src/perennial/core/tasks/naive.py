"""Naive forecasts, which repeat a past value, and the scale of forecast errors.

Features are those of `core.tasks.windows`: the past values, the newest first, then the step ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

MEDIAN = 0.5


def scale_of(past: int, features: np.ndarray) -> np.ndarray:
    """Return the mean absolute change from a past value to the next, [n]: 0 of a constant past.

    It is the error of the one-step naive forecast on the values that were known at the origin, by which MASE scales
    (R. Hyndman, A. Koehler, "Another look at measures of forecast accuracy", IJF 2006).
    """
    return np.asarray(np.abs(np.diff(features[:, :past].astype(float), axis=1)).mean(axis=1))


def repeated(past: int, season: int, features: np.ndarray) -> np.ndarray:
    """Return the newest past value that lies whole seasons before the forecast period, [n]; season 1: the last."""
    step = features[:, past].astype(int)
    lag = season * -(-step // season) - step
    return np.asarray(features[np.arange(len(features)), lag], dtype=float)


def naive_quantiles(
    past: int, season: int, levels: Sequence[float], target: np.ndarray, known: np.ndarray, judged: np.ndarray
) -> np.ndarray:
    """Return quantiles around the repeated value, float [n, levels].

    They are those of its errors in the training rows, by step and in units of the scale. The median stays the repeated
    value itself, whatever the drift of the training rows.

    Args:
        target: [m] of the training rows, whose features are `known`.
        judged: features of the n answered rows.
    """
    scale, wide = scale_of(past, known), scale_of(past, judged)[:, None]
    usable = scale > 0
    errors = (target - repeated(past, season, known))[usable] / scale[usable]
    steps, own, quantiles = known[usable, past], judged[:, past], np.array(levels)
    spread = np.zeros((len(judged), len(quantiles)))
    for step in np.unique(own):
        of_step = errors[steps == step]
        if len(of_step):
            spread[own == step] = np.quantile(of_step, quantiles)
    spread = np.where(quantiles < MEDIAN, np.minimum(spread, 0), np.maximum(spread, 0))
    return np.asarray(repeated(past, season, judged)[:, None] + wide * spread * (quantiles != MEDIAN))
