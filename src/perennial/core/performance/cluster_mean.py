"""Mean of values that come in clusters, and the difference of two such means, with 95 % intervals."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import stdtrit

from perennial.core.evaluation.metrics import Estimate
from perennial.core.frozen import Frozen
from perennial.core.monitoring.dependence import clusters, joined

CONFIDENCE = 0.95
RUNS = 20
"""Most runs of time that an interval comes from."""


class ClusterMean(Frozen):
    """Mean of the values of whole clusters, with its standard error.

    The values of a cluster are right or wrong together. So the error is that of the ratio of two sums over clusters
    (W. G. Cochran, "Sampling Techniques", 1977, chapter 6).
    """

    value: float
    error: float
    """Standard error; infinite where it is not known."""
    clusters: int
    values: int

    @classmethod
    def of(cls, values: np.ndarray, cluster: np.ndarray) -> ClusterMean | None:
        """Return the mean of the known values; None without any.

        Args:
            values: float [n]; NaN is not known.
            cluster: [n].
        """
        known = np.isfinite(values)
        if not known.any():
            return None
        _, place = np.unique(cluster[known], return_inverse=True)
        sums, sizes = np.bincount(place, weights=values[known]), np.bincount(place)
        mean, count = float(sums.sum() / sizes.sum()), len(sizes)
        off = float(((sums - mean * sizes) ** 2).sum())
        error = math.sqrt(off * count / (count - 1)) / sizes.sum() if count > 1 else math.inf
        return cls(value=mean, error=float(error), clusters=count, values=int(sizes.sum()))

    def estimate(self, confidence: float = CONFIDENCE) -> Estimate:
        """Return the mean with its interval, by Student's t of the clusters."""
        half = _half(self.error, self.clusters, confidence)
        return Estimate(value=self.value, low=self.value - half, high=self.value + half)


def runs_of_time(request: np.ndarray) -> np.ndarray:
    """Return the run of each row, int [n]: at most `RUNS` runs of whole requests in their order, of alike length.

    The rows of a request are right or wrong together, and so are many requests that follow each other, as those about
    the tests of a CI cycle. Means of long runs are nearly independent (B. Schmeiser, "Batch size effects in the
    analysis of simulation output", Operations Research 1982).

    Args:
        request: [n], the request of each row, in order of time.
    """
    cluster = clusters(request)
    if len(cluster) == 0 or cluster.max() < RUNS:
        return cluster
    return joined(cluster, len(cluster) / RUNS)


def difference(later: ClusterMean, earlier: ClusterMean, confidence: float = CONFIDENCE) -> Estimate:
    """Return the later mean minus the earlier one, with the interval of the side with fewer clusters."""
    value = later.value - earlier.value
    half = _half(math.hypot(later.error, earlier.error), min(later.clusters, earlier.clusters), confidence)
    return Estimate(value=value, low=value - half, high=value + half)


def _half(error: float, clusters: int, confidence: float) -> float:
    if clusters < 2 or math.isinf(error):
        return math.inf
    return float(stdtrit(clusters - 1, (1 + confidence) / 2)) * error
