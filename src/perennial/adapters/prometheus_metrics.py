"""What the monitor last saw, for Prometheus."""

from __future__ import annotations

import errno
from datetime import datetime

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from perennial.core.monitoring import MonitorVerdict
from perennial.errors import PortTaken


class MonitorMetrics:
    """Gauges of the newest window per model; a figure that was not judged is absent, not zero."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        feature, model = ("model_name", "feature"), ("model_name",)
        self._psi = self._gauge("model_drift_psi", "PSI against the champion's reference", feature)
        self._allowance = self._gauge(
            "model_drift_psi_allowance", "PSI that windows of this size reach without drift", feature
        )
        self._drop = self._gauge(
            "model_accuracy_drop_percent", "Loss of accuracy relative to the reference, in percent", model
        )
        self._level = self._gauge("model_monitor_level", "-1 unsure, 0 ok, 1 watch, 2 warn, 3 retrain", model)
        self._rows = self._gauge("model_monitor_window_predictions", "Predictions in the window", model)
        self._at = self._gauge(
            "model_monitor_last_window_timestamp_seconds", "When a window was last looked at", model
        )
        self._failed = self._gauge("model_monitor_failing", "1 when the last look failed, else 0", model)

    def _gauge(self, name: str, text: str, labels: tuple[str, ...]) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def serve(self, host: str, port: int) -> None:
        """Answer on http://host:port/metrics from a thread of its own.

        Raises:
            PortTaken: something else listens there.
        """
        try:
            start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(
                f"port {port} of {host} is taken",
                hint="stop what listens there, or set PERENNIAL_PORT_MONITOR",
            ) from error

    def show(self, model: str, verdict: MonitorVerdict, at: datetime) -> None:
        """Replace all that is shown of a model: the figures before may be those of another champion."""
        for gauge in (self._psi, self._allowance, self._drop):
            gauge.remove_by_labels({"model_name": model})
        for one in verdict.drifts:
            self._psi.labels(model, one.column).set(one.psi)
            self._allowance.labels(model, one.column).set(one.allowance)
        if verdict.drop_percent is not None:
            self._drop.labels(model).set(verdict.drop_percent)
        self._level.labels(model).set(verdict.level.rank)
        self._rows.labels(model).set(verdict.rows)
        self._at.labels(model).set(at.timestamp())
        self._failed.labels(model).set(0)

    def failed(self, model: str) -> None:
        """The last look at a model failed; its figures are those of the look before."""
        self._failed.labels(model).set(1)
