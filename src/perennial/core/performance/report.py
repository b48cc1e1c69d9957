"""The performance report of a model, and the document that people read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import AwareDatetime, Field

from perennial.core.evaluation.metrics import Estimate
from perennial.core.frozen import Frozen
from perennial.core.governance.document import Document, Picture, Section, Table
from perennial.core.monitoring.day_check import ColumnProfile, DayCheck
from perennial.core.performance.figures import (
    Anomaly,
    FairnessFigures,
    PeriodFigures,
    PoolTraffic,
    Recommendation,
    SliceFigures,
    Trend,
    VersionUse,
)
from perennial.core.performance.live_rows import live_rows

NONE_YET = "No labels came for these answers."


class PerformanceReport(Frozen):
    """Figures of a model over some time, with what they call for."""

    model: str
    made: AwareDatetime
    begin: AwareDatetime
    end: AwareDatetime
    champion: str | None = Field(description="version with the traffic now; None: none has any")
    periods: tuple[PeriodFigures, ...]
    versions: tuple[VersionUse, ...]
    degradation: Estimate | None = Field(
        description="share of right answers of the champion: the later half of its labels minus the earlier one"
    )
    trends: tuple[Trend, ...]
    slices: tuple[SliceFigures, ...]
    fairness: tuple[FairnessFigures, ...]
    anomalies: tuple[Anomaly, ...]
    traffic: tuple[PoolTraffic, ...] | None = Field(description="None: the router does not answer")
    events: dict[str, int] = Field(description="kind of ledger entry -> number in this time")
    units: dict[str, str] = Field(default_factory=dict, description="business metric -> unit")
    recommendations: tuple[Recommendation, ...] = ()
    check: DayCheck | None = Field(None, description="newest check of a day of live rows")
    profile: tuple[ColumnProfile, ...] = Field(
        (), description="columns of the daily profiles of this time, merged"
    )
    unread: tuple[str, ...] = Field(
        (), description="files of daily checks that cannot be read, and what to do"
    )

    @property
    def predictions(self) -> int:
        return sum(period.predictions for period in self.periods)

    @property
    def labelled(self) -> int:
        return sum(period.labelled for period in self.periods)


def make_document(report: PerformanceReport, pictures: Sequence[Picture]) -> Document:
    """Return the report as sections; `pictures` lie beside the document."""
    return Document(
        title=f"Performance of {report.model}",
        sections=(
            _overview(report, pictures),
            _advice(report),
            Section(title="By period", tables=(_by_period(report),)),
            _trends(report),
            _slices(report),
            _fairness(report),
            _anomalies(report),
            *_business(report),
            _traffic(report),
            live_rows(report.check, report.profile, report.unread),
            Section(
                title="What happened",
                text=() if report.events else ("No entry of the ledger is about this time.",),
                tables=(_table(("event", "times"), [(kind, f"{n}") for kind, n in report.events.items()]),),
            ),
        ),
    )


def _overview(report: PerformanceReport, pictures: Sequence[Picture]) -> Section:
    champion = f"The champion is {report.champion}." if report.champion else "No version has traffic."
    text = (
        f"{time(report.begin)} to {time(report.end)}, made {time(report.made)}. {champion} "
        f"{report.predictions} predictions, {report.labelled} of them with a label that counts. Intervals are 95 %, "
        "by runs of whole requests in time.",
    )
    rows = [
        (
            use.version,
            time(use.first),
            time(use.last),
            f"{use.predictions}",
            f"{use.labelled}",
            percent(use.right),
        )
        for use in report.versions
    ]
    header = ("version", "first answer", "last answer", "predictions", "labelled", "right")
    return Section(title="Overview", text=text, tables=(_table(header, rows),), pictures=tuple(pictures))


def _advice(report: PerformanceReport) -> Section:
    rows = [(advice.text, advice.evidence) for advice in report.recommendations]
    text = () if rows else ("Nothing in these figures calls for action.",)
    return Section(title="What to do", text=text, tables=(_table(("do", "because"), rows),))


def _by_period(report: PerformanceReport) -> Table:
    header = (
        "from", "predictions", "requests", "clients", "labelled", "right", "loss", "mean score", "p50 ms", "p95 ms",
        "p99 ms", "unknown",
    )  # fmt: skip
    rows = [
        (
            time(period.begin),
            f"{period.predictions}",
            f"{period.requests}",
            f"{period.clients}",
            f"{period.labelled}",
            percent(period.right),
            "-" if period.loss is None else f"{period.loss}",
            _number(period.mean_score),
            *(_number(period.latency_ms.get(name)) for name in ("p50", "p95", "p99")),
            "-" if period.unknown_share is None else f"{period.unknown_share:.1%}",
        )
        for period in report.periods
    ]
    return _table(header, rows)


def _trends(report: PerformanceReport) -> Section:
    rows = [
        (trend.figure, f"{trend.per_day}", trend.direction.value, f"{trend.periods}")
        for trend in report.trends
    ]
    text = []
    if report.degradation is not None:
        text.append(
            f"Share of right answers of {report.champion}, later half of its labels minus earlier half: "
            f"{points(report.degradation)}."
        )
    if not rows:
        text.append("Too few periods for a trend.")
    header = ("figure", "change per day, 95 % interval", "direction", "periods")
    return Section(title="Trend and degradation", text=tuple(text), tables=(_table(header, rows),))


def _slices(report: PerformanceReport) -> Section:
    rows = [
        (
            part.column,
            part.value,
            f"{part.predictions}",
            f"{part.labelled}",
            percent(part.right),
            "-" if part.below_rest is None else points(part.below_rest),
        )
        for part in report.slices
    ]
    header = ("column", "value", "predictions", "labelled", "right", "against all others")
    text = () if rows else (NONE_YET,)
    return Section(title="Slices", text=text, tables=(_table(header, rows),))


def _fairness(report: PerformanceReport) -> Section:
    rows = [
        (
            time(part.begin),
            part.column,
            part.measure.value,
            f"{part.gap}",
            ", ".join(f"{name} {figure:.3f}" for name, figure in sorted(part.groups.items())),
        )
        for part in report.fairness
    ]
    text = (
        ()
        if rows
        else ("No column of data.sensitive or evaluation.slices has two groups with enough labels.",)
    )
    header = ("from", "column", "measure", "gap, 95 % interval", "groups")
    return Section(title="Fairness over time", text=text, tables=(_table(header, rows),))


def _anomalies(report: PerformanceReport) -> Section:
    rows = [
        (
            time(odd.begin),
            f"{odd.score:.2f}",
            ", ".join(f"{name} {off:+.1f}" for name, off in odd.figures.items()),
        )
        for odd in report.anomalies
    ]
    text = () if rows else ("No period is unlike the others, or there are too few to tell.",)
    header = ("from", "score", "figures far off, in robust deviations")
    return Section(title="Odd periods", text=text, tables=(_table(header, rows),))


def _business(report: PerformanceReport) -> tuple[Section, ...]:
    if not report.units:
        return ()
    header = ("from", *(f"{name} [{unit}]" for name, unit in report.units.items()))
    rows = [
        (time(period.begin), *(_number(period.business.get(name)) for name in report.units))
        for period in report.periods
    ]
    return (Section(title="Business metrics", tables=(_table(header, rows),)),)


def _traffic(report: PerformanceReport) -> Section:
    if report.traffic is None:
        return Section(title="Errors at the router", text=("The router does not answer.",))
    rows = [
        (part.pool, f"{part.requests}", f"{part.errors}", f"{part.refused}", _number(part.p95_ms))
        for part in report.traffic
    ]
    text = "Since the start of the router. Refused requests (4xx) are faults of requests."
    header = ("pool", "requests", "errors", "refused", "p95 ms")
    return Section(title="Errors at the router", text=(text,), tables=(_table(header, rows),))


def percent(share: Estimate | None) -> str:
    """Return a share with its interval, cut to 0 and 100 %."""
    if share is None:
        return "-"
    if not share.is_bounded:
        return f"{share.value:.1%} [unknown]"
    return f"{share.value:.1%} [{max(share.low, 0.0):.1%}, {min(share.high, 1.0):.1%}]"


def points(change: Estimate) -> str:
    """Return a difference of shares in percentage points with its interval."""
    if not change.is_bounded:
        return f"{100 * change.value:+.1f} points [unknown]"
    return f"{100 * change.value:+.1f} points [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"


def time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _table(header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    return Table(header=tuple(header), rows=tuple(rows))
