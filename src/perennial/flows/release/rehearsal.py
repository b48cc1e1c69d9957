"""Rehearse a release under the traffic observed in the last days."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np

from perennial.core.release.analysis.rehearsal import rehearse
from perennial.core.release.analysis.simulated_labels import observed_truths
from perennial.core.release.analysis.traffic_profile import TrafficProfile
from perennial.core.release.status import ReleaseStatus
from perennial.core.release_spec import FeedbackSpec, ReleaseSpec
from perennial.errors import DataError
from perennial.flows.monitoring.accuracy import accuracy
from perennial.flows.monitoring.label_delays import label_delay
from perennial.flows.release.dependence import observed_dependence
from perennial.ports import FeedbackStore, PredictionLog

ASSUMED_ERROR_RATE = 0.01
"""The prediction log holds no failed request, so the share of failures is assumed."""
LEAST_HOURS = 0.01
LEAST_LOG_SD = 0.05
GATE_LOOKS_BACK = timedelta(days=1)
GATE_RELEASES, GATE_LOOKS = 500, 40
SEED = 7


def observed_traffic(
    model: str, predictions: PredictionLog, feedback: FeedbackStore, since: datetime, now: datetime,
    error_rate: float = ASSUMED_ERROR_RATE, policy: FeedbackSpec | None = None,
    earlier: Iterable[ReleaseStatus] = (),
) -> TrafficProfile:  # fmt: skip
    """Return rate, latency, accuracy and labels of the answered requests since then, without mirrored requests.

    Args:
        earlier: releases of the model, the newest first. The last one that counted a champion by slices tells how far
            errors come together.

    Raises:
        DataError: no request since then.
    """
    log = predictions.read(model, since=since)
    log = log[~log["shadow"].astype(bool)].drop_duplicates("request_id")
    if log.empty:
        raise DataError(f"{model}: no request since {since:%Y-%m-%d %H:%M}", hint="give the rate with --rate")
    hours = max((now - log["at"].min()) / timedelta(hours=1), LEAST_HOURS)
    latency = np.maximum(log["latency_ms"].to_numpy(dtype=float), 1e-3)
    counted = policy or FeedbackSpec()
    counts = list(accuracy(model, since, feedback, predictions, counted, with_mirrored=False).values())
    delay = label_delay(model, predictions, feedback, now) if counts else None
    requests, labels = sum(count.requests for count in counts), sum(count.labels for count in counts)
    labelled = min(requests, len(log))
    right = sum(count.right for count in counts) / max(1, requests)
    return TrafficProfile(
        requests_per_hour=len(log) / hours,
        error_rate=error_rate,
        latency_p95_ms=float(np.quantile(latency, 0.95)),
        latency_log_sd=max(LEAST_LOG_SD, float(np.log(latency).std())),
        accuracy=min(1.0, right),
        labelled=labelled / len(log),
        labels_per_request=max(1.0, labels / max(1, labelled)),
        dependence=observed_dependence(log, earlier),
        label_delay_hours=0.0 if delay is None else delay.hours,
        truths=observed_truths(counts),
    )


def gate_warnings(
    model: str,
    policy: ReleaseSpec,
    predictions: PredictionLog,
    feedback: FeedbackStore,
    now: datetime,
    earlier: Iterable[ReleaseStatus] = (),
) -> tuple[str, ...]:
    """Return the harms that the release would miss more often than catch, by the traffic of the last day."""
    try:
        traffic = observed_traffic(
            model, predictions, feedback, now - GATE_LOOKS_BACK, now, policy=policy.feedback, earlier=earlier
        )
    except DataError as error:
        return (f"not rehearsed: {error.message}",)
    return rehearse(policy, traffic, SEED, GATE_RELEASES, GATE_LOOKS, advise=False).warnings
