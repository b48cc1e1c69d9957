"""Training-serving skew: feature values used by a prediction against the values training would use."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen, Share
from perennial.core.monitoring.drift import Bins, counts, psi, shares

RELATIVE, ABSOLUTE = 1e-5, 1e-6
"""Tolerances for floating-point sums computed in another order."""


class FeatureSkew(Frozen):
    """Skew of a feature: served values against recomputed values."""

    feature: str
    rows: int
    differ: Share | None = Field(None, description="share of the rows whose values differ; None without rows")
    missing_served: Share | None = Field(None, description="share of the rows without a served value")
    missing_offline: Share | None = Field(None, description="share of the rows without an offline value")
    largest: float = Field(0.0, description="largest difference of two known values; 0 without such rows")
    psi: float | None = Field(
        None, description="PSI of the served values, with quantile bins of the recomputed values"
    )


def feature_skew(feature: str, served: np.ndarray, offline: np.ndarray, bins: int) -> FeatureSkew:
    """Compare both values row by row, and both distributions.

    A row with a single known value differs; a row without any known value does not.

    Args:
        served, offline: float [n], the same rows; NaN where not known.
        bins: number of bins of the PSI, without the bin for missing values.
    """
    count = len(served)
    if count == 0:
        return FeatureSkew(feature=feature, rows=0)
    # Round to float32 as the model does: else a value next to a border falls into the neighbouring bin.
    served, offline = (values.astype(np.float32).astype(float) for values in (served, offline))
    same = np.isclose(served, offline, rtol=RELATIVE, atol=ABSOLUTE, equal_nan=True)
    known = np.isfinite(served) & np.isfinite(offline)
    edges = Bins.of(offline, bins)
    return FeatureSkew(
        feature=feature,
        rows=count,
        differ=float((~same).mean()),
        missing_served=float(np.isnan(served).mean()),
        missing_offline=float(np.isnan(offline).mean()),
        largest=float(np.abs(served - offline)[known].max(initial=0.0)),
        psi=psi(*(shares(counts(edges.codes(values), edges.size)) for values in (offline, served))),
    )


def worst_first(skews: list[FeatureSkew]) -> tuple[FeatureSkew, ...]:
    """Sort by the share of rows that differ, then by name."""
    return tuple(sorted(skews, key=lambda skew: (-(skew.differ or 0.0), skew.feature)))
