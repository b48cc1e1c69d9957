"""`perennial monitor`, `perennial retrain`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from perennial import settings as environment

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec
    from perennial.flows.monitoring.monitor import MonitorPorts, MonitorResult
    from perennial.settings import Settings


@click.group()
def monitor() -> None:
    """Compare windows of predictions with the champion's reference."""


@monitor.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def run(model: str, as_json: bool) -> None:
    """Look once: judge the newest window, and ask for a retraining if the policy says so."""
    from perennial import catalog
    from perennial.flows.monitoring.watch import summary_line

    settings = environment.load()
    seen = _look(catalog.spec(model, settings), settings, _ports(settings))
    if as_json:
        click.echo(json.dumps(_plain(seen), indent=2))
        return
    click.echo(summary_line(seen))
    for reason in seen.verdict.reasons:
        click.echo(f"  {reason}")
    if seen.report is not None:
        click.echo(f"  report: {seen.report}")


@monitor.command()
def watch() -> None:
    """Look at every model again and again, and serve the figures to Prometheus. Ends on SIGTERM."""
    import signal
    import time
    from datetime import UTC, datetime

    from perennial import catalog
    from perennial.flows.experiment.gather import figures
    from perennial.flows.monitoring.watch import watch as flow
    from perennial.wiring import database, monitoring

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = environment.load()
    specs = catalog.specs(settings)
    gauges = monitoring.gauges()
    experiments = monitoring.experiment_gauges(gauges)
    gauges.serve(settings.host, settings.port_monitor)
    held: list[MonitorPorts] = []

    def look(spec: ModelSpec) -> MonitorResult:
        if not held:  # inside the watch: what cannot be reached yet costs a look, not the process
            held.append(_ports(settings))
        ports = held[0]
        seen = _look(spec, settings, ports)
        releases = database.store(settings).releases
        running = figures(
            spec.name, releases, ports.ledger, ports.predictions, ports.feedback, datetime.now(UTC)
        )
        experiments.show(spec.name, running)
        return seen

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    click.echo(f"{len(specs)} models; figures on http://{settings.host}:{settings.port_monitor}/metrics")
    flow(specs, look, gauges, click.echo, time.monotonic, wait)


@click.command()
@click.argument("model")
@click.option(
    "--reason", "text", required=True, help="Why, in your words; stands on the run and the version."
)
def retrain(model: str, text: str) -> None:
    """Ask for a retraining now; the training DAG starts. No cooldown holds a person back."""
    from datetime import UTC, datetime

    from perennial import catalog
    from perennial.commands.identity import actor
    from perennial.core.spec import Reason
    from perennial.flows.monitoring.retrain import request_retraining
    from perennial.wiring import database, monitoring

    settings = environment.load()
    spec = catalog.spec(model, settings)
    entry = request_retraining(
        spec.name,
        Reason.PERSON,
        text,
        actor(settings),
        database.store(settings).ledger,
        monitoring.scheduler(settings),
        datetime.now(UTC),
    )
    click.echo(f"asked for a retraining of {spec.name}: {entry.payload['text']}; Airflow: train_{spec.name}")


def _ports(settings: Settings) -> MonitorPorts:
    from perennial.flows.monitoring.monitor import MonitorPorts
    from perennial.wiring import database, monitoring, releasing, traffic, training, versions

    store = database.store(settings)
    return MonitorPorts(
        router=traffic.router(settings),
        registry=versions.registry(settings),
        tracker=training.tracker(settings),
        predictions=releasing.prediction_log(settings),
        feedback=store.feedback,
        ledger=store.ledger,
        drift=monitoring.drift(settings),
        scheduler=monitoring.scheduler(settings),
    )


def _look(spec: ModelSpec, settings: Settings, ports: MonitorPorts) -> MonitorResult:
    """Take in the labels that came, then judge."""
    from datetime import UTC, datetime

    from perennial.flows.monitoring import feedback
    from perennial.flows.monitoring import monitor as flow
    from perennial.wiring import releasing

    feedback.ingest(releasing.feedback_inbox(settings), ports.feedback)
    folders = flow.MonitorFolders(settings.state / "monitor" / "references", settings.reports)
    return flow.monitor_model(spec, ports, folders, datetime.now(UTC))


def _plain(seen: MonitorResult) -> dict:
    from perennial.core.monitoring.retraining import Retrain

    told = seen.verdict
    return {
        "model": seen.model,
        "at": seen.at.isoformat(),
        "version": seen.target.version if seen.target else None,
        "digest": seen.target.digest if seen.target else None,
        "level": told.level.value,
        "reasons": list(told.reasons),
        "rows": told.rows,
        "drift": [
            {"column": one.column, "psi": one.psi, "allowance": one.allowance, "excess": one.excess}
            for one in told.drifts
        ],
        "accuracy_drop_percent": told.drop_percent,
        "retrain": seen.decision.reason.value if isinstance(seen.decision, Retrain) else None,
        "hold": None if isinstance(seen.decision, Retrain) else seen.decision.why,
        "report": None if seen.report is None else str(seen.report),
        "problems": list(seen.problems),
    }
