"""Command `perennial feedback`: labels and rewards, and the sources that may send them."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import click

from perennial import settings as environment
from perennial.commands.output import JSON, print_records, print_text

KEY_VARIABLE = "PERENNIAL_FEEDBACK_KEY"


@click.group()
def feedback() -> None:
    """Store labels of earlier predictions."""


@feedback.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def add(file: Path) -> None:
    """Hand in the labels of a JSON file: {"labels": [{"prediction_id": ..., "label": ...}]}.

    A label is what the model's kind of task predicts: 0 or 1, a class, a value.

    An entry may have a `reward` (any number) in addition to its label or instead of it. `reviews` beside `labels` has
    reviews of people: prediction_id, verdict (accept, reject, modify), value, score, comment, consent.

    PERENNIAL_FEEDBACK_KEY holds the key of the source; what it sends is checked and stored as what a server received.
    """
    from perennial import catalog
    from perennial.errors import MalformedInput
    from perennial.serving import feedback_inbox
    from perennial.serving.evidence import feedback_entries
    from perennial.serving.evidence.sources import FeedbackSources
    from perennial.serving.prediction_log import writer_name

    settings, now = environment.load(), datetime.now(UTC)
    source = FeedbackSources(settings.feedback_sources).holder(os.environ.get(KEY_VARIABLE, ""))
    try:
        body = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedInput(
            f"{file} is not JSON: {error}", hint="see `perennial feedback add --help`"
        ) from error
    tasks = [spec.task for spec in catalog.specs(settings) if not source.models or spec.name in source.models]
    given = feedback_entries.parse(body, tasks)
    writer = writer_name("command", now)
    feedback_inbox.FeedbackWriter(settings.serving_dir / "feedback", writer).append(given, source, now)
    _ingest()


@feedback.command()
def ingest() -> None:
    """Store the labels that the servers received since the last call."""
    _ingest()


def _ingest() -> None:
    from perennial.flows.feedback.ingest import ingest as flow
    from perennial.wiring import database, releasing

    settings = environment.load()
    store = database.store(settings).feedback
    done = flow(releasing.feedback_inbox(settings), store, releasing.answered(settings))
    print_text(f"{done.received} labels, rewards and reviews received, {done.changed} new or changed")
    for text in done.alarms:
        print_text(f"ALARM {text}", err=True)


@feedback.command()
@click.option("--model", help="Only of this model.")
@click.option("--source", "of_source", help="Only of this source.")
@click.option("--history", is_flag=True, help="Also reviews that a later one has replaced.")
@click.option(
    "--last", default=50, show_default=True, type=click.IntRange(min=1), help="Newest reviews to show."
)
@JSON
def reviews(model: str | None, of_source: str | None, history: bool, last: int, as_json: bool) -> None:
    """List what people said about answers, the newest last."""
    from perennial.wiring import database

    stored = database.store(environment.load()).feedback.reviews(model)
    shown = [
        review for review in stored if of_source in (None, review.source) and (history or review.current)
    ][-last:]
    rows = [
        {
            "at": review.at.isoformat(timespec="seconds"),
            "source": review.source,
            "model": review.model,
            "current": review.current,
            **review.review.model_dump(mode="json"),
        }
        for review in shown
    ]
    print_records(rows, as_json, "there is no review")


@feedback.command()
@click.option("--source", "of_source", required=True, help="Source whose comments are deleted.")
@click.option("--prediction", help="Only about this prediction. Default: all.")
def forget(of_source: str, prediction: str | None) -> None:
    """Delete the comments in the reviews of a source; verdicts, values and scores stay.

    A comment that was received until now and arrives later, from another machine, is deleted when it is stored.
    """
    from perennial.commands.identity import actor
    from perennial.flows.feedback.forget import ForgetPorts, forget_comments
    from perennial.serving.evidence.sources import FeedbackSources
    from perennial.wiring import database, releasing

    settings = environment.load()
    store = database.store(settings)
    stored, in_files = forget_comments(
        of_source, prediction, releasing.feedback_inbox(settings), ForgetPorts(store.feedback, store.ledger),
        FeedbackSources(settings.feedback_sources).all(), actor(settings), datetime.now(UTC),
    )  # fmt: skip
    print_text(
        f"{stored} stored comments of {of_source} deleted, {in_files.comments} overwritten in the files here"
        f" ({in_files.damaged} in damaged lines); backups, copies and the files of other serving machines keep theirs"
    )


@feedback.group()
def source() -> None:
    """Manage the systems that may send labels and rewards."""


@source.command("add")
@click.argument("name")
@click.option("--model", "models", multiple=True, help="Model that it may label; repeatable. Default: all.")
def add_source(name: str, models: tuple[str, ...]) -> None:
    """Add a source and print its key, which is shown this once. Again: a new key, the earlier key ends."""
    import secrets

    from perennial import catalog
    from perennial.commands.identity import actor
    from perennial.flows.feedback.sources import add_source as flow
    from perennial.serving.access.client_keys import ClientKeys
    from perennial.serving.evidence.sources import FeedbackSources
    from perennial.wiring import database

    settings = environment.load()
    for model in models:
        catalog.spec(model, settings)
    key = flow(
        name, models, actor(settings), FeedbackSources(settings.feedback_sources),
        database.store(settings).ledger, datetime.now(UTC), secrets.token_hex,
        taken=ClientKeys(settings.client_keys).all(),
    )  # fmt: skip
    print_text(key)


@source.command("list")
@JSON
def list_sources(as_json: bool) -> None:
    """List the sources, without their keys."""
    from perennial.serving.evidence.sources import FeedbackSources

    rows = [
        {
            "source": name,
            "models": ", ".join(stored.models) or "all",
            "added": stored.added_at.isoformat(timespec="seconds"),
            "by": stored.added_by,
        }
        for name, stored in sorted(FeedbackSources(environment.load().feedback_sources).all().items())
    ]
    print_records(rows, as_json, "there is no source yet: perennial feedback source add NAME")


@source.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """End the key of a source at once; what it has labelled stays."""
    from perennial.commands.identity import actor
    from perennial.flows.feedback.sources import revoke_source
    from perennial.serving.evidence.sources import FeedbackSources
    from perennial.wiring import database

    settings = environment.load()
    sources = FeedbackSources(settings.feedback_sources)
    revoke_source(name, actor(settings), sources, database.store(settings).ledger, datetime.now(UTC))
    print_text(f"the key of {name} ends now")
