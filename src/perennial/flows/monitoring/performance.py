"""Gather the performance report of a model: its log, its labels, the router and the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.day_check import KeptChecks
from perennial.core.monitoring_spec import BusinessSpec
from perennial.core.performance.anomalies import anomalies
from perennial.core.performance.cluster_mean import ClusterMean, difference, runs_of_time
from perennial.core.performance.figures import PeriodFigures, PoolTraffic, Trend, VersionUse
from perennial.core.performance.recommendations import recommend
from perennial.core.performance.report import PerformanceReport
from perennial.core.performance.trend import trend
from perennial.core.release.traffic import PoolName
from perennial.core.spec import ModelSpec
from perennial.errors import RouterUnavailable
from perennial.flows.feedback.votes import known_labels, quality
from perennial.flows.monitoring.performance_groups import fairness_figures, slice_figures
from perennial.ports import FeedbackStore, GroupFigures, Ledger, PredictionLog, Router

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.evaluation.metrics import Estimate

HOUR = timedelta(hours=1)
LENGTHS = (
    timedelta(minutes=1), timedelta(minutes=10), HOUR, timedelta(hours=6), timedelta(days=1), timedelta(days=7),
    timedelta(days=28),
)  # fmt: skip
MOST_PERIODS = 48
DAY = timedelta(days=1)
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

Business = Callable[["pd.DataFrame", BusinessSpec], "float | None"]


@dataclass(frozen=True)
class ReportPorts:
    router: Router
    predictions: PredictionLog
    feedback: FeedbackStore
    ledger: Ledger
    group_figures: GroupFigures
    business: Business
    """Rows of a period and a metric -> its number.

    Raises SpecError where the query does not run.
    """
    checks: Callable[[str, date], KeptChecks] = lambda model, since: KeptChecks()
    """Model and first day -> newest check of a day, and the merged profiles since."""


def performance_report(
    spec: ModelSpec, ports: ReportPorts, since: datetime, now: datetime
) -> PerformanceReport:
    """Return the figures of all answers to clients since then, and what they call for.

    Raises:
        SpecError: a query of `monitoring.business` does not run, or gives something else than a number.
        MalformedInput: the log cannot be read. StoreUnavailable: labels or ledger are out of reach.
    """
    rows = _answers(spec, ports, since, now)
    traffic, champion = _traffic(spec.name, ports.router)
    begin = since if rows.empty else max(since, rows["at"].iloc[0].floor("us").to_pydatetime())
    periods = tuple(
        _period(spec, part, start, end, ports.business) for start, end, part in _cut(rows, begin, now)
    )
    # Of shorter ones nobody asks for a trend, and each is alone in something.
    whole = [
        period
        for period in periods
        if period.begin >= begin and period.end <= now and period.end - period.begin >= HOUR
    ]
    events = Counter(
        str(row.entry.kind) for row in ports.ledger.rows(spec.name) if since <= row.entry.at <= now
    )
    kept = ports.checks(spec.name, since.date())
    report = PerformanceReport(
        model=spec.name,
        made=now,
        begin=begin,
        end=now,
        champion=champion,
        periods=periods,
        versions=_versions(rows),
        degradation=_degradation(rows, champion),
        trends=_trends(whole),
        slices=slice_figures(spec, rows),
        fairness=fairness_figures(spec, rows, ports.group_figures),
        anomalies=anomalies([period.begin for period in whole], _own_metrics(whole), spec.tuning.seed),
        traffic=traffic,
        events=dict(sorted(events.items())),
        units={name: metric.unit for name, metric in spec.monitoring.business.items()},
        check=kept.newest,
        profile=kept.profile,
        unread=kept.unread,
    )
    return report.model_copy(update={"recommendations": recommend(report, spec)})


def _answers(spec: ModelSpec, ports: ReportPorts, since: datetime, now: datetime) -> pd.DataFrame:
    """Return the answers to clients in time order, with `right`, `loss` and `label` (NaN without a label)."""
    rows = ports.predictions.read(spec.name, since)
    rows = rows[~rows["shadow"].astype(bool) & (rows["at"] <= now)].reset_index(drop=True)
    return rows.join(
        quality(rows, known_labels(spec.release.feedback, ports.feedback, since), spec.release.feedback),
        on="prediction_id",
    )


def _cut(rows: pd.DataFrame, begin: datetime, now: datetime) -> list[tuple[datetime, datetime, pd.DataFrame]]:
    """Return begin, end and answers of each period, without gaps; at most `MOST_PERIODS` of them."""
    import pandas as pd

    if rows.empty:
        return []
    length = next((span for span in LENGTHS if (now - begin) / span < MOST_PERIODS - 1), LENGTHS[-1])
    first = pd.Timestamp(begin).floor(f"{min(length, DAY) // LENGTHS[0]}min")
    edges = pd.date_range(first, pd.Timestamp(now) + length, freq=length)
    places = rows["at"].searchsorted(edges)
    return [
        (edges[number].to_pydatetime(), edges[number + 1].to_pydatetime(), rows.iloc[low:high])
        for number, (low, high) in enumerate(pairwise(places))
        if edges[number] <= pd.Timestamp(now)
    ]


def _period(
    spec: ModelSpec, rows: pd.DataFrame, begin: datetime, end: datetime, business: Business
) -> PeriodFigures:
    requests = rows.drop_duplicates("request_id")
    latency = requests["latency_ms"].to_numpy(dtype=float)
    features = rows.filter(like="feature:")
    scores = rows["score"].to_numpy(dtype=float)
    return PeriodFigures(
        begin=begin,
        end=end,
        predictions=len(rows),
        requests=len(requests),
        clients=int(rows["client"].nunique()),
        labelled=int(rows["right"].notna().sum()),
        right=_mean(rows, "right"),
        loss=_mean(rows, "loss"),
        mean_score=float(np.nanmean(scores)) if np.isfinite(scores).any() else None,
        latency_ms={name: float(np.quantile(latency, q)) for name, q in QUANTILES.items()}
        if len(latency)
        else {},
        unknown_share=float(features.isna().all(axis=1).mean()) if len(rows) and features.shape[1] else None,
        business={name: business(rows, metric) for name, metric in spec.monitoring.business.items()},
    )


def _mean(rows: pd.DataFrame, name: str) -> Estimate | None:
    mean = _cluster_mean(rows, name)
    return None if mean is None else mean.estimate()


def _cluster_mean(rows: pd.DataFrame, name: str) -> ClusterMean | None:
    known = rows[rows[name].notna()]
    return ClusterMean.of(
        known[name].to_numpy(dtype=float), runs_of_time(known["request_id"].to_numpy(dtype=str))
    )


def _versions(rows: pd.DataFrame) -> tuple[VersionUse, ...]:
    uses = [
        VersionUse(
            version=str(part["version"].iloc[0]),
            digest=str(digest),
            first=part["at"].iloc[0].floor("us").to_pydatetime(),
            last=part["at"].iloc[-1].floor("us").to_pydatetime(),
            predictions=len(part),
            labelled=int(part["right"].notna().sum()),
            right=_mean(part, "right"),
        )
        for digest, part in rows.groupby("digest", sort=False)
    ]
    return tuple(sorted(uses, key=lambda use: use.first))


def _degradation(rows: pd.DataFrame, champion: str | None) -> Estimate | None:
    """Return the champion's share of right answers in the later half of its labels, minus the earlier half."""
    labelled = rows[(rows["version"] == champion) & rows["right"].notna()]
    half = len(labelled) // 2
    earlier, later = (_cluster_mean(part, "right") for part in (labelled.iloc[:half], labelled.iloc[half:]))
    return None if earlier is None or later is None else difference(later, earlier)


