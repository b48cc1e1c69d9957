"""`perennial monitor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from perennial import settings as environment
from perennial.commands.alerting.rules import rules
from perennial.commands.evaluation.day_check import check
from perennial.commands.evaluation.performance_report import report
from perennial.commands.output import JSON, now, print_json, print_text

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec
    from perennial.flows.monitoring.monitor import MonitorResult


@click.group()
def monitor() -> None:
    """Compare windows of predictions with the champion's reference."""


monitor.add_command(rules)


@monitor.command()
@click.argument("model")
@JSON
def run(model: str, as_json: bool) -> None:
    """Judge the newest window once, and request a retraining if the policy demands it."""
    from perennial import catalog
    from perennial.flows.monitoring.watch import monitoring_pass, summary_line
    from perennial.wiring import monitoring

    settings = environment.load()
    result = monitoring_pass(catalog.spec(model, settings), monitoring.pass_ports(settings), now())
    if as_json:
        print_json(_as_json(result))
        return
    print_text(summary_line(result))
    for reason in result.verdict.reasons:
        print_text(f"  {reason}")
    if result.report is not None:
        print_text(f"  report: {result.report}")


@monitor.command()
@JSON
def budget(as_json: bool) -> None:
    """Show the false alarms and drift warnings that each model may cost, and those of the last 30 days."""
    from perennial.flows.monitoring.budget import budget_lines
    from perennial.wiring import database, monitoring

    settings = environment.load()
    store = database.store(settings)
    lines = budget_lines(monitoring.alarm_budget(settings), store.detectors, store.ledger, now())
    if as_json:
        print_json([line.model_dump(mode="json") for line in lines])
        return
    print_text(
        f"{settings.false_alarms_per_month:g} false alarms in 30 days over {len(lines)} models, "
        f"{settings.false_drift_warnings_per_month:g} false drift warnings"
    )
    for line in lines:
        print_text(f"  {line}")


@monitor.command()
def watch() -> None:
    """Monitor every model in a loop and export the metrics to Prometheus, until SIGTERM."""
    import functools
    import signal
    import time

    from perennial import catalog
    from perennial.flows.monitoring.watch import monitoring_pass
    from perennial.flows.monitoring.watch import watch as flow
    from perennial.wiring import monitoring

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = environment.load()
    specs = catalog.specs(settings)
    gauges, experiments = monitoring.gauges()
    gauges.watch_releases(monitoring.attended([spec.name for spec in specs], settings))
    gauges.watch_freshness(monitoring.freshness(specs, settings))
    gauges.serve(
        environment.LOOPBACK, settings.port_monitor, settings.internal_secret,
        monitoring.metrics_server(settings), monitoring.pages(settings),
    )  # fmt: skip
    # Connected at the first pass: a tool that is still unavailable fails that pass, not the process.
    ports = functools.cache(lambda: monitoring.pass_ports(settings))

    def run_pass(spec: ModelSpec) -> MonitorResult:
        return monitoring_pass(spec, ports(), now(), experiments)

    def is_early(spec: ModelSpec) -> bool:
        early = ports().monitor.early
        return early is not None and early.due(spec, now())

    def wait(seconds: float) -> bool:
        time.sleep(seconds)
        return False

    print_text(
        f"{len(specs)} models; metrics at "
        f"{settings.inside_scheme}://{environment.LOOPBACK}:{settings.port_monitor}/metrics"
    )
    flow(specs, run_pass, gauges, print_text, time.monotonic, wait, is_early)


monitor.add_command(report)
monitor.add_command(check)


def _as_json(result: MonitorResult) -> dict[str, Any]:
    from perennial.core.monitoring.retraining import Retrain

    verdict, target, decision = result.verdict, result.target, result.decision
    return {
        "model": result.model,
        "at": result.at.isoformat(),
        "version": target.version if target else None,
        "digest": target.digest if target else None,
        "level": verdict.level.value,
        "reasons": list(verdict.reasons),
        "rows": verdict.rows,
        "drift": [{**drift.model_dump(), "excess": drift.excess} for drift in verdict.drifts],
        "accuracy_drop_percent": verdict.drop_percent,
        "estimated_accuracy": None if verdict.estimated is None else verdict.estimated.model_dump(),
        "retrain": decision.reason.value if isinstance(decision, Retrain) else None,
        "hold": None if isinstance(decision, Retrain) else decision.why,
        "harm": None if verdict.harm is None else verdict.harm.model_dump(mode="json"),
        "report": None if result.report is None else str(result.report),
        "problems": list(result.problems),
    }
