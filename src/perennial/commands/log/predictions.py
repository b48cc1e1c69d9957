"""Command `perennial predictions`: housekeeping of the prediction log."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from perennial import catalog
from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_text

if TYPE_CHECKING:
    from perennial.settings import Settings


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
    from perennial.wiring import releasing

    settings, at = environment.load(), now()
    done = releasing.prediction_archive(settings).tidy(model, at, _kept(model, settings, at))
    if as_json:
        print_json(asdict(done))
        return
    sizes = f": {done.before_bytes:,} bytes are {done.after_bytes:,}" if done.journals else ""
    print_text(f"{done.journals} journals sealed{sizes}")
    print_text(f"{done.merged} segments merged, {done.pruned} deleted")
    if done.broken:
        print_text(f"{done.broken} broken lines are kept aside in serving/log/aside", err=True)


@predictions.command()
@click.argument("model")
@JSON
def upload(model: str, as_json: bool) -> None:
    """Copy the segments of the ended days of MODEL to PERENNIAL_LOG_BUCKET, once.

    Removes here what is older than PERENNIAL_LOG_LOCAL_DAYS, after its copy was read back, and there what
    `retention.predictions` of the spec no longer keeps. Readers of the log see both. The maintenance DAG does it.
    """
    from perennial.wiring import releasing

    settings, at = environment.load(), now()
    done = releasing.segment_upload(settings).run(model, at, _kept(model, settings, at))
    if as_json:
        print_json(asdict(done))
        return
    print_text(f"{done.uploaded} segments uploaded to {settings.log_bucket}: {done.uploaded_bytes:,} bytes")
    print_text(f"{done.removed_here} removed here, {done.pruned} removed there")
    print_text(f"{done.elsewhere} are in object storage only")


def _kept(model: str, settings: Settings, at: datetime) -> timedelta | None:
    """Return how long predictions are kept: what the spec says, and all since the begin of a release that goes on."""
    from perennial.wiring import database

    keep = catalog.spec(model, settings).retention.predictions
    if keep is None:
        return None
    releases = database.store(settings).releases.latest(model)
    return max([keep, *(at - each.started_at for each in releases if not each.phase.is_final())])
