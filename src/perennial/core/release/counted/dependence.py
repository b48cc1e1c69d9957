"""Measure how far a champion's errors depend on each other, on what it answered in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.counted.cluster_bounds import LEAST, rate
from perennial.core.release.counted.slices import Slice
from perennial.core.release.traffic import Counters, PoolName

LEAST_ERRORS = 10
"""Errors from which their dependence is told."""


class MeasuredDependence(Frozen):
    """Spread of the champion's error rate between clusters, against that of independent requests."""

    requests: int
    errors: int
    slices: int = Field(description="time slices with requests")
    by_time: float | None = Field(
        description="variance of the rate between slices, as a multiple of that of independent requests (design "
        "effect); None: too few slices or errors"
    )
    buckets: int = Field(0, description="buckets of users with requests")
    by_users: float | None = Field(None, description="the same between buckets of users")
    user_variance: float | None = Field(
        None,
        description="squared relative standard error of the rate by users alone, if all users were the champion's",
    )

    @property
    def error_burst(self) -> float:
        """Mean number of errors that come together, if geometric bursts are what spreads the slices."""
        return 1.0 if self.by_time is None else max(1.0, (self.by_time + 1.0) / 2.0)

    def __str__(self) -> str:
        if self.by_time is None:
            return f"not known: {self.errors} errors in {self.slices} time slices"
        effects = [f"{self.by_time:.3g} by time ({self.slices} slices)"]
        if self.by_users is not None:
            effects.append(f"{self.by_users:.3g} by users ({self.buckets} groups)")
        largest = max(1.0, self.by_time, self.by_users or 1.0)
        told = f"{self.requests} requests tell as much about errors as {self.requests / largest:.0f} independent ones"
        return f"variance times {', '.join(effects)}: {told}"


def measured_dependence(
    slices: Sequence[Slice], users: Mapping[str, Mapping[str, Counters]], share: float
) -> MeasuredDependence:
    """Return what the champion's slices and buckets of users say.

    Args:
        share: part of the users that the champion had.
    """
    time = [part.counted.get(PoolName.STABLE, Counters()).evidence() for part in slices]
    time = [counters for counters in time if counters.requests]
    requests = sum(counters.requests for counters in time)
    errors = sum(min(counters.errors, counters.requests) for counters in time)
    by_time, _ = _effect(time)
    buckets = [counters for counters in users.get(PoolName.STABLE, {}).values() if counters.requests]
    by_users, variance = _effect(buckets)
    return MeasuredDependence(
        requests=requests,
        errors=errors,
        slices=len(time),
        by_time=by_time,
        buckets=len(buckets),
        by_users=by_users,
        user_variance=None if variance is None else variance * share,
    )


def _effect(clusters: Sequence[Counters]) -> tuple[float | None, float | None]:
    """Return the design effect of clusters, and the squared relative error that they add to independent requests."""
    requests = np.array([counters.requests for counters in clusters], dtype=float)
    errors = np.minimum([counters.errors for counters in clusters], requests)
    total, failed = requests.sum(), errors.sum()
    if len(clusters) < LEAST or failed < LEAST_ERRORS or failed == total:
        return None, None
    share = failed / total
    alone = share * (1.0 - share) / total
    variance = float(rate(errors, requests).variance)
    return variance / alone, max(0.0, variance - alone) / share**2
