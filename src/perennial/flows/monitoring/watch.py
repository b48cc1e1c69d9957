"""Monitor every model in a loop; an unavailable tool costs a single pass and never ends the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.experiment.live_experiment import VariantFigures
from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.core.monitoring.levels import MonitorVerdict, is_held_back
from perennial.core.monitoring.retraining import Retrain
from perennial.core.monitoring.screen import SCREENED
from perennial.core.spec import ModelSpec
from perennial.errors import PerennialError
from perennial.flows.experiment.analyse import ExperimentPorts
from perennial.flows.experiment.gather import running_figures
from perennial.flows.feedback.ingest import ingest
from perennial.flows.governance.identity import NO_MODEL
from perennial.flows.monitoring.following.schedule import Schedule
from perennial.flows.monitoring.monitor import MonitorFolders, MonitorPorts, MonitorResult, monitor_model
from perennial.ports import Ledger


class MonitorGauges(Protocol):
    """Metrics of the newest monitoring result of each model."""

    def show(self, model: str, verdict: MonitorVerdict, at: datetime) -> None: ...

    def failed(self, model: str) -> None: ...

    def received(self, counts: FeedbackCounts) -> None:
        """Add up the feedback that was not used."""


class ExperimentGauges(Protocol):
    """Metrics of the running A/B tests of each model."""

    def show(self, model: str, figures: Sequence[VariantFigures]) -> None: ...


@dataclass(frozen=True)
class PassPorts:
    """Ports and folders of a monitoring pass."""

    monitor: MonitorPorts
    experiment: ExperimentPorts
    folders: MonitorFolders


def monitoring_pass(
    spec: ModelSpec, ports: PassPorts, now: datetime, experiments: ExperimentGauges | None = None
) -> MonitorResult:
    """Store the pending labels, judge the newest window, then publish the figures of the running A/B test."""
    source = ports.experiment
    counts = ingest(source.inbox, source.feedback, source.answered)
    result = monitor_model(spec, ports.monitor, ports.folders, now)
    counts = replace(counts, broken_predictions=ports.monitor.watched.take_broken(spec.name))
    _record_unusable(counts, source.ledger, now)
    result = replace(result, feedback=counts, problems=(*counts.alarms, *result.problems))
    if experiments is not None:
        running = running_figures(
            spec.name,
            source.releases,
            source.ledger,
            source.predictions,
            source.feedback,
            now,
            spec.release.feedback,
        )
        experiments.show(spec.name, running)
    return result


def _record_unusable(counts: FeedbackCounts, ledger: Ledger, now: datetime) -> None:
    """Name the sources of unusable feedback in the ledger."""
    if not counts.alarms:
        return
    payload = {
        "unknown": dict(counts.unknown),
        "foreign": dict(counts.foreign),
        "invalid": dict(counts.invalid),
        "too_often": dict(counts.too_often),
        "broken": counts.broken,
        "broken_predictions": counts.broken_predictions,
    }
    ledger.append(
        Entry(
            at=now, actor=SystemActor.MONITOR, kind=Event.FEEDBACK_UNUSABLE, model=NO_MODEL, payload=payload
        )
    )


def watch(
    specs: Sequence[ModelSpec],
    run_pass: Callable[[ModelSpec], MonitorResult],
    gauges: MonitorGauges,
    say: Callable[[str], None],
    clock: Callable[[], float],
    wait: Callable[[float], bool],
    is_early: Callable[[ModelSpec], bool] | None = None,
) -> None:
    """Run a pass for each model every `monitoring.every`, or where it is due before, until `wait` returns True.

    Args:
        clock: seconds, monotonic.
        wait: waits the given seconds and returns True to stop.
        is_early: whether a look at a model is due at once, asked every `SCREENED`; None: never.
    """
    schedule = Schedule(specs, clock())
    screened = clock()
    while True:
        left = max(0.0, schedule.next_at() - clock())
        if wait(left if is_early is None else min(left, max(0.0, screened + SCREENED - clock()))):
            return
        if is_early is not None and clock() >= screened + SCREENED:
            # Also while other looks are due: an early one would wait minutes behind those of all models.
            schedule.early |= {
                place for place in schedule.may_be_early(clock()) if _asked(is_early, specs[place])
            }
            screened = clock()
        number = schedule.take(clock())
        if number is None:
            continue
        spec, is_held = specs[number], False
        try:
            result = run_pass(spec)
        except PerennialError as error:
            gauges.failed(spec.name)
            say(
                f"{spec.name}: {type(error).__name__}: {error.message}"
                + (f" -> {error.hint}" * bool(error.hint))
            )
        else:
            gauges.show(spec.name, result.verdict, result.at)
            is_held = is_held_back(spec.monitoring, result.verdict.drifts)
            if result.feedback is not None:
                gauges.received(result.feedback)
            say(summary_line(result))
        schedule.ended(number, clock(), is_held)


def _asked(is_early: Callable[[ModelSpec], bool], spec: ModelSpec) -> bool:
    try:
        return is_early(spec)
    except PerennialError:
        return False  # the next look meets it too, and says so


def summary_line(result: MonitorResult) -> str:
    """Return a line with time, rows, the three columns with the most drift, accuracy, level and decision."""
    verdict = result.verdict
    version = result.target.version if result.target else "-"
    top = sorted(verdict.drifts, key=lambda drift: -drift.excess)[:3]
    parts = [f"{result.at:%Y-%m-%d %H:%M:%S} {result.model} {version} n={verdict.rows}"]
    parts += [f"{drift.column} {drift.psi:.2f} (+{drift.excess:.2f})" for drift in top]
    if verdict.reference is not None and verdict.window is not None:
        parts.append(f"accuracy {verdict.reference.value:.1%} -> {verdict.window.value:.1%}")
    if verdict.estimated is not None:
        parts.append(f"estimated {verdict.estimated}")
    if isinstance(result.decision, Retrain):
        decided = f"RETRAIN ({result.decision.reason.value}): {result.decision.text}"
    else:
        decided = f"hold: {result.decision.why}"
    return " | ".join([*parts, verdict.level.value, decided, *result.problems])
