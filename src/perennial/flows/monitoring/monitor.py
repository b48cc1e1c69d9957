"""Judge the newest predictions of the champion against the reference rows stored with its version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.events import Entry, Event, LedgerRow, SystemActor
from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.core.monitoring.day_check import with_check
from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.core.monitoring.harm_detector import Harm
from perennial.core.monitoring.levels import AccuracyEstimate, Coverage, Level, MonitorVerdict, verdict
from perennial.core.monitoring.retraining import (
    Hold,
    JudgedWindow,
    Retrain,
    retraining_event,
)
from perennial.core.payloads import LevelChange
from perennial.core.release.traffic import Target
from perennial.core.release_spec import FeedbackSpec
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.tasks.stored import logged_task
from perennial.errors import RouterUnavailable, ToolError
from perennial.flows.feedback.votes import counted, covered, request_of, right
from perennial.flows.monitoring.daily.check import newest_check
from perennial.flows.monitoring.decide import Judged, Labelled, decide, withhold_or_go_on
from perennial.flows.monitoring.estimate import accuracy_estimated
from perennial.flows.monitoring.explain import explained
from perennial.flows.monitoring.following.early import EarlyLooks
from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.flows.monitoring.harm import harm_seen
from perennial.flows.monitoring.reference import reference_rows, right_on_reference
from perennial.flows.monitoring.retrain import raise_and_record
from perennial.flows.monitoring.window import RefusedTraffic, Window
from perennial.ports import (
    DetectorStore,
    DriftReporter,
    FeedbackStore,
    Ledger,
    PredictionLog,
    Reference,
    Registry,
    Router,
    Scheduler,
    Tracker,
)

if TYPE_CHECKING:
    import pandas as pd

KEPT_REPORTS = 20


@dataclass(frozen=True)
class MonitorPorts:
    router: Router
    registry: Registry
    tracker: Tracker
    predictions: PredictionLog
    """The whole log, for what an alarm asks."""
    watched: WatchedLog
    feedback: FeedbackStore
    ledger: Ledger
    drift: DriftReporter
    scheduler: Scheduler
    detectors: DetectorStore
    budget: AlarmBudget
    refused: RefusedTraffic = field(default_factory=RefusedTraffic)
    references: Callable[[Task], Mapping[str, Reference]] = lambda task: {}
    """Returns the cheap models of a kind of task by name, for the back-test; none: no back-test."""
    early: EarlyLooks | None = None
    """Memory of each look, by which the next may be early; None: no look is early."""


@dataclass(frozen=True)
class MonitorFolders:
    references: Path
    """Cache of the reference rows of each version, a file per digest."""
    reports: Path


@dataclass(frozen=True)
class MonitorResult:
    """Result of monitoring a model: the verdict and the decision on a retraining."""

    model: str
    at: datetime
    target: Target | None
    """Champion; None if the model has no traffic."""
    verdict: MonitorVerdict
    decision: Retrain | Hold
    report: Path | None = None
    feedback: FeedbackCounts | None = None
    """Feedback that was stored before the verdict."""
    problems: tuple[str, ...] = ()
    """Errors that do not change the verdict."""


def monitor_model(
    spec: ModelSpec, ports: MonitorPorts, folders: MonitorFolders, now: datetime
) -> MonitorResult:
    """Judge the newest window and request a retraining if the policy demands it.

    Raises:
        UnknownVersion: the live route names a version that is not in the registry.
        MalformedInput: the version has no reference rows.
        ToolError: a tool is unavailable; decisions made before the failure are in the ledger.
    """
    route = ports.router.route(spec.name)
    if route is None:
        unsure = MonitorVerdict(level=Level.UNSURE, reasons=("no version has traffic",), rows=0)
        return MonitorResult(spec.name, now, None, unsure, Hold(why=unsure.reasons[0]))
    target = route.stable
    # Fetched early, so that the first verdict on a champion does not depend on the registry.
    reference = reference_rows(spec, ports.registry, target, folders.references)
    detector = harm_seen(
        spec, target.digest, reference, ports.detectors, ports.watched, ports.feedback, now,
        ports.budget.share,
    )  # fmt: skip
    counted = None if detector is None else detector.until
    seen = ports.watched.rows(spec, target.digest, counted, now).window(now)
    window, policy = seen.rows.assign(request=request_of(seen.rows)), spec.monitoring
    refused = _refused_share(spec.name, ports)
    if len(window) < policy.min_window or seen.requests < policy.min_requests:
        judged = verdict(policy, (), None, None, len(window), seen.requests, seen.unknown, refused)
        return MonitorResult(spec.name, now, target, judged, Hold(why=judged.reasons[0]))
    report = folders.reports / spec.name / f"{now:%Y%m%dT%H%M%S}.html"
    drifts = ports.drift.compare(spec, reference, window, report, ports.budget.warn_level)
    if ports.early is not None:
        ports.early.looked(spec, target.digest, reference, window, drifts)
    harm = None if detector is None else detector.harm
    votes = ports.watched.votes(spec, ports.feedback).about(window)
    judged = _judge(spec, reference, seen, drifts, votes, refused, harm)
    judged = explained(spec, reference, window, judged, now, ports.budget.warn_level)
    day, problems = newest_check(folders.reports, spec, target, now)
    judged = with_check(judged, day)
    judged = judged.model_copy(update={"estimated": accuracy_estimated(spec, reference, window)})
    key = f"{target.digest[:12]}-{window['prediction_id'].iloc[-1]}"
    alarmed = JudgedWindow.of(key, target.digest, policy, drifts)
    rows = ports.ledger.rows(spec.name)
    decision = decide(spec, judged, alarmed, rows, now)
    backtest = None
    if isinstance(decision, Retrain):
        sources = Labelled(ports.ledger, ports.predictions, ports.feedback, ports.references)
        seen_rows = Judged(reference, key, rows)
        decision, backtest = withhold_or_go_on(spec, target, judged, decision, seen_rows, sources, now)
    if isinstance(decision, Retrain):
        extra = retraining_event(
            decision.reason, decision.text, who=SystemActor.MONITOR, key=key, digest=target.digest, window=key,
            psi={drift.column: round(drift.psi, 4) for drift in drifts}, moved=alarmed.moved, backtest=backtest,
        )  # fmt: skip
        raise_and_record(spec.name, extra, SystemActor.MONITOR, ports.ledger, ports.scheduler, now)
    changed = _record_level(spec, ports.ledger, rows, target, judged, now)
    keep_newest(report.parent, KEPT_REPORTS)
    if changed or isinstance(decision, Retrain):
        problems += _to_tracker(spec, ports, target, report)
    return MonitorResult(spec.name, now, target, judged, decision, report, problems=problems)


def _judge(
    spec: ModelSpec,
    reference: pd.DataFrame,
    window: Window,
    drifts: list[ColumnDrift],
    votes: pd.DataFrame,
    refused: float | None,
    harm: Harm | None,
) -> MonitorVerdict:
    rows = window.rows
    known = accuracy_known(spec, reference)
    judged = labelled(rows, votes, spec.release.feedback)
    seen, covered = accuracy_seen(judged), coverage_seen(judged)
    return verdict(
        spec.monitoring,
        drifts,
        known,
        seen,
        len(rows),
        window.requests,
        window.unknown,
        refused,
        covered,
        harm,
    )


def _refused_share(model: str, ports: MonitorPorts) -> float | None:
    """Return the share of refused requests; None if the router does not answer."""
    try:
        return ports.refused.share(model, ports.router)
    except RouterUnavailable:
        return None


def accuracy_known(spec: ModelSpec, reference: pd.DataFrame) -> AccuracyEstimate | None:
    """Estimate the share of right answers on the reference rows, under the task of the spec."""
    return AccuracyEstimate.of(
        right_on_reference(spec, reference), reference[spec.evaluation.group].to_numpy()
    )


def labelled(window: pd.DataFrame, votes: pd.DataFrame, policy: FeedbackSpec) -> pd.DataFrame:
    """Return the logged answers of a window with the labels that count, a row per label."""
    known = window.reindex(columns=["prediction_id", "request_id", "score", "decision", "task", "answer"])
    return counted(known.merge(votes, on="prediction_id"), policy)


def accuracy_seen(known: pd.DataFrame) -> AccuracyEstimate | None:
    """Estimate the accuracy of labelled decisions."""
    return _by_request(known.assign(share=right(known)))


def coverage_seen(known: pd.DataFrame) -> Coverage | None:
    """Estimate how often the intervals of labelled answers hold their labels.

    None without intervals, with few labels, or with answers of different claims.
    """
    claims = {logged_task(str(text)).claimed for text in known["task"].unique()}
    if len(claims) != 1 or (claimed := claims.pop()) is None:
        return None
    seen = _by_request(known.assign(share=covered(known)))
    return None if seen is None else Coverage(seen=seen, claimed=claimed)


def _by_request(rows: pd.DataFrame) -> AccuracyEstimate | None:
    """Estimate the mean of the column `share`; votes of a prediction are averaged, and a request is a group.

    In a log without request ids each prediction is a request, as in its window.
    """
    by_prediction = rows.assign(request=request_of(rows)).groupby("prediction_id", sort=False)
    share, group = by_prediction["share"].mean(), by_prediction["request"].first()
    return AccuracyEstimate.of(share.to_numpy(dtype=float), group.to_numpy(dtype=str))


def _record_level(
    spec: ModelSpec,
    ledger: Ledger,
    rows: list[LedgerRow],
    target: Target,
    judged: MonitorVerdict,
    now: datetime,
) -> bool:
    """Append a ledger entry if the level of this champion changed; return True if it did."""
    earlier = [
        row.entry
        for row in rows
        if row.entry.kind == Event.MONITOR_LEVEL and row.entry.digest == target.digest
    ]
    before = LevelChange.read(earlier[-1]).to if earlier else None
    if before == judged.level.value:
        return False
    payload = {
        "from": before,
        "to": judged.level.value,
        "reasons": list(judged.reasons),
        "rows": judged.rows,
        "unknown_share": judged.unknown_share,
        "refused_share": judged.refused_share,
        "psi": {drift.column: [round(drift.psi, 4), round(drift.allowance, 4)] for drift in judged.drifts},
        "accuracy_drop_percent": None if judged.drop_percent is None else round(judged.drop_percent, 2),
    }
    ledger.append(
        Entry(
            at=now, actor=SystemActor.MONITOR, kind=Event.MONITOR_LEVEL, model=spec.name, release_id=target.release_id,
            digest=target.digest, payload=payload,
        )
    )  # fmt: skip
    return True


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the newest reports; their names are timestamps."""
    for report in sorted(folder.glob("*.html"))[:-count]:
        report.unlink(missing_ok=True)


def _to_tracker(spec: ModelSpec, ports: MonitorPorts, target: Target, report: Path) -> tuple[str, ...]:
    """Store the report with the run of the champion; return the problem if the tracker is unavailable."""
    if not report.is_file():
        return ()
    try:
        record = ports.registry.find(spec.name, target.version)
        if record is not None:
            ports.tracker.reopen(record.run_id).artifact(report, "monitoring")
    except ToolError as error:
        return (f"the report was not stored with the run: {error.message}",)
    return ()
