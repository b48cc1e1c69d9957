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

    Deletes what `retention.predictions` of the spec no longer keeps. The maintenance DAG does it every hour.
    """
    from perennial.wiring import releasing

    settings = environment.load()
    keep = catalog.spec(model, settings).retention.predictions
    done = releasing.prediction_archive(settings).tidy(model, now(), keep)
    if as_json:
        print_json(asdict(done))
        return
    sizes = f": {done.before_bytes:,} bytes are {done.after_bytes:,}" if done.journals else ""
    print_text(f"{done.journals} journals sealed{sizes}")
    print_text(f"{done.merged} segments merged, {done.pruned} deleted")
    if done.broken:
        print_text(f"{done.broken} broken lines are kept aside in serving/log/aside", err=True)
