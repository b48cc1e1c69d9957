"""Recommendations that the figures of a performance report call for, each with its evidence."""

from __future__ import annotations

from collections.abc import Iterator

from perennial.core.performance.figures import Direction, Recommendation
from perennial.core.performance.report import PerformanceReport, percent, points, time
from perennial.core.spec import ModelSpec

FEW_LABELS = 0.05
"""Share of labelled predictions below which most harm stays unseen."""
RECENT = 3
"""Last periods whose oddities call for a look."""


def recommend(report: PerformanceReport, spec: ModelSpec) -> tuple[Recommendation, ...]:
    """Return the recommendations, the most urgent first. Only proven differences count."""
    if not report.predictions:
        return (
            Recommendation(
                text=f"find out why nothing asks {report.model}: perennial router show",
                evidence="no predictions in this time",
            ),
        )
    return (*_quality(report), *_fairness(report, spec), *_operation(report, spec), *_labels(report))


def _quality(report: PerformanceReport) -> Iterator[Recommendation]:
    change = report.degradation
    worse = [part for part in report.slices if part.is_proven_worse]
    if change is not None and change.high < 0:
        where = ", ".join(f"{part.column} {part.value}" for part in worse[:3])
        yield Recommendation(
            text=f"look whether a retraining helps: perennial retrain {report.model} --reason TEXT"
            + (f"; the slices below the others come first ({where})" if where else ""),
            evidence=f"right answers of {report.champion} fell by {points(change)}",
        )
    for part in worse[:3]:
        assert part.below_rest is not None  # noqa: S101 proven worse needs it
        yield Recommendation(
            text=f"look at the data and labels of {part.column} {part.value}",
            evidence=f"{percent(part.right)} right, {points(part.below_rest)} against all others",
        )


def _fairness(report: PerformanceReport, spec: ModelSpec) -> Iterator[Recommendation]:
    newest = max((part.begin for part in report.fairness), default=None)
    for part in report.fairness:
        limit = spec.gate.fairness.gaps[part.measure]
        if part.begin == newest and part.column in spec.data.sensitive and part.gap.low > limit:
            yield Recommendation(
                text=f"have the owner ({spec.owner}) look at {part.column}, a sensitive column",
                evidence=f"since {time(part.begin)} {part.measure.value}: {part.gap}, limit {limit:g}",
            )


def _operation(report: PerformanceReport, spec: ModelSpec) -> Iterator[Recommendation]:
    newest = report.periods[-1]
    unknown, limit = newest.unknown_share, spec.monitoring.unknown_share.warn
    if unknown is not None and unknown >= limit:
        yield Recommendation(
            text="look at the pipeline that fills the feature store: perennial features --help",
            evidence=f"since {time(newest.begin)} {unknown:.0%} of the predictions have no known feature",
        )
    for trend in report.trends:
        if trend.figure == "latency p95" and trend.direction is Direction.RISING:
            yield Recommendation(
                text=f"add servers, or make the model faster: perennial optimise {report.model}",
                evidence=f"p95 rises by {trend.per_day} ms a day",
            )
        if trend.figure == "requests" and trend.direction is Direction.FALLING:
            yield Recommendation(
                text="ask the callers whether they still use the answers",
                evidence=f"requests per period fall by {trend.per_day} a day",
            )
    recent = {period.begin for period in report.periods[-RECENT:]}
    for odd in report.anomalies:
        if odd.begin in recent:
            yield Recommendation(
                text=f"look at what happened after {time(odd.begin)}",
                evidence=f"{', '.join(odd.figures)} far from the other periods (score {odd.score:.2f})",
            )


def _labels(report: PerformanceReport) -> Iterator[Recommendation]:
    share = report.labelled / report.predictions
    if share < FEW_LABELS:
        yield Recommendation(
            text="send more labels: docs/guide/monitoring.md, feedback",
            evidence=f"{share:.1%} of the predictions have a label; losses of accuracy stay unseen",
        )
