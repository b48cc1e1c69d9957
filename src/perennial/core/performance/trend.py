"""Trend of a figure over periods that nobody has to assume a distribution for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import kendalltau, theilslopes

from perennial.core.evaluation.metrics import Estimate
from perennial.core.performance.figures import Direction, Trend

FEWEST_PERIODS = 6
"""With fewer the rank test cannot prove anything at 5 %."""
CONFIDENCE = 0.95


def trend(figure: str, days: Sequence[float], values: Sequence[float | None]) -> Trend | None:
    """Return the slope by Theil and Sen with its interval, and whether Mann and Kendall's test proves a direction.

    A single odd period moves neither (P. K. Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau",
    Journal of the American Statistical Association 63, 1968). Periods are taken as independent.

    Args:
        days: time of each period, in days.
        values: figure of each period; None is left out.

    Returns:
        None with fewer than `FEWEST_PERIODS` values, or where all are equal.
    """
    known = [(day, value) for day, value in zip(days, values, strict=True) if value is not None]
    if len(known) < FEWEST_PERIODS:
        return None
    x, y = np.array(known, dtype=float).T
    if np.ptp(y) == 0:
        return None
    slope, _, low, high = theilslopes(y, x, CONFIDENCE)
    proven = kendalltau(x, y).pvalue < 1 - CONFIDENCE and (low > 0 or high < 0)
    rising = Direction.RISING if slope > 0 else Direction.FALLING
    return Trend(
        figure=figure,
        per_day=Estimate(value=float(slope), low=float(low), high=float(high)),
        periods=len(known),
        direction=rising if proven else Direction.NOT_PROVEN,
    )
