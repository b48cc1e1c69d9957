"""Final report of the demo: tables, figures as JSON, and the addresses of the tools."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.core.display import shown
from perennial.core.monitoring.worth.effect import Effect
from perennial.core.release.gate_report import GateReport
from perennial.demo.events import EventLog
from perennial.demo.release_observer import StepTraffic
from perennial.demo.replay import ReplayCounts
from perennial.installation import default_project
from perennial.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class NextRetraining:
    """Decision about the retraining that the labels of the new champion asked for."""

    made: bool
    why: str


@dataclass(frozen=True)
class DemoResult:
    """Measurements of a demo run."""

    source: str
    why: str
    first: str
    """Version of the first champion."""
    champion: str
    shift_began: datetime
    drift_seen: datetime
    drift_text: str
    retrained: datetime
    steps: list[StepTraffic]
    counts: ReplayCounts
    gate: GateReport | None = None
    """Gate of the second champion."""
    further: NextRetraining | None = None
    """None: nothing asked, see `next_gain`."""
    accuracy: dict[str, float] = field(default_factory=dict)
    """Percent of right answers by stage."""
    effect: Effect | None = None
    """Gain of the second champion over the first, on the same labelled requests."""
    next_gain: str = ""
    """Words of a back-test about a further retraining, which was not made."""

    def seconds(self, later: datetime, earlier: datetime) -> float:
        return round((later - earlier).total_seconds(), 1)

    def summary(self) -> dict[str, Any]:
        """Return the figures for JSON; a figure that was not measured is null."""
        return {
            "source": self.source,
            "why": self.why,
            "champion": self.champion,
            "drift_seen_after_s": self.seconds(self.drift_seen, self.shift_began),
            "drift": self.drift_text,
            "retrained_in_s": self.seconds(self.retrained, self.drift_seen),
            "accuracy_percent": self.accuracy,
            "effect": None if self.effect is None else self.effect.model_dump(mode="json"),
            "gate": None if self.gate is None else _gate(self.gate),
            "next_retraining": (self.next_gain if self.further is None else self.further.why) or None,
            "next_retraining_made": self.further is not None and self.further.made,
            "requests": self.counts.sent,
            "failed_requests": self.counts.failed,
            "first_failures": self.counts.first_failures,
            "labels": self.counts.labels,
            "steps": [
                {
                    "version": step.version,
                    "step": step.label,
                    "weight_percent": step.weight,
                    "canary_requests": step.requests("canary"),
                    "stable_requests": step.requests("stable"),
                    "share_percent": None if step.share is None else round(step.share, 2),
                    "seconds": None if step.until is None else self.seconds(step.until, step.since),
                }
                for step in self.steps
            ],
        }


def write(path: Path, result: DemoResult) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result.summary(), indent=2) + "\n")


def show(
    result: DemoResult, events: EventLog, picture: Path, settings: Settings, password: str, model: str
) -> None:
    """Print the events, the shares, the summary and the addresses."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(title="Events", title_justify="left")
    table.add_column("second", justify="right")
    table.add_column("event", overflow="fold")
    for event in sorted(events.events, key=lambda event: event.at):
        table.add_row(f"{(event.at - events.start).total_seconds():.1f}", Text(shown(event.text)))
    console.print(table)
    console.print(_shares(result))
    summary = result.summary()
    console.print(
        Text(
            shown(
                f"data: {result.source}: {result.why}\n"
                f"a retraining was asked for after {summary['drift_seen_after_s']} s ({result.drift_text}); "
                f"retrained in {summary['retrained_in_s']} s\n"
                f"accuracy: {'; '.join(f'{stage} {value:g} %' for stage, value in result.accuracy.items())}\n"
                f"{effect_line(result.effect)}\n"
                f"{gate_line(result.gate)}\n"
                f"{next_line(result)}\n"
                f"champion: {result.champion}; requests: {result.counts.sent}, failed: {result.counts.failed}; "
                f"labels received: {result.counts.labels}",
                lines=True,
            )
        ),
        soft_wrap=True,
    )
    console.print(
        f"\npicture    {picture}\n"
        f"Airflow    {settings.airflow_url}  (user {settings.airflow_user}, password {password})\n"
        f"MLflow     {settings.pages_mlflow}\n"
        f"accounts   {settings.accounts_file}  (approver, operator, viewer: in MLflow and Airflow)\n"
        f"logs       {settings.state / 'logs'}\n"
        f"{commands_line(settings, model)}"
        f"stop all   make down",
        soft_wrap=True,
        highlight=False,
    )


