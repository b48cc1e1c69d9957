"""Command `perennial predictions`: housekeeping of the prediction log."""

from __future__ import annotations

from dataclasses import asdict

import click

from perennial import catalog
from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_text


@click.group()
def predictions() -> None:
    """Manage the log of what the model servers answered."""


@predictions.command()
@click.argument("model")
@JSON
def seal(model: str, as_json: bool) -> None:
    """Make Parquet segments of the ended hours of MODEL, and one segment of each ended day.

    Deletes what `retention.predictions` of the spec no longer keeps, but nothing since the begin of a release that
    still goes on: its verdicts and A/B tests count all of it. The maintenance DAG does it every hour.
    """
    from perennial.wiring import database, releasing

    settings, at = environment.load(), now()
    keep = catalog.spec(model, settings).retention.predictions
    if keep is not None:
        releases = database.store(settings).releases.latest(model)
        keep = max([keep, *(at - each.started_at for each in releases if not each.phase.is_final())])
    done = releasing.prediction_archive(settings).tidy(model, at, keep)
    if as_json:
        print_json(asdict(done))
        return
    sizes = f": {done.before_bytes:,} bytes are {done.after_bytes:,}" if done.journals else ""
    print_text(f"{done.journals} journals sealed{sizes}")
    print_text(f"{done.merged} segments merged, {done.pruned} deleted")
    if done.broken:
        print_text(f"{done.broken} broken lines are kept aside in serving/log/aside", err=True)