def _own_metrics(periods: list[PeriodFigures]) -> dict[str, list[float | None]]:
    """Return the model's own metrics, a value per period."""
    return {
        "requests": [float(period.requests) for period in periods],
        "clients": [float(period.clients) for period in periods],
        "right": [None if period.right is None else period.right.value for period in periods],
        "loss": [None if period.loss is None else period.loss.value for period in periods],
        "mean score": [period.mean_score for period in periods],
        "latency p95": [period.latency_ms.get("p95") for period in periods],
        "unknown": [period.unknown_share for period in periods],
    }


def _trends(periods: list[PeriodFigures]) -> tuple[Trend, ...]:
    days = [(period.begin - periods[0].begin) / DAY for period in periods]
    measured = (trend(name, days, values) for name, values in _own_metrics(periods).items())
    return tuple(known for known in measured if known is not None)


def _traffic(model: str, router: Router) -> tuple[tuple[PoolTraffic, ...] | None, str | None]:
    """Return the router's counters, None where it does not answer, and the version with the traffic."""
    route = router.route(model)
    champion = None if route is None else route.stable.version
    try:
        counters = router.counters(model)
    except RouterUnavailable:
        return None, champion
    traffic = tuple(
        PoolTraffic(
            pool=pool.value,
            requests=counters[pool].requests,
            errors=counters[pool].errors,
            refused=counters[pool].refused,
            p95_ms=counters[pool].evidence().latency_ms(0.95),
        )
        for pool in PoolName
        if pool in counters and counters[pool].requests
    )
    return traffic, champion