def effect_line(effect: Effect | None) -> str:
    """Return the measured effect of the retraining in a line."""
    if effect is None:
        return "effect of the retraining: not measured"
    if effect.measured is None:
        return f"effect of the retraining: {effect.verdict.value} ({effect.labels})"
    figures = effect.measured
    return (
        f"effect of the retraining: {effect.verdict.value}: {figures.measure.value} {figures.old:.4f} -> "
        f"{figures.new:.4f}, gain {figures} (95 %) on {effect.labels} labelled requests, "
        f"which {effect.against} answered again"
    )


def gate_line(gate: GateReport | None) -> str:
    """Return in a line what the gate proved of the second champion."""
    if gate is None:
        return "gate: not known"
    gains = [f"{rule.observed} ({rule.needed})" for rule in gate.rules if rule.rule == "improvement"]
    why = "; ".join(("", *gate.risk_reasons))
    return f"gate: {gate.verdict.value}, risk {gate.risk.value}{why}; improvement {'; '.join(gains)}"


def _gate(gate: GateReport) -> dict[str, Any]:
    return {
        "verdict": gate.verdict.value,
        "risk": gate.risk.value,
        "rules": {
            rule.rule: {"verdict": rule.verdict.value, "observed": rule.observed} for rule in gate.rules
        },
    }


def next_line(result: DemoResult) -> str:
    """Return in a line what became of a further retraining."""
    if result.further is None:
        return f"a further retraining was not made: {result.next_gain or 'not back-tested'}"
    made = "requested" if result.further.made else "not made"
    return f"a further retraining was {made}: {result.further.why}"


def commands_line(settings: Settings, model: str) -> str:
    """Return the line that says how commands see the demo: its project, its state, its spec and its budget."""
    warnings, usual = (
        settings.false_drift_warnings_per_month,
        Settings.model_fields["false_drift_warnings_per_month"].default,
    )
    variables = {
        "PERENNIAL_PROJECT": None if settings.project == default_project() else settings.project,
        "PERENNIAL_HOME": settings.home,
        "PERENNIAL_SPEC_OVERLAY": settings.spec_overlay,
        "PERENNIAL_FALSE_DRIFT_WARNINGS_PER_MONTH": None if warnings == usual else f"{warnings:g}",
    }
    given = (f"{name}={shlex.quote(str(value))}" for name, value in variables.items() if value is not None)
    return f"commands   export {' '.join(given)}; perennial retrain effect {model}\n"


def _shares(result: DemoResult) -> Table:
    from rich.table import Table

    table = Table(title="Requests by step, as counted at Envoy", title_justify="left")
    for name in ("release", "step", "configured %", "counted %", "to canary", "to stable"):
        table.add_column(name, justify="left" if name in ("release", "step") else "right")
    for step in result.steps:
        if step.label.startswith(("CANARY", "SHADOW", "SUCCEEDED")):
            requests = (str(step.requests(pool)) for pool in ("canary", "stable"))
            table.add_row(step.version, step.label, f"{step.weight:g}", _counted(step), *requests)
    return table


def _counted(step: StepTraffic) -> str:
    """Return the canary's share as text; mirrored requests are no share of the answers."""
    if step.label == "SHADOW":
        return "mirrored"
    return "not measured" if step.share is None else f"{step.share:.1f}"
