"""Recording rules: the thresholds of the specs as series, and the shares of bad requests by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from perennial.adapters.alerting import promql
from perennial.adapters.alerting.promql import recorded
from perennial.adapters.envoy.config import BUCKETS_MS
from perennial.core.alerting.burn_rates import WINDOWS
from perennial.core.spec import ModelSpec
from perennial.errors import SpecError

Json = dict[str, Any]
OF_CLIENTS = 'job="envoy",pool=~"stable|canary"'
"""Requests of clients; copies of a shadow are not answered to anybody."""
OF_EACH = "model_name"


def thresholds(specs: Sequence[ModelSpec], interval: str) -> Json:
    """Return the group of the thresholds of each model, the only place of their numbers.

    Raises:
        SpecError: a promised latency is none of the bounds that Envoy counts by.
    """
    rules = [_constant(name, value, spec, more) for spec in specs for name, value, more in _of_model(spec)]
    return {"name": "model_thresholds", "interval": interval, "rules": rules}


def _of_model(spec: ModelSpec) -> Iterator[tuple[str, float, dict[str, str]]]:
    slo = spec.slo
    yield promql.AVAILABILITY, slo.availability, {}
    yield promql.LATENCY, slo.latency, {}
    yield promql.LATENCY_BUCKET, 1, {"le": bound(spec)}
    yield promql.EVERY, spec.monitoring.every.total_seconds(), {}
    if slo.features_age is not None and spec.features.source == "store":
        yield promql.FEATURES_AGE, slo.features_age.total_seconds(), {}
    if slo.labels_age is not None:
        yield promql.LABELS_AGE, slo.labels_age.total_seconds(), {}


def bound(spec: ModelSpec) -> str:
    """Return the label `le` of the bucket of Envoy that ends at the promised latency.

    Envoy rounds down to whole milliseconds and its bounds lie between them: below 250 ms is up to 249.5.

    Raises:
        SpecError: Envoy has no such bound.
    """
    promised = spec.slo.latency_ms
    if promised - 0.5 not in BUCKETS_MS:
        near = sorted(BUCKETS_MS, key=lambda bound: abs(bound + 0.5 - promised))[:2]
        raise SpecError(
            f"{spec.name}: slo.latency_ms: {promised:g} is no bound that Envoy counts by",
            hint=f"the nearest are {' and '.join(f'{bound + 0.5:g}' for bound in sorted(near))}",
        )
    return f"{promised - 0.5:g}"


def _constant(name: str, value: float, spec: ModelSpec, more: dict[str, str]) -> Json:
    return {"record": name, "expr": f"vector({value:g})", "labels": {"model_name": spec.name, **more}}


def windows(interval: str) -> Json:
    """Return the group that records, for each window, the requests of each model and the share of bad ones."""
    return {
        "name": "model_windows",
        "interval": interval,
        "rules": [rule for window in WINDOWS for rule in _of_window(window)],
    }


def _of_window(window: timedelta) -> Iterator[Json]:
    span, requests, errors = (
        promql.duration(window),
        recorded(promql.REQUESTS, window),
        recorded(promql.ERRORS, window),
    )
    codes = f"envoy_cluster_upstream_rq_xx{{{OF_CLIENTS}}}[{span}]"
    failed = f'envoy_cluster_upstream_rq_xx{{{OF_CLIENTS},envoy_response_code_class="5"}}[{span}]'
    bucket, count = (
        f"envoy_cluster_upstream_rq_time_{part}{{{OF_CLIENTS}}}[{span}]" for part in ("bucket", "count")
    )
    yield {"record": requests, "expr": f"sum by ({OF_EACH}) (rate({codes}))"}
    # The series of a class of codes is not there before its first answer.
    yield {"record": errors, "expr": f"sum by ({OF_EACH}) (rate({failed})) or 0 * {requests}"}
    yield {"record": recorded(promql.ERROR_RATIO, window), "expr": f"{errors} / ({requests} > 0)"}
    in_time = (
        f"sum by ({OF_EACH}) (sum by ({OF_EACH}, le) (rate({bucket})) "
        f"* on ({OF_EACH}, le) {promql.LATENCY_BUCKET})"
    )
    yield {
        "record": recorded(promql.SLOW_RATIO, window),
        "expr": f"1 - {in_time} / (sum by ({OF_EACH}) (rate({count})) > 0)",
    }
