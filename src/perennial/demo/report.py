"""The end of the demo: a table, a picture, a JSON file, and where to look."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perennial.demo.events import EventLog
from perennial.demo.release_observer import StepTraffic
from perennial.demo.replay import ReplayCounts
from perennial.settings import Settings


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured."""

    source: str
    why: str
    champion: str
    shift_began: datetime
    drift_seen: datetime
    drift_text: str
    retrained: datetime
    steps: list[StepTraffic]
    tally: ReplayCounts

    def seconds(self, later: datetime, earlier: datetime) -> float:
        return round((later - earlier).total_seconds(), 1)

    def summary(self) -> dict:
        """Plain figures for machines; a figure that was not measured is null."""
        return {
            "source": self.source,
            "why": self.why,
            "champion": self.champion,
            "drift_seen_after_s": self.seconds(self.drift_seen, self.shift_began),
            "drift": self.drift_text,
            "retrained_in_s": self.seconds(self.retrained, self.drift_seen),
            "requests": self.tally.sent,
            "failed_requests": self.tally.failed,
            "first_failures": self.tally.first_failures,
            "labels": self.tally.labels,
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


def write(path: Path, outcome: DemoResult) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outcome.summary(), indent=2) + "\n")


def show(outcome: DemoResult, events: EventLog, picture: Path, settings: Settings, password: str) -> None:
    """Print everything a person wants to see at the end."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    told = Table(title="What happened", title_justify="left")
    told.add_column("second", justify="right")
    told.add_column("event", overflow="fold")
    for event in sorted(events.events, key=lambda one: one.at):
        told.add_row(f"{(event.at - events.start).total_seconds():.1f}", event.text)
    console.print(told)
    console.print(_shares(outcome))
    summary = outcome.summary()
    console.print(
        f"history: {outcome.source}: {outcome.why}\n"
        f"drift seen after {summary['drift_seen_after_s']} s ({outcome.drift_text}); "
        f"retrained in {summary['retrained_in_s']} s\n"
        f"champion: {outcome.champion}; requests: {outcome.tally.sent}, failed: {outcome.tally.failed}; "
        f"labels that came back: {outcome.tally.labels}",
        soft_wrap=True,
    )
    console.print(
        f"\npicture    {picture}\n"
        f"Airflow    {settings.airflow_url}  (user {settings.airflow_user}, password {password})\n"
        f"MLflow     http://{settings.host}:{settings.port_mlflow}\n"
        f"accounts   {settings.accounts_file}  (approver, operator, viewer: in MLflow and Airflow)\n"
        f"logs       {settings.state / 'logs'}\n"
        f"stop all   make down",
        soft_wrap=True,
        highlight=False,
    )


def _shares(outcome: DemoResult):
    from rich.table import Table

    table = Table(title="Requests by step, as counted at Envoy", title_justify="left")
    for name in ("release", "step", "asked %", "counted %", "to canary", "to stable"):
        table.add_column(name, justify="left" if name in ("release", "step") else "right")
    for step in outcome.steps:
        if step.label.startswith(("CANARY", "SHADOW", "SUCCEEDED")):
            counted = _counted(step)
            table.add_row(
                step.version,
                step.label,
                f"{step.weight:g}",
                counted,
                str(step.requests("canary")),
                str(step.requests("stable")),
            )
    return table


def _counted(step: StepTraffic) -> str:
    """The canary's share; mirrored requests are copies, so a share of the answers they are not."""
    if step.label == "SHADOW":
        return "copies only"
    return "not measured" if step.share is None else f"{step.share:.1f}"
