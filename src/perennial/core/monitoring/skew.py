"""Training-serving skew: the values that a prediction used beside those that training would have used. Pure."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen, Share
from perennial.core.monitoring.drift import Bins, psi, shares

RELATIVE, ABSOLUTE = 1e-5, 1e-6
"""What another order of the same sums may make of a value."""


class FeatureSkew(Frozen):
    """One feature, served beside recomputed."""

    feature: str
    rows: int
    differ: Share | None = Field(description="share of the rows with another value; None without a row")
    missing_served: Share | None = Field(description="share that was not known when served")
    missing_offline: Share | None = Field(description="share that is not known offline")
    largest: float = Field(description="largest difference where both are known; 0 where none are")
    psi: float | None = Field(description="of the served values, with quantile bins of the recomputed ones")


def feature_skew(feature: str, served: np.ndarray, offline: np.ndarray, bins: int) -> FeatureSkew:
    """Compare row by row, and both distributions.

    A value that is known on one side only differs; one that is known on neither does not.

    Args:
        served, offline: float [n], the same rows; NaN where not known.
        bins: of the PSI, missing values aside.
    """
    count = len(served)
    if count == 0:
        return FeatureSkew(
            feature=feature,
            rows=0,
            differ=None,
            missing_served=None,
            missing_offline=None,
            largest=0,
            psi=None,
        )
    # As the model gets them: else a value beside the border of a bin falls on its other side.
    served, offline = (side.astype(np.float32).astype(float) for side in (served, offline))
    same = np.isclose(served, offline, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    known = np.isfinite(served) & np.isfinite(offline)
    cut = Bins.of(offline, bins)
    return FeatureSkew(
        feature=feature,
        rows=count,
        differ=float((~same).mean()),
        missing_served=float(np.isnan(served).mean()),
        missing_offline=float(np.isnan(offline).mean()),
        largest=float(np.abs(served - offline)[known].max(initial=0.0)),
        psi=psi(shares(cut.codes(offline), cut.size), shares(cut.codes(served), cut.size)),
    )


def worst_first(found: list[FeatureSkew]) -> tuple[FeatureSkew, ...]:
    """By the share of rows that differ, then by name."""
    return tuple(sorted(found, key=lambda one: (-(one.differ or 0.0), one.feature)))
