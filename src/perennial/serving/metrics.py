"""Prometheus metrics of one model server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from perennial.serving.assignment import Assigned
from perennial.serving.host import LoadedVersions

BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2,
)  # fmt: skip
VERSION = ("pool", "model_name", "version")
VARIANT = ("model", "experiment", "arm")
"""Labels of a variant of an experiment; `arm` is the assigned version."""


class ServerMetrics:
    """Counters and histograms of a model server.

    Labels come from loaded versions and the router, so that callers cannot add series.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self._registry = registry = CollectorRegistry()

        def counter(name: str, text: str, labels: tuple[str, ...]) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, labels: tuple[str, ...]) -> Histogram:
            return Histogram(name, text, labels, buckets=BUCKETS, registry=registry)

        self._requests = counter("perennial_requests", "Answered requests.", (*VERSION, "status"))
        self._stand_ins = counter(
            "perennial_stand_ins",
            "Requests answered in place of the requested version.",
            (*VERSION, "stands_in"),
        )
        self._predictions = counter("perennial_predictions", "Answered rows.", VERSION)
        self._seconds = histogram("perennial_request_seconds", "Time to answer, features included.", VERSION)
        self._arm_predictions = counter("ab_test_predictions", "Answered rows of a split.", VARIANT)
        self._arm_seconds = histogram(
            "ab_test_prediction_latency_seconds",
            "Time to answer a request of a split, features included.",
            VARIANT,
        )
        self._loaded = Gauge(
            "perennial_model_loaded",
            "1: loaded; 0: desired and not loaded.",
            (*VERSION, "digest"),
            registry=registry,
        )

    def answered(self, model: str, version: str, rows: int, seconds: float, stands_in: str = "") -> None:
        """Count an answered request."""
        if stands_in:
            self._stand_ins.labels(self._pool, model, version, stands_in).inc()
        self._requests.labels(self._pool, model, version, "200").inc()
        self._predictions.labels(self._pool, model, version).inc(rows)
        self._seconds.labels(self._pool, model, version).observe(seconds)

    def assigned(self, model: str, assigned: Assigned, rows: int, seconds: float) -> None:
        """Count a request of an experiment for its assigned variant."""
        self._arm_predictions.labels(model, assigned.experiment, assigned.arm).inc(rows)
        self._arm_seconds.labels(model, assigned.experiment, assigned.arm).observe(seconds)

    def refused(self, status: int) -> None:
        """Count a request that no version answered, by its HTTP status."""
        self._requests.labels(self._pool, "", "", str(status)).inc()

    def page(self, versions: LoadedVersions) -> bytes:
        """Return the text page with the currently loaded versions."""
        self._loaded.clear()
        for wanted in versions.state.models:
            labels = self._pool, wanted.model, wanted.version, wanted.digest
            self._loaded.labels(*labels).set(int(wanted.identity in versions.loaded))
        return generate_latest(self._registry)
