"""Counts of loads on demand, as a collector of prometheus_client."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

BOUNDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
POOL = ("pool",)


class LoadTally:
    """Loads by their outcome, evictions, and a histogram of the seconds of a load; written under the owner's lock."""

    def __init__(self) -> None:
        self.failed = 0
        self.evicted = 0
        self._seconds = 0.0
        self._by_bound = [0] * (len(BOUNDS) + 1)

    def loaded(self, seconds: float) -> None:
        """Count a load."""
        self._seconds += seconds
        self._by_bound[bisect_left(BOUNDS, seconds)] += 1

    @property
    def loads(self) -> int:
        """Return how many versions were loaded."""
        return sum(self._by_bound)

    def metrics(self, pool: str) -> list[Metric]:
        """Return the metrics of a server of a pool."""
        loads = CounterMetricFamily(
            "perennial_cold_loads", "Loads on demand by outcome.", labels=(*POOL, "outcome")
        )
        loads.add_metric((pool, "loaded"), self.loads)
        loads.add_metric((pool, "failed"), self.failed)
        evictions = CounterMetricFamily("perennial_evictions", "Versions that left for another.", labels=POOL)
        evictions.add_metric((pool,), self.evicted)
        seconds = HistogramMetricFamily(
            "perennial_cold_load_seconds", "Time to load a version on demand.", labels=POOL
        )
        bounds = [*(repr(bound) for bound in BOUNDS), "+Inf"]
        counts = accumulate(list(self._by_bound))
        seconds.add_metric((pool,), list(zip(bounds, counts, strict=True)), self._seconds)
        return [loads, evictions, seconds]
