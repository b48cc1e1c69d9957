"""`perennial why` and `perennial history`: answers from the ledger, without MLflow or any server."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.tables import print_table

if TYPE_CHECKING:
    from perennial.core.governance.timeline import Way
    from perennial.core.governance.why import Why
    from perennial.ports import Ledger

JSON = click.option("--json", "as_json", is_flag=True, help="For machines.")


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
@click.option("--at", type=Moment(), help="As of then; now by default. Without a zone: UTC.")
@click.option(
    "--refused", type=click.IntRange(min=0), default=5, show_default=True, help="Newest refusals told."
)
@JSON
def why(model: str, at: datetime | None, refused: int, as_json: bool) -> None:
    """What serves MODEL, since when, who allowed it on what evidence, and what was refused."""
    from perennial.flows.governance.why import why as flow

    answer = flow(model, _ledger(model), at or datetime.now(UTC), refused)
    if as_json:
        click.echo(answer.model_dump_json(indent=2))
    else:
        _show(answer)


@click.command()
@click.argument("model")
@click.option("--version", help="Only this one.")
@click.option("--last", type=click.IntRange(min=1), help="Only the newest so many versions.")
@JSON
def history(model: str, version: str | None, last: int | None, as_json: bool) -> None:
    """The way of every version of MODEL through its releases."""
    from perennial.errors import UnknownVersion
    from perennial.flows.governance.why import ways

    found = [way for way in ways(model, _ledger(model)) if version in (None, way.version)]
    if version is not None and not found:
        raise UnknownVersion(f"the ledger knows no {version} of {model}", hint=f"perennial history {model}")
    found = found[-last:] if last else found
    if as_json:
        click.echo(json.dumps([way.model_dump(mode="json") for way in found], indent=2))
        return
    for way in found:
        _show_way(way)


def _ledger(model: str) -> Ledger:
    """The ledger, when it knows the model or there is a spec of it: a retired model keeps its history.

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


def _show(answer: Why) -> None:
    served = answer.served
    if served is None:
        click.echo(f"{answer.model}: nothing served at {_when(answer.at)}")
    else:
        click.echo(f"{answer.model} {served.version} ({served.digest[:12]}) served at {_when(answer.at)}")
        click.echo(f"  since     {_when(served.since)}, by {served.by} (entry {served.entry})")
        click.echo(f"  before    {answer.before or 'nobody'}; capsule {(answer.capsule or '-')[:12]}")
        risk = "; ".join((answer.risk or "unknown", *answer.risk_reasons))
        click.echo(f"  gate      {answer.gate_verdict or 'not in the ledger'}, risk {risk}")
    for one in answer.approvals:
        note = f", {one.note!r}" if one.note else ""
        when = f"{_when(one.at)} (entry {one.entry})"
        click.echo(f"  approved  {one.digest[:12]} by {one.actor} through {one.channel} {when}{note}")
    for way in answer.on_their_way:
        click.echo(f"  on its way: {way.version}, since {_when(way.since)}, last {way.last}")
    if answer.hurdles:
        click.echo("\nevidence; the failure of any of these would have blocked it:")
        rows = [(one.where, one.rule, one.verdict, one.observed, one.needed) for one in answer.hurdles]
        print_table(("where", "rule", "verdict", "observed", "needed"), rows)
    if answer.refused:
        click.echo("\nrefused, newest first:")
        told = [(_when(one.at), one.version, one.how, one.actor, one.why) for one in answer.refused]
        print_table(("when", "version", "how", "by", "why"), told)


def _show_way(way: Way) -> None:
    click.echo(f"{way.version} ({(way.digest or '-')[:12]})")
    for fact in way.facts:
        why = f": {fact.why}" if fact.why else ""
        click.echo(f"  {_when(fact.at)} {fact.what} by {fact.actor}{why}")


def _when(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
