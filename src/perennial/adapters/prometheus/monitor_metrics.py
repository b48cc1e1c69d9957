"""Prometheus metrics of the newest monitoring results."""

from __future__ import annotations

import errno
import hmac
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any
from wsgiref.simple_server import make_server

from prometheus_client import CollectorRegistry, Counter, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from perennial.adapters.prometheus.metrics_server import QuietHandler, ThreadingServer
from perennial.adapters.prometheus.pages import Page
from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.core.monitoring.levels import MonitorVerdict
from perennial.errors import PerennialError, PortTaken

LOG = logging.getLogger(__name__)
MODEL = ("model_name",)
RELEASE = ("model_name", "release")
Attended = tuple[str, str, datetime, bool]
"""Model, release id, time of the last pass, and whether the failover watch took it over because nobody walked it."""
FEATURE = ("model_name", "feature")


class MonitorMetrics(Collector):
    """Gauges of the newest window per model; a figure that was not judged is absent, not zero.

    The gauges are rebuilt from the verdicts at each scrape, so figures of an earlier champion disappear.
    """

    def __init__(self) -> None:
        self._verdicts: dict[str, tuple[MonitorVerdict, datetime]] = {}
        self._failing: dict[str, bool] = {}
        self._releases: Callable[[], Iterable[Attended]] = tuple
        self._newest_features: Callable[[], Mapping[str, datetime]] = dict
        self._newest_labels: dict[str, datetime] = {}
        self.registry = CollectorRegistry()
        self._unusable = Counter(
            "perennial_feedback_unusable",
            "Feedback that was not used.",
            ("source", "reason"),
            registry=self.registry,
        )
        self._broken = Counter(
            "perennial_broken_lines", "Broken lines of logs, skipped.", ("log",), registry=self.registry
        )
        self.registry.register(self)

    def watch_releases(self, releases: Callable[[], Iterable[Attended]]) -> None:
        """Export the last pass of running releases, asked at each scrape; absent while the database is down."""
        self._releases = releases

    def serve(
        self,
        host: str,
        port: int,
        secret: str = "",
        server_kind: type[ThreadingServer] = ThreadingServer,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        """Serve /metrics from its own thread.

        Args:
            secret: bearer token that a reader must send; empty: anybody reads.
            server_kind: the server, with or without TLS.
            pages: further pages by their paths.

        Raises:
            PortTaken: another program listens on the port.
        """
        try:
            server = make_server(host, port, self._guarded(secret, pages or {}), server_kind, QuietHandler)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise PortTaken(
                f"port {port} of {host} is taken",
                hint="stop what listens there, or set PERENNIAL_PORT_MONITOR",
            ) from error

        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    def _guarded(self, secret: str, pages: Mapping[str, Page]) -> Any:
        """Return the WSGI application of the pages, which answers 403 without the bearer token."""
        metrics = make_wsgi_app(self.registry)

        def application(environ: dict[str, Any], start: Any) -> Any:
            said = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
            if secret and not hmac.compare_digest(said.encode(), secret.encode()):
                start("403 Forbidden", [("content-type", "text/plain")])
                return [b"send the internal secret as a bearer token\n"]
            page = pages.get(environ.get("PATH_INFO", ""))
            return metrics(environ, start) if page is None else _answer(page, start)

        return application

    def watch_freshness(self, newest_features: Callable[[], Mapping[str, datetime]]) -> None:
        """Export the time of the newest stored feature value by model, asked at each scrape."""
        self._newest_features = newest_features

    def show(self, model: str, verdict: MonitorVerdict, at: datetime) -> None:
        """Replace the figures of a model."""
        self._verdicts[model] = (verdict, at)
        self._failing[model] = False

    def failed(self, model: str) -> None:
        """Mark the last pass for a model as failed; its figures stay those of the pass before."""
        self._failing[model] = True

    def received(self, counts: FeedbackCounts) -> None:
        """Add up the feedback that was not used, by source, and broken lines of both logs."""
        for model, at in counts.newest_labels.items():
            self._newest_labels[model] = max(at, self._newest_labels.get(model, at))
        self._broken.labels("predictions").inc(counts.broken_predictions)
        for reason, by_source in (
            ("unknown", counts.unknown),
            ("foreign", counts.foreign),
            ("invalid", counts.invalid),
            ("too often", counts.too_often),
        ):
            for source, count in by_source.items():
                self._unusable.labels(source, reason).inc(count)
        self._broken.labels("feedback").inc(counts.broken)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the gauges; the registry calls this at each scrape, from the server thread."""
        psi = GaugeMetricFamily("model_drift_psi", "PSI against the champion's reference", labels=FEATURE)
        allowance = GaugeMetricFamily(
            "model_drift_psi_allowance", "PSI that windows of this size reach without drift", labels=FEATURE
        )
        drop = GaugeMetricFamily(
            "model_accuracy_drop_percent",
            "Loss of accuracy relative to the reference, in percent",
            labels=MODEL,
        )
        level = GaugeMetricFamily(
            "model_monitor_level", "-1 unsure, 0 ok, 1 watch, 2 warn, 3 retrain", labels=MODEL
        )
        rows = GaugeMetricFamily(
            "model_monitor_window_predictions", "Predictions in the window", labels=MODEL
        )
        last = GaugeMetricFamily(
            "model_monitor_last_window_timestamp_seconds", "Time of the newest judged window", labels=MODEL
        )
        unknown = GaugeMetricFamily(
            "model_unknown_share", "Share of predictions without any known feature", labels=MODEL
        )
        refused = GaugeMetricFamily("model_refused_share", "Share of refused requests (4xx)", labels=MODEL)
        estimated = GaugeMetricFamily(
            "model_estimated_accuracy",
            "Share of right answers that the model's confidence lets expect, without labels",
            labels=MODEL,
        )
        error = GaugeMetricFamily(
            "model_estimated_accuracy_error",
            "Root mean square error of such estimates in the back-test",
            labels=MODEL,
        )
        for model, (verdict, at) in sorted(self._verdicts.items()):
            if verdict.estimated is not None:
                estimated.add_metric((model,), verdict.estimated.value)
                error.add_metric((model,), verdict.estimated.error)
            for drift in verdict.drifts:
                psi.add_metric((model, drift.column), drift.psi)
                allowance.add_metric((model, drift.column), drift.allowance)
            if verdict.drop_percent is not None:
                drop.add_metric((model,), verdict.drop_percent)
            level.add_metric((model,), verdict.level.rank)
            rows.add_metric((model,), verdict.rows)
            for family, share in ((unknown, verdict.unknown_share), (refused, verdict.refused_share)):
                if share is not None:
                    family.add_metric((model,), share)
            last.add_metric((model,), at.timestamp())
        failing = GaugeMetricFamily(
            "model_monitor_failing", "1 if the last pass failed, else 0", labels=MODEL
        )
        for model, failed in sorted(self._failing.items()):
            failing.add_metric((model,), float(failed))
        yield from (psi, allowance, drop, estimated, error, level, rows, unknown, refused, last, failing)
        yield from self._freshness()
        yield from self._attendance()

    def _freshness(self) -> Iterator[GaugeMetricFamily]:
        for what, times in (("feature", self._features()), ("label", self._newest_labels)):
            newest = GaugeMetricFamily(
                f"model_newest_{what}_timestamp_seconds", f"Time of the newest stored {what}", labels=MODEL
            )
            for model, at in sorted(times.items()):
                newest.add_metric((model,), at.timestamp())
            yield newest

    def _features(self) -> Mapping[str, datetime]:
        try:
            return self._newest_features()
        except PerennialError as error:  # absent, not wrong: the scrape keeps the other figures
            LOG.warning("%s: %s", type(error).__name__, error.message)
            return {}

    def _attendance(self) -> Iterator[GaugeMetricFamily]:
        last_pass = GaugeMetricFamily(
            "perennial_release_last_pass_timestamp_seconds",
            "Last pass over a running release",
            labels=RELEASE,
        )
        unattended = GaugeMetricFamily(
            "perennial_release_unattended", "1 if the failover watch took it over", labels=RELEASE
        )
        try:
            for model, release, at, is_unattended in self._releases():
                last_pass.add_metric((model, release), at.timestamp())
                unattended.add_metric((model, release), float(is_unattended))
        except Exception:  # noqa: BLE001 whatever fails here, the scrape keeps the other figures
            return
        yield from (last_pass, unattended)


def _answer(page: Page, start: Any) -> list[bytes]:
    """Return a page; where what it asks does not answer, a 503, so that Prometheus knows."""
    try:
        body, status = page(), "200 OK"
    except PerennialError as error:
        LOG.warning("%s: %s", type(error).__name__, error.message)
        body, status = f"{error.message}\n".encode(), "503 Service Unavailable"
    start(status, [("content-type", "text/plain; version=0.0.4; charset=utf-8")])
    return [body]
