"""Alerts about models: what the monitor found, and whether it looks at all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from perennial.adapters.alerting import promql
from perennial.adapters.alerting.alert import Alert, Severity
from perennial.adapters.alerting.promql import recorded
from perennial.core.alerting.burn_rates import BURN_RATES, FEWEST_BAD, BurnRate
from perennial.core.monitoring.levels import Level

LEVEL = "level"
"""Label of the alerts about a level, by which the graver silences the other."""
MODEL = "{{ $labels.model_name }}"
SHARES = "model_unknown_share", "model_refused_share"


def _figure(metric: str, form: str = '{{ . | first | value | printf "%.3g" }}') -> str:
    """Return a template with the newest value of a metric of the model; without one, `not known`."""
    asked = f"{{{{ with printf \"{metric}{{model_name='%s'}}\" $labels.model_name | query }}}}"
    return f"{asked}{form}{{{{ else }}}}not known{{{{ end }}}}"


def _moved() -> str:
    """Return a template that names the three columns that moved most, with PSI and allowance."""
    expr = (
        "topk(3, model_drift_psi{model_name='%s'} - on (model_name, feature) "
        "(model_drift_psi_allowance >= 0))"
    )
    column = '{{ $d.Labels.feature }} +{{ $d.Value | printf "%.2f" }}'
    listed = f"{{{{ range $i, $d := . }}}}{{{{ if $i }}}}, {{{{ end }}}}{column}{{{{ end }}}}"
    return f'{{{{ with printf "{expr}" $labels.model_name | query }}}}{listed}{{{{ else }}}}not known{{{{ end }}}}'


def levels() -> list[Alert]:
    """Return the alerts about the level of the newest window; the limits themselves are the monitor's."""
    figures = (
        f"PSI above the allowance: {_moved()}; drop of the accuracy in percent: "
        f"{_figure('model_accuracy_drop_percent')}; {_figure('model_monitor_window_predictions')} predictions in the "
        "window. The limits are `monitoring` of the spec."
    )
    return [
        Alert(
            "ModelRetrain", f"model_monitor_level == {Level.RETRAIN.rank}", Severity.CRITICAL,
            f"{MODEL} drifted or lost accuracy as far as a retraining", figures, labels={LEVEL: Level.RETRAIN.value},
        ),
        Alert(
            "ModelWarn", f"model_monitor_level == {Level.WARN.rank}", Severity.WARNING,
            f"{MODEL}: the monitor warns",
            f"{figures} Without any known feature: {_figure(SHARES[0])}; refused: {_figure(SHARES[1])}.",
            labels={LEVEL: Level.WARN.value},
        ),
    ]  # fmt: skip


def looks() -> list[Alert]:
    """Return the alerts about the monitor's looks at a model."""
    unjudged = (
        f"model_monitor_level == {Level.UNSURE.rank} "
        f"and on (model_name) {recorded(promql.REQUESTS, timedelta(hours=6))} > 0"
    )
    return [
        Alert(
            "ModelMonitorFailing", "model_monitor_failing == 1", Severity.WARNING,
            f"the monitor cannot judge {MODEL}",
            f"Its figures are those of {_since('model_monitor_last_window_timestamp_seconds')}: later looks failed.",
            lasting="10m",
        ),
        Alert(
            "ModelMonitorSilent",
            f"time() - model_monitor_last_window_timestamp_seconds > on (model_name) (3 * {promql.EVERY} + 300)",
            Severity.CRITICAL, f"nobody judges {MODEL}",
            "The newest judged window is {{ $value | humanizeDuration }} old; a look is due "
            f"every {_figure(promql.EVERY, '{{ . | first | value | humanizeDuration }}')}.",
        ),
        Alert(
            "ModelUnjudged", unjudged, Severity.INFO, f"{MODEL} answers, and was not judged for a day",
            f"{_figure('model_monitor_window_predictions')} predictions are in the window: fewer than "
            "`monitoring.min_window`, or of fewer requests than `monitoring.min_requests`.",
            lasting="24h",
        ),
    ]  # fmt: skip


def _since(metric: str) -> str:
    return _figure(metric, "{{ . | first | value | humanizeTimestamp }}")


def burns() -> Iterator[Alert]:
    """Yield an alert for each burn rate and objective of the callers."""
    kinds = (
        ("Availability", promql.ERROR_RATIO, promql.AVAILABILITY, "end in a 5xx"),
        ("Latency", promql.SLOW_RATIO, promql.LATENCY, "take longer than promised"),
    )
    for name, ratio, objective, what in kinds:
        for burn in BURN_RATES:
            yield _burn(f"Model{name}{'Burn' if burn.pages else 'BurnSlow'}", burn, ratio, objective, what)


def _burn(name: str, burn: BurnRate, ratio: str, objective: str, what: str) -> Alert:
    long, requests = recorded(ratio, burn.long), recorded(promql.REQUESTS, burn.long)
    limit = f"on (model_name) ({burn.rate:g} * (1 - {objective}))"
    expr = " and on (model_name) ".join(
        (
            f"({long} > {limit})",
            f"({recorded(ratio, burn.short)} > {limit})",
            f"({long} * on (model_name) {requests} * {burn.long.total_seconds():g} >= {FEWEST_BAD})",
        )
    )
    return Alert(
        name, expr, Severity.CRITICAL if burn.pages else Severity.WARNING,
        f"{MODEL}: {{{{ $value | humanizePercentage }}}} of the requests {what}",
        f"In the last {promql.duration(burn.long)} {{{{ $value | humanizePercentage }}}}, and still in the last "
        f"{promql.duration(burn.short)}: {burn.rate:g} times what an objective of {_figure(objective)} allows, which "
        f"uses {burn.budget:.0%} of the budget of 30 days in {promql.duration(burn.long)}.",
        labels={"window": promql.duration(burn.long)},
    )  # fmt: skip


def freshness() -> list[Alert]:
    """Return the alerts about stored feature values and labels that no longer come."""
    return [
        Alert(
            name, f"time() - max by (model_name) (last_over_time({metric}[30d])) > on (model_name) {limit}",
            Severity.WARNING, f"{MODEL}: {what}",
            f"{{{{ $value | humanizeDuration }}}} old, at most "
            f"{_figure(limit, '{{ . | first | value | humanizeDuration }}')} is promised (`slo.{key}`).",
            lasting="5m",
        )
        for name, metric, limit, what, key in (
            ("ModelFeaturesStale", "model_newest_feature_timestamp_seconds", promql.FEATURES_AGE,
             "its stored feature values are old", "features_age"),
            ("ModelLabelsStale", "model_newest_label_timestamp_seconds", promql.LABELS_AGE,
             "no label has come for long", "labels_age"),
        )
    ]  # fmt: skip
