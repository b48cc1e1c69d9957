"""What running A/B tests have shown so far, for Prometheus, beside the monitor's figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from perennial.core.experiment.live_experiment import VariantFigures

ARM = ("model", "experiment", "arm")
"""As of the counters that the model servers keep: `arm` is a version."""


class ExperimentMetrics(Collector):
    """Gauges made at each scrape from what was last shown, so nothing of an ended test stays behind.

    A figure without labels or rewards is absent, not zero.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seen: dict[str, Sequence[VariantFigures]] = {}
        registry.register(self)

    def show(self, model: str, figures: Sequence[VariantFigures]) -> None:
        """Replace all that is shown of a model; empty: no test runs."""
        self._seen = {**self._seen, model: figures}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        users = GaugeMetricFamily("ab_test_users", "Users drawn to the arm in the running test", labels=ARM)
        accuracy = GaugeMetricFamily(
            "ab_test_accuracy", "Share of right answers, mean over users with labels", labels=ARM
        )
        reward = GaugeMetricFamily("ab_test_avg_reward", "Reward, mean over users with rewards", labels=ARM)
        for model, figures in sorted(self._seen.items()):
            for one in figures:
                labels = (model, one.experiment, one.arm)
                users.add_metric(labels, one.users)
                if one.accuracy is not None:
                    accuracy.add_metric(labels, one.accuracy)
                if one.reward is not None:
                    reward.add_metric(labels, one.reward)
        yield from (users, accuracy, reward)
