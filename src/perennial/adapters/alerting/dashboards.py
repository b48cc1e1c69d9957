"""Grafana's dashboards: the plant, and one for any model, which a variable names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from perennial.adapters.alerting import promql
from perennial.adapters.alerting.promql import recorded
from perennial.core.monitoring.levels import Level

Json = dict[str, Any]
SOURCE: Json = {"type": "prometheus", "uid": "prometheus"}
COLUMNS, WIDTH, HEIGHT = 2, 12, 8
LEVELS = {
    Level.UNSURE: "text", Level.OK: "green", Level.WATCH: "yellow", Level.WARN: "orange", Level.RETRAIN: "red",
}  # fmt: skip
FIVE, DAY = timedelta(minutes=5), timedelta(hours=6)
OF_MODEL = 'model_name="$model"'


@dataclass(frozen=True)
class Panel:
    """A panel: queries with their legends, and the unit of Grafana in which the values are shown."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    levels: bool = False


def plant() -> Json:
    """Return the dashboard of the whole plant."""
    return _dashboard("perennial-plant", "Perennial: plant", tuple(_of_plant()), variable=False)


def model() -> Json:
    """Return the dashboard of one model."""
    return _dashboard("perennial-model", "Perennial: model", tuple(_of_model()), variable=True)


def _of_plant() -> Iterator[Panel]:
    yield Panel("Level of each model", [("model_monitor_level", "{{model_name}}")], kind="stat", levels=True)
    yield Panel(
        "Alerts that fire",
        [('sort_desc(count by (alertname, model_name) (ALERTS{alertstate="firing"}))', "{{alertname}} {{model_name}}")],
        kind="bargauge", about="The runbook of each is docs/guide/runbooks.md.",
    )  # fmt: skip
    yield Panel("Requests per second", [(recorded(promql.REQUESTS, FIVE), "{{model_name}}")], "reqps")
    yield Panel(
        "Requests that end in a 5xx", [(recorded(promql.ERROR_RATIO, FIVE), "{{model_name}}")], "percentunit"
    )
    yield Panel(
        "Budget of availability that is left",
        [(_left(promql.ERROR_RATIO, promql.AVAILABILITY), "{{model_name}}")], "percentunit",
        about="At the rate of the last 3 days, over 30 days; below 0 the objective is missed.",
    )  # fmt: skip
    yield Panel(
        "Processes that answer",
        [("up", "{{job}} {{instance}}"), ("perennial_part_healthy", "{{part}}")],
        kind="stat",
    )
    yield Panel(
        "Memory of the versions on demand",
        [("perennial_on_demand_bytes", "{{instance}}"), ("perennial_on_demand_budget_bytes", "budget of {{instance}}")],
        "bytes",
    )  # fmt: skip
    yield Panel(
        "Labels that are not used, and broken lines, per hour",
        [
            ("sum by (source, reason) (increase(perennial_feedback_unusable_total[1h]))", "{{source}}: {{reason}}"),
            ("sum by (log) (increase(perennial_broken_lines_total[1h]))", "lines of {{log}}"),
        ],
    )  # fmt: skip


