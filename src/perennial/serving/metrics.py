"""Prometheus metrics of one model server."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from perennial.core.serving_spec import Load
from perennial.serving.assignment import Assigned
from perennial.serving.host import ModelHost
from perennial.serving.http.tallies import Tallies

BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2,
)  # fmt: skip
VERSION = ("pool", "model_name", "version")
VARIANT = ("model", "experiment", "arm")
"""Labels of a variant of an experiment; `arm` is the assigned version."""


class ServerMetrics(Collector):
    """Counters and histograms of a model server.

    Labels come from loaded versions and the router, so that callers cannot add series.
    """

    def __init__(self, host: ModelHost) -> None:
        self._host = host
        self._pool = host.pool
        self._registry = registry = CollectorRegistry()

        self._refused: Counts[int] = Counts()
        self._answered = Tallies(
            VERSION,
            ("perennial_predictions", "Answered rows."),
            ("perennial_request_seconds", "Time to answer, features included."),
            BUCKETS,
        )
        self._arms = Tallies(
            VARIANT,
            ("ab_test_predictions", "Answered rows of a split."),
            ("ab_test_prediction_latency_seconds", "Time to answer a request of a split, features included."),
            BUCKETS,
        )
        for collector in (self, self._answered, self._arms):
            registry.register(collector)
        self._stand_ins = Counter(
            "perennial_stand_ins",
            "Requests answered in place of the requested version.",
            (*VERSION, "stands_in"),
            registry=registry,
        )

    def answered(self, model: str, version: str, rows: int, seconds: float, stands_in: str = "") -> None:
        """Count an answered request."""
        if stands_in:
            self._stand_ins.labels(self._pool, model, version, stands_in).inc()
        self._answered.add((self._pool, model, version), rows, seconds)

    def assigned(self, model: str, assigned: Assigned, rows: int, seconds: float) -> None:
        """Count a request of an experiment for its assigned variant."""
        self._arms.add((model, assigned.experiment, assigned.arm), rows, seconds)

    def refused(self, status: int) -> None:
        """Count a request that no version answered, by its HTTP status."""
        self._refused[status] += 1

    def collect(self) -> Iterator[Metric]:
        """Return the requests: those answered, and those refused by their status."""
        requests = CounterMetricFamily(
            "perennial_requests", "Answered requests.", labels=(*VERSION, "status")
        )
        for labels, count in self._answered.requests():
            requests.add_metric((*labels, "200"), count)
        for status, count in list(self._refused.items()):
            requests.add_metric((self._pool, "", "", str(status)), count)
        yield requests
        yield self._loaded()
        yield from self._on_demand()

    def _loaded(self) -> Metric:
        """Return the versions of this server; one that is loaded on demand is among them while it is loaded."""
        loaded = GaugeMetricFamily(
            "perennial_model_loaded", "1: loaded; 0: pinned and not loaded.", labels=(*VERSION, "digest")
        )
        for wanted in self._host.versions.state.models:
            is_loaded = self._host.is_loaded(wanted.identity)
            if is_loaded or wanted.load is Load.PINNED:
                loaded.add_metric((self._pool, wanted.model, wanted.version, wanted.digest), float(is_loaded))
        return loaded

    def _on_demand(self) -> Iterator[Metric]:
        on_demand = self._host.on_demand
        gauges = {
            (
                "perennial_on_demand_bytes",
                "Memory of the versions loaded on demand, as estimated.",
            ): on_demand.memory,
            ("perennial_on_demand_budget_bytes", "Memory that these may occupy."): on_demand.budget,
            ("perennial_on_demand_loaded", "Versions loaded on demand."): on_demand.count,
        }
        for (name, text), value in gauges.items():
            gauge = GaugeMetricFamily(name, text, labels=("pool",))
            gauge.add_metric((self._pool,), value)
            yield gauge
        yield from on_demand.tally.metrics(self._pool)

    def page(self) -> bytes:
        """Return the text page."""
        return generate_latest(self._registry)
