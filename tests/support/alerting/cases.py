"""For each alert the series with which it fires, and some with which it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

MODEL = "defect_predictor"
LAST_WINDOW = "model_monitor_last_window_timestamp_seconds"
OF = f'model_name="{MODEL}"'


@dataclass(frozen=True)
class Case:
    """Series (in promtool's notation, a value each `step` minutes) and whether the alert fires at a time.

    Attributes:
        alert: name, and further labels to look for.
        minutes: when it is looked for.
        count: series of the alert that fire.
    """

    alert: str
    why: str
    series: dict[str, str]
    minutes: int
    count: int
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return step_of(self.minutes)


def step_of(minutes: int) -> int:
    """Return the minutes between two samples and evaluations: long times are simulated in larger steps."""
    return 10 if minutes > 300 else 1


def _level(alert: str, value: int) -> Iterator[Case]:
    levels = {f"model_monitor_level{{{OF}}}": f"{value}x5", 'model_monitor_level{model_name="other"}': "1x5"}
    yield Case(alert, "at its level", levels, 1, 1)
    yield Case(alert, "at a level below", {f"model_monitor_level{{{OF}}}": f"{value - 1}x5"}, 1, 0)


def _traffic(bad: float, slow: float, minutes: int, per_minute: float = 6000.0) -> dict[str, str]:
    """Return the series of Envoy: requests of a minute, the shares that fail and that are slow."""
    of = f'job="envoy",{OF},pool="stable",transport="rest"'
    counts = {
        f'envoy_cluster_upstream_rq_xx{{{of},envoy_response_code_class="2"}}': per_minute * (1 - bad),
        f'envoy_cluster_upstream_rq_xx{{{of},envoy_response_code_class="5"}}': per_minute * bad,
        f"envoy_cluster_upstream_rq_time_count{{{of}}}": per_minute,
        f'envoy_cluster_upstream_rq_time_bucket{{{of},le="249.5"}}': per_minute * (1 - slow),
        f'envoy_cluster_upstream_rq_time_bucket{{{of},le="999.5"}}': per_minute,
        f'envoy_cluster_upstream_rq_time_bucket{{{of},le="+Inf"}}': per_minute,
    }
    step = step_of(minutes)
    return {series: f"0+{count * step:g}x{minutes // step}" for series, count in counts.items()}


def _burns() -> Iterator[Case]:
    # 0.1 % may fail, so rates of 14.4, 6 and 1 are 1.44, 0.6 and 0.1 %; 5 % may be slow: 72, 30 and 5 %.
    for alert, kind, shares in (
        ("ModelAvailabilityBurn", "bad", {"1h": (0.02, 0.01), "6h": (0.007, 0.005)}),
        ("ModelAvailabilityBurnSlow", "bad", {"3d": (0.002, 0.0005)}),
        ("ModelLatencyBurn", "slow", {"1h": (0.8, 0.6), "6h": (0.4, 0.2)}),
        ("ModelLatencyBurnSlow", "slow", {"3d": (0.1, 0.04)}),
    ):
        for window, (too_many, bearable) in shares.items():
            minutes = {"1h": 70, "6h": 370, "3d": 400}[window]
            for share, count, why in ((too_many, 1, "burns"), (bearable, 0, "does not burn")):
                traffic = _traffic(share if kind == "bad" else 0.0, share if kind == "slow" else 0.0, minutes)
                yield Case(alert, f"{window} {why}", traffic, minutes, count, {"window": window})
    ended = {series: f"{text} {_last(text)}x30" for series, text in _traffic(0.05, 0, 60).items()}
    yield Case("ModelAvailabilityBurn", "it ended half an hour ago", ended, 91, 0, {"window": "1h"})
    few = _traffic(1.0, 0, 30, per_minute=0.05)
    yield Case("ModelAvailabilityBurn", "a single request failed", few, 31, 0, {"window": "1h"})
    shadow = {series.replace("stable", "shadow"): text for series, text in _traffic(0.5, 0.9, 70).items()}
    yield Case("ModelAvailabilityBurn", "copies of a shadow fail", shadow, 70, 0)


def _last(text: str) -> str:
    start, _, rest = text.partition("+")
    step, _, times = rest.partition("x")
    return f"{float(start) + float(step) * int(times):g}"


def _counted(alert: str, series: str, minutes: int) -> Iterator[Case]:
    yield Case(alert, "it grows", {series: f"0x3 5x{minutes + 3}"}, minutes, 1)
    yield Case(alert, "it stays", {series: f"5x{minutes + 3}"}, minutes, 0)


def _flag(alert: str, series: str, bad: int, minutes: int) -> Iterator[Case]:
    yield Case(alert, "lasting", {series: f"{bad}x{minutes + 2}"}, minutes + 1, 1)
    yield Case(alert, "well", {series: f"{1 - bad}x{minutes + 2}"}, minutes + 1, 0)


def cases() -> list[Case]:
    """Return all cases; the time of promtool begins in 1970, so an age is the time of the look."""
    answered = _traffic(0.0, 0.0, 1500)
    unsure = {f"model_monitor_level{{{OF}}}": "-1x1500"}
    return [
        *_level("ModelRetrain", 3),
        *_level("ModelWarn", 2),
        *_flag("ModelMonitorFailing", f"model_monitor_failing{{{OF}}}", 1, 11),
        *(
            Case("ModelMonitorSilent", f"{age} minutes old", {f"{LAST_WINDOW}{{{OF}}}": "0x60"}, age, count)
            for age, count in ((51, 1), (49, 0))
        ),
        Case("ModelUnjudged", "with traffic", unsure | answered, 1450, 1),
        Case("ModelUnjudged", "without traffic", unsure, 1450, 0),
        *_burns(),
        *(
            case
            for alert, what, days in (("ModelFeaturesStale", "feature", 8), ("ModelLabelsStale", "label", 14))
            for case in _stale(alert, f"model_newest_{what}_timestamp_seconds", days * 24 * 3600)
        ),
        *_flag("TargetDown", 'up{job="monitor",instance="a:1"}', 0, 2),
        *_flag("PartUnhealthy", 'perennial_part_healthy{part="airflow scheduler"}', 0, 5),
        *_flag("ModelNotLoaded", f'perennial_model_loaded{{{OF},version="1.0.0",pool="stable"}}', 0, 5),
        *_counted("ModelStandIn", f'perennial_stand_ins_total{{{OF},version="1.0.0",stands_in="0.9.0"}}', 6),
        *_flag("ReleaseUnattended", f'perennial_release_unattended{{{OF},release="r"}}', 1, 0),
        *_counted("FeedbackUnusable", 'perennial_feedback_unusable_total{source="ci",reason="unknown"}', 6),
        *_counted("LogLinesBroken", 'perennial_broken_lines_total{log="predictions"}', 6),
        *_counted("AlertsUndelivered", 'alertmanager_notifications_failed_total{integration="webhook"}', 6),
        *_counted("AlertsUndelivered", "prometheus_notifications_dropped_total", 6),
    ]  # fmt: skip


def _stale(alert: str, metric: str, promised: int) -> Iterator[Case]:
    """Yield cases of a value whose time lies before 1970, so that nothing has to be simulated for days."""
    of = {"ModelFeaturesStale": 'model_name="test_failure_predictor"'}.get(alert, OF)
    yield Case(alert, "too old", {f"{metric}{{{of}}}": f"-{promised}x10"}, 8, 1)
    yield Case(alert, "fresh", {f"{metric}{{{of}}}": f"-{promised - 1000}x10"}, 8, 0)
    gone = {f"{metric}{{{of}}}": f"-{promised}x2 stale"}
    yield Case(alert, "the monitor was restarted since", gone, 20, 1)