def _of_model() -> Iterator[Panel]:
    yield Panel("Level", [(f"model_monitor_level{{{OF_MODEL}}}", "level")], kind="stat", levels=True)
    yield Panel(
        "Release",
        [
            (f"sum by (version, pool) (perennial_model_loaded{{{OF_MODEL}}})", "servers with {{version}} in {{pool}}"),
            (f"perennial_release_unattended{{{OF_MODEL}}}", "unattended: {{release}}"),
        ],
        kind="stat",
    )  # fmt: skip
    codes = f'envoy_cluster_upstream_rq_xx{{job="envoy",{OF_MODEL}}}'
    yield Panel(
        "Traffic by pool", [(f"sum by (pool) (rate({codes}[5m]))", "{{pool}}")], "reqps",
        about="The pool shadow gets copies, which are not answered to clients.",
    )  # fmt: skip
    yield Panel(
        "Answers by class of the status",
        [(f"sum by (envoy_response_code_class) (rate({codes}[5m]))", "{{envoy_response_code_class}}xx")], "reqps",
    )  # fmt: skip
    buckets = f'envoy_cluster_upstream_rq_time_bucket{{job="envoy",{OF_MODEL},pool=~"stable|canary"}}'
    yield Panel(
        "Latency at Envoy",
        [
            (f"histogram_quantile({share}, sum by (le) (rate({buckets}[5m])))", f"p{share * 100:g}")
            for share in (0.5, 0.95, 0.99)
        ],
        "ms", about="Between the kept bounds quantiles are interpolated.",
    )  # fmt: skip
    yield Panel(
        "Budgets that are left",
        [
            (_left(ratio, objective, OF_MODEL), name)
            for ratio, objective, name in (
                (promql.ERROR_RATIO, promql.AVAILABILITY, "availability"),
                (promql.SLOW_RATIO, promql.LATENCY, "latency"),
            )
        ],
        "percentunit", about="At the rate of the last 3 days, over 30 days.",
    )  # fmt: skip
    drift = f"model_drift_psi{{{OF_MODEL}}} - on (model_name, feature) model_drift_psi_allowance"
    yield Panel("Drift: PSI above the allowance", [(drift, "{{feature}}")])
    yield Panel(
        "Accuracy: drop against the reference",
        [(f"model_accuracy_drop_percent{{{OF_MODEL}}}", "drop")], "percent",
        about="Absent where too few labels came.",
    )  # fmt: skip
    yield Panel(
        "Predictions in the window",
        [(f"model_monitor_window_predictions{{{OF_MODEL}}}", "predictions")],
    )
    yield Panel(
        "Requests without a known feature, and refused",
        [(f"model_unknown_share{{{OF_MODEL}}}", "unknown"), (f"model_refused_share{{{OF_MODEL}}}", "refused")],
        "percentunit",
    )  # fmt: skip
    yield Panel(
        "Age of features, labels and the newest look",
        [
            (f"time() - {metric}{{{OF_MODEL}}}", name)
            for metric, name in (
                ("model_newest_feature_timestamp_seconds", "newest feature value"),
                ("model_newest_label_timestamp_seconds", "newest label"),
                ("model_monitor_last_window_timestamp_seconds", "newest judged window"),
            )
        ],
        "s",
    )  # fmt: skip
    yield Panel(
        "A/B test",
        [
            ('ab_test_users{model="$model"}', "users of {{arm}}"),
            ('ab_test_accuracy{model="$model"}', "accuracy of {{arm}}"),
        ],
    )


def _left(ratio: str, objective: str, matcher: str = "") -> str:
    """Return the share of the budget that is left at the rate of the longest window."""
    chosen = f"{{{matcher}}}" if matcher else ""
    days = timedelta(days=3)
    return f"1 - {recorded(ratio, days)}{chosen} / on (model_name) (1 - {objective})"


def _dashboard(uid: str, title: str, panels: Sequence[Panel], variable: bool) -> Json:
    return {
        "uid": uid,
        "title": title,
        "tags": ["perennial"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": [_variable()] if variable else []},
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "tags": ["perennial"], "title": "Perennial", "asDropdown": True}],
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _variable() -> Json:
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": f"label_values({promql.AVAILABILITY}, model_name)", "refId": "models"},
        "refresh": 1,
        "sort": 1,
        "multi": False,
        "includeAll": False,
    }


def _panel(number: int, panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit}
    if panel.levels:
        options = {str(level.rank): {"text": level.value, "color": color} for level, color in LEVELS.items()}
        defaults["mappings"] = [{"type": "value", "options": options}]
    return {
        "id": number + 1,
        "title": panel.title,
        "description": panel.about,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": {
            "x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT,
        },
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for place, (expr, legend) in enumerate(panel.queries)
        ],
    }  # fmt: skip


def provisioning(prometheus: str) -> dict[str, Json]:
    """Return Grafana's own files by path: where the figures are, and where the dashboards."""
    return {
        "provisioning/datasources/perennial.yaml": {
            "apiVersion": 1,
            "datasources": [
                {
                    "name": "Prometheus",
                    "uid": SOURCE["uid"],
                    "type": SOURCE["type"],
                    "access": "proxy",
                    "url": f"http://{prometheus}",
                    "isDefault": True,
                    "editable": False,
                }
            ],
        },
        "provisioning/dashboards/perennial.yaml": {
            "apiVersion": 1,
            "providers": [
                {
                    "name": "perennial",
                    "type": "file",
                    "allowUiUpdates": False,
                    "options": {"path": "/etc/grafana/dashboards"},
                }
            ],
        },
    }
