"""Counts of answered requests that cost a request no lock.

Only the thread of the event loop counts; the metrics page may read from anywhere. prometheus_client's own counters
take a lock per count, and under BentoML write each count to a memory-mapped file for its several workers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class Tally:
    """Requests, rows and a histogram of the seconds of one set of labels."""

    __slots__ = ("by_bound", "requests", "rows", "seconds")

    def __init__(self, bounds: int) -> None:
        self.requests = 0
        self.rows = 0
        self.seconds = 0.0
        self.by_bound = [0] * (bounds + 1)


class Tallies(Collector):
    """Tallies by labels, as a collector of prometheus_client.

    Args:
        labels: names of the labels.
        rows: name and text of the counter of rows.
        seconds: name and text of the histogram of seconds.
        bounds: upper bounds of the histogram, in order.
    """

    def __init__(
        self,
        labels: Sequence[str],
        rows: tuple[str, str],
        seconds: tuple[str, str],
        bounds: Sequence[float],
    ) -> None:
        self._labels = labels
        self._rows = rows
        self._seconds = seconds
        self._bounds = bounds
        self._by_labels: dict[tuple[str, ...], Tally] = {}

    def add(self, labels: tuple[str, ...], rows: int, seconds: float) -> None:
        """Count a request."""
        tally = self._by_labels.get(labels)
        if tally is None:
            tally = self._by_labels[labels] = Tally(len(self._bounds))
        tally.requests += 1
        tally.rows += rows
        tally.seconds += seconds
        tally.by_bound[bisect_left(self._bounds, seconds)] += 1

    def requests(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Return the requests by labels."""
        return ((labels, tally.requests) for labels, tally in list(self._by_labels.items()))

    def collect(self) -> Iterator[Metric]:
        rows = CounterMetricFamily(*self._rows, labels=self._labels)
        seconds = HistogramMetricFamily(*self._seconds, labels=self._labels)
        bounds = [*map(_bound, self._bounds), "+Inf"]
        for labels, tally in list(self._by_labels.items()):
            rows.add_metric(labels, tally.rows)
            counts = accumulate(list(tally.by_bound))
            seconds.add_metric(labels, list(zip(bounds, counts, strict=True)), tally.seconds)
        yield rows
        yield seconds


def _bound(bound: float) -> str:
    return repr(float(bound))
