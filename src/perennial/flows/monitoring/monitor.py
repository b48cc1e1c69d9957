"""One look at a model: the newest predictions of its champion against the reference it was released with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.events import Entry, LedgerRow
from perennial.core.monitoring.drift import SCORE, ColumnDrift
from perennial.core.monitoring.levels import AccuracyEstimate, Level, MonitorVerdict, verdict
from perennial.core.monitoring.retraining import (
    Hold,
    Retrain,
    decide_retrain,
    retraining_event,
    retraining_requests,
)
from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.core.version import VersionRef
from perennial.errors import MalformedInput, ToolError, UnknownVersion
from perennial.files import replacing
from perennial.flows.monitoring.retrain import raise_and_record
from perennial.ports import (
    DriftReporter,
    FeedbackStore,
    Ledger,
    PredictionLog,
    Registry,
    Router,
    Scheduler,
    Tracker,
)

if TYPE_CHECKING:
    import pandas as pd

ACTOR = "monitor"
LEVEL_CHANGED = "monitor.level"
REFERENCE = "reference.parquet"
KEPT_REPORTS = 20
LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""How far back predictions are looked for, until a window is full; older ones say nothing of today."""


@dataclass(frozen=True)
class MonitorPorts:
    router: Router
    registry: Registry
    tracker: Tracker
    predictions: PredictionLog
    feedback: FeedbackStore
    ledger: Ledger
    drift: DriftReporter
    scheduler: Scheduler


@dataclass(frozen=True)
class MonitorFolders:
    references: Path
    """One file per digest: the reference that the registry keeps with a version, fetched once."""
    reports: Path


@dataclass(frozen=True)
class MonitorResult:
    """What one look at a model saw and did."""

    model: str
    at: datetime
    target: Target | None
    """The champion; None when the model gets no traffic."""
    verdict: MonitorVerdict
    decision: Retrain | Hold
    report: Path | None = None
    problems: tuple[str, ...] = ()
    """What did not work, without changing the verdict."""


def monitor_model(
    spec: ModelSpec, ports: MonitorPorts, folders: MonitorFolders, now: datetime
) -> MonitorResult:
    """Judge the newest window and, if the policy says so, ask for a retraining.

    Raises:
        UnknownVersion: the live route names a version that the registry does not have.
        MalformedInput: the version has no reference.
        ToolError: a tool is down; nothing was decided. What was decided before it failed is in the ledger.
    """
    route = ports.router.route(spec.name)
    if route is None:
        return _unsure(spec, now, None, "no version gets traffic")
    target = route.stable
    # Before it is needed: the first verdict on a champion must not wait for the registry, or fail with it.
    reference = _reference(spec, ports.registry, target, folders.references)
    window = read_window(spec, ports.predictions, target, now)
    if len(window) < spec.monitoring.min_window:
        told = verdict(spec.monitoring, (), None, None, len(window))
        return MonitorResult(spec.name, now, target, told, Hold(why=told.reasons[0]))
    report = folders.reports / spec.name / f"{now:%Y%m%dT%H%M%S}.html"
    drifts = ports.drift.compare(spec, reference, window, report)
    told = _judge(spec, reference, window, drifts, ports.feedback)
    key = f"{target.digest[:12]}-{window['prediction_id'].iloc[-1]}"
    rows = ports.ledger.rows(spec.name)
    decision = decide_retrain(spec.retraining, told, key, retraining_requests(rows), now)
    if isinstance(decision, Retrain):
        extra = retraining_event(
            decision.reason, decision.text, who=ACTOR, key=key, digest=target.digest, window=key,
            psi={one.column: round(one.psi, 4) for one in drifts},
        )  # fmt: skip
        raise_and_record(spec.name, extra, ACTOR, ports.ledger, ports.scheduler, now)
    changed = _record_level(spec, ports.ledger, rows, target, told, now)
    keep_newest(report.parent, KEPT_REPORTS)
    problems = ()
    if changed or isinstance(decision, Retrain):
        problems = _to_tracker(spec, ports, target, report)
    return MonitorResult(spec.name, now, target, told, decision, report, problems)


def read_window(spec: ModelSpec, log: PredictionLog, target: Target, now: datetime) -> pd.DataFrame:
    """The newest `monitoring.window` answers that clients got from this digest, in time order.

    Columns as in the log, features under their own names.
    """
    for back in LOOK_BACK:
        rows = log.read(spec.name, now - back)
        rows = rows[(rows["digest"] == target.digest) & ~rows["shadow"].astype(bool)]
        if len(rows) >= spec.monitoring.window:
            break
    newest = rows.tail(spec.monitoring.window).reset_index(drop=True)
    return newest.rename(columns=lambda name: name.removeprefix("feature:"))


