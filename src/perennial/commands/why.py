"""Commands `why` and `timeline`: answers from the ledger, without MLflow or any server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_record, print_table, print_text

if TYPE_CHECKING:
    from perennial.core.governance.timeline import VersionTimeline
    from perennial.core.governance.why import ServingExplanation
    from perennial.ports import Ledger


class Moment(click.ParamType):
    """A time in ISO 8601; without a zone it is UTC."""

    name = "TIME"

    def convert(self, value, param, ctx) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-01-05T08:00 or 2026-01-05T08:00+01:00", param, ctx)
        return read if read.tzinfo else read.replace(tzinfo=UTC)


@click.command()
@click.argument("model")
@click.option("--at", type=Moment(), help="Time to explain; default: now. Without a zone: UTC.")
@click.option(
    "--refused",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Number of newest refusals shown.",
)
@JSON
def why(model: str, at: datetime | None, refused: int, as_json: bool) -> None:
    """Explain what serves MODEL, since when, who approved it, on what evidence, and what was refused."""
    from perennial.flows.governance.why import why as flow

    answer = flow(model, _ledger(model), at or now(), refused)
    if as_json:
        print_record(answer)
    else:
        _show(answer)


@click.command()
@click.argument("model")
@click.option("--version", help="Show only this version.")
@click.option("--last", type=click.IntRange(min=1), help="Show only the newest N versions.")
@JSON
def timeline(model: str, version: str | None, last: int | None, as_json: bool) -> None:
    """Show the timeline of every version of MODEL."""
    from perennial.errors import UnknownVersion
    from perennial.flows.governance.why import version_timelines

    timelines = [
        timeline
        for timeline in version_timelines(model, _ledger(model))
        if version in (None, timeline.version)
    ]
    if version is not None and not timelines:
        raise UnknownVersion(f"the ledger knows no {version} of {model}", hint=f"perennial timeline {model}")
    timelines = timelines[-last:] if last else timelines
    if as_json:
        print_json([timeline.model_dump(mode="json") for timeline in timelines])
        return
    for timeline in timelines:
        _show_timeline(timeline)


def _ledger(model: str) -> Ledger:
    """Return the ledger if it knows the model or a spec exists: a retired model keeps its timeline.

    Raises:
        UnknownModel: neither knows it.
    """
    from perennial import catalog
    from perennial.wiring import database

    settings = environment.load()
    ledger = database.store(settings).ledger
    if not ledger.rows(model, newest=1):
        catalog.spec(model, settings)
    return ledger


def _show(answer: ServingExplanation) -> None:
    served = answer.served
    if served is None:
        print_text(f"{answer.model}: nothing served at {_when(answer.at)}")
    else:
        print_text(f"{answer.model} {served.version} ({served.digest[:12]}) served at {_when(answer.at)}")
        print_text(f"  since     {_when(served.since)}, by {served.by} (entry {served.entry})")
        print_text(f"  before    {answer.before or 'nobody'}; capsule {(answer.capsule or '-')[:12]}")
        risk = "; ".join((answer.risk or "unknown", *answer.risk_reasons))
        print_text(f"  gate      {answer.gate_verdict or 'not in the ledger'}, risk {risk}")
    for approval in answer.approvals:
        note = f", {approval.note!r}" if approval.note else ""
        when = f"{_when(approval.at)} (entry {approval.entry})"
        by = f"{approval.actor} through {approval.channel}"
        print_text(f"  approved  {approval.digest[:12]} by {by} {when}{note}")
    for release in answer.open_releases:
        print_text(f"  in release: {release.version}, since {_when(release.since)}, last {release.last}")
    if answer.checks:
        print_text("")
        print_text("evidence; the failure of any of these would have blocked it:")
        rows = [
            (check.where, check.rule, check.verdict, check.observed, check.needed) for check in answer.checks
        ]
        print_table(("where", "rule", "verdict", "observed", "needed"), rows)
    if answer.refused:
        print_text("")
        print_text("refused, newest first:")
        refusals = [
            (_when(refusal.at), refusal.version, refusal.how, refusal.actor, refusal.why)
            for refusal in answer.refused
        ]
        print_table(("when", "version", "how", "by", "why"), refusals)


def _show_timeline(timeline: VersionTimeline) -> None:
    print_text(f"{timeline.version} ({(timeline.digest or '-')[:12]})")
    for event in timeline.events:
        why = f": {event.why}" if event.why else ""
        print_text(f"  {_when(event.at)} {event.what} by {event.actor}{why}")


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
