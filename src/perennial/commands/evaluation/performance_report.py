"""`perennial monitor report`: write the performance report of a model."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_record, print_text


@click.command()
@click.argument("model")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True,
              help="Length of the time that ends now.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, file_okay=False),
              help="Folder to write to; default: `performance/<model>` in the folder of reports.")  # fmt: skip
@JSON
def report(model: str, days: float, out: Path | None, as_json: bool) -> None:
    """Write the performance of a model as a page and as JSON: trend, slices, fairness, latency, usage, errors."""
    from perennial import catalog
    from perennial.core.performance.report import percent, points
    from perennial.flows.monitoring.performance import performance_report
    from perennial.wiring import monitoring

    settings, at = environment.load(), now()
    spec = catalog.spec(model, settings)
    if not as_json:
        print_text(f"reading the answers of the last {days:g} days ...")
    made = performance_report(spec, monitoring.report_ports(settings), at - timedelta(days=days), at)
    folder = out if out is not None else settings.reports / "performance" / model
    page, figures = monitoring.report_writer()(made, folder)
    if as_json:
        print_record(made)
        return
    newest = next((period.right for period in reversed(made.periods) if period.right is not None), None)
    print_text(
        f"{model}: {made.predictions} predictions, {made.labelled} labelled, newest {percent(newest)} right"
    )
    if made.degradation is not None:
        print_text(f"  {made.champion}: later half of the labels {points(made.degradation)}")
    for advice in made.recommendations:
        print_text(f"  {advice.text} ({advice.evidence})")
    if not made.recommendations:
        print_text("  nothing in these figures calls for action")
    print_text(f"  page: {page}")
    print_text(f"  figures: {figures}")