def _unsure(spec: ModelSpec, now: datetime, target: Target | None, why: str) -> MonitorResult:
    told = MonitorVerdict(level=Level.UNSURE, reasons=(why,), rows=0)
    return MonitorResult(spec.name, now, target, told, Hold(why=why))


def _reference(spec: ModelSpec, registry: Registry, target: Target, cache: Path) -> pd.DataFrame:
    """Rows of the holdout that the champion was evaluated on, with its scores there."""
    import pandas as pd

    path = cache / f"{target.digest}.parquet"
    if not path.is_file():
        record = registry.find(spec.name, target.version)
        if record is None or record.ref.digest != target.digest:
            raise UnknownVersion(
                f"the route of {spec.name} names {target.version} ({target.digest[:12]}), "
                "which the registry does not have",
                hint=f"perennial models show {spec.name}",
            )
        _keep_reference(registry, record.ref, path)
    return pd.read_parquet(path)


def _keep_reference(registry: Registry, ref: VersionRef, path: Path) -> None:
    """Into the cache whole or not at all: another process may read it, or this one be killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as aside:
        found = registry.fetch(ref, Path(aside) / "files") / REFERENCE
        if not found.is_file():
            raise MalformedInput(f"{ref} has no {REFERENCE}", hint="train and release it again")
        with replacing(path) as temporary:
            shutil.copyfile(found, temporary)


def _judge(
    spec: ModelSpec,
    reference: pd.DataFrame,
    window: pd.DataFrame,
    drifts: list[ColumnDrift],
    feedback: FeedbackStore,
) -> MonitorVerdict:
    known = accuracy_known(spec, reference)
    labels = feedback.labels(window["at"].iloc[0].floor("us").to_pydatetime())
    return verdict(spec.monitoring, drifts, known, accuracy_seen(window, labels), len(window))


def accuracy_known(spec: ModelSpec, reference: pd.DataFrame) -> AccuracyEstimate | None:
    """On the reference: right is a score on the right side of the spec's threshold."""
    answered = reference[SCORE].to_numpy() >= spec.target.threshold
    return AccuracyEstimate.of(answered == (reference[spec.target.column].to_numpy() > 0))


def accuracy_seen(window: pd.DataFrame, labels: Mapping[str, float]) -> AccuracyEstimate | None:
    """On the labelled answers of the window, as they were decided when they were given."""
    verdicts = window["prediction_id"].map(labels).to_numpy(dtype=float)
    labelled = ~np.isnan(verdicts)
    return AccuracyEstimate.of(window["decision"].to_numpy()[labelled] == (verdicts[labelled] >= 0.5))


def _record_level(
    spec: ModelSpec,
    ledger: Ledger,
    rows: list[LedgerRow],
    target: Target,
    told: MonitorVerdict,
    now: datetime,
) -> bool:
    """One ledger entry per change of level of one champion."""
    earlier = [
        row.entry for row in rows if row.entry.kind == LEVEL_CHANGED and row.entry.digest == target.digest
    ]
    before = earlier[-1].payload["to"] if earlier else None
    if before == told.level.value:
        return False
    payload = {
        "from": before,
        "to": told.level.value,
        "reasons": list(told.reasons),
        "rows": told.rows,
        "psi": {one.column: [round(one.psi, 4), round(one.allowance, 4)] for one in told.drifts},
        "accuracy_drop_percent": None if told.drop_percent is None else round(told.drop_percent, 2),
    }
    ledger.append(
        Entry(
            at=now, actor=ACTOR, kind=LEVEL_CHANGED, model=spec.name, release_id=target.release_id,
            digest=target.digest, payload=payload,
        )
    )  # fmt: skip
    return True


def keep_newest(folder: Path, count: int) -> None:
    """Delete all but the newest reports; their names are times."""
    for old in sorted(folder.glob("*.html"))[:-count]:
        old.unlink(missing_ok=True)


def _to_tracker(spec: ModelSpec, ports: MonitorPorts, target: Target, report: Path) -> tuple[str, ...]:
    """Keep the report with the champion's run; a tracker that is down is told, not fatal."""
    if not report.is_file():
        return ()
    try:
        record = ports.registry.find(spec.name, target.version)
        if record is not None:
            ports.tracker.reopen(record.run_id).artifact(report, "monitoring")
    except ToolError as error:
        return (f"the report was not kept with the run: {error.message}",)
    return ()
