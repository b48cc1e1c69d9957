"""Prometheus metrics of running A/B tests, exported with the metrics of the monitor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from perennial.core.experiment.live_experiment import VariantFigures

VARIANT = ("model", "experiment", "arm")
"""Label names, as in the metrics of the model servers; `arm` is the version of the variant."""


class ExperimentMetrics(Collector):
    """Gauges of running A/B tests, rebuilt at each scrape so that ended tests disappear.

    A figure without labels or rewards is absent, not zero.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._figures: dict[str, Sequence[VariantFigures]] = {}
        registry.register(self)

    def show(self, model: str, figures: Sequence[VariantFigures]) -> None:
        """Replace the figures of a model; an empty sequence means that no test runs."""
        self._figures = {**self._figures, model: figures}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        users = GaugeMetricFamily(
            "ab_test_users", "Users assigned to the variant in the running test", labels=VARIANT
        )
        accuracy = GaugeMetricFamily(
            "ab_test_accuracy", "Share of right answers, mean over users with labels", labels=VARIANT
        )
        reward = GaugeMetricFamily(
            "ab_test_avg_reward", "Reward, mean over users with rewards", labels=VARIANT
        )
        for model, figures in sorted(self._figures.items()):
            for variant in figures:
                labels = (model, variant.experiment, variant.version)
                users.add_metric(labels, variant.users)
                if variant.accuracy is not None:
                    accuracy.add_metric(labels, variant.accuracy)
                if variant.reward is not None:
                    reward.add_metric(labels, variant.reward)
        yield from (users, accuracy, reward)
