"""`perennial release` and, through `perennial.commands.ledger`, `perennial ledger`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.identity import actor, steering_actor
from perennial.commands.ledger import ledger
from perennial.commands.release_answers import replay, shadow
from perennial.commands.release_check import check
from perennial.commands.release_rehearsal import rehearse
from perennial.commands.rollback import guard, rollback
from perennial.commands.which_release import release_option, select_release
from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial.commands.release_view import ServingHealth

__all__ = ["ledger", "release"]


@click.group()
def release() -> None:
    """Gate, approve, watch and steer the releases of a model."""


release.add_command(rehearse)


@release.command()
@click.argument("model")
@click.option("--version", "which", default="candidate", show_default=True, help="Version or alias.")
@click.option("--again", is_flag=True, help="Start over a release of this version that has ended.")
def start(model: str, which: str, again: bool) -> None:
    """Gate a version and start its release. The last line printed is the release id."""
    from perennial import catalog
    from perennial.core.release.phase import Phase
    from perennial.errors import GateFailed
    from perennial.flows.release import gate
    from perennial.wiring import releasing

    settings = environment.load()
    spec = catalog.spec(model, settings)
    ports = releasing.release_ports(settings)
    status = gate.start(spec, which, ports, actor(settings), _now, time.sleep, again=again)
    if status.gate is not None:
        for one in status.gate.rules:
            click.echo(f"{one.verdict.value:6} {one.rule}: {one.observed} (needed: {one.needed})")
        click.echo("; ".join((f"risk {status.gate.risk.value}", *status.gate.risk_reasons)))
        for warning in status.gate.warnings:
            click.echo(f"warning: {warning}")
    click.echo(f"{status.candidate}: {status.phase.value}: {status.note}")
    if status.phase is Phase.REJECTED and status.gate is not None and not status.gate.passed:
        raise GateFailed(
            f"{status.candidate} did not pass its gate: {'; '.join(status.gate.failures)}",
            hint=f"train a better one; after a change outside: perennial release start {model} --again",
        )
    click.echo(status.release_id)


@release.command()
@click.argument("model")
@release_option
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(model: str, release_id: str | None, as_json: bool) -> None:
    """Show where a release stands, its evidence, and why."""
    from perennial.commands import release_view as view
    from perennial.wiring import releasing, traffic

    settings = environment.load()
    found, route = select_release(model, release_id, settings), traffic.router(settings).route(model)
    spec_digest, health = releasing.spec_digest(model, settings), serving_health(model, settings)
    if as_json:
        click.echo(json.dumps(view.summary(found, route, _now(), spec_digest, health), indent=2))
    else:
        view.show(found, route, _now(), spec_digest, health)


def serving_health(model: str, settings: Settings) -> ServingHealth:
    """What router, ledger and model servers say of the model's traffic; a router that is down says nothing."""
    from perennial.commands.release_view import ServingHealth
    from perennial.core.events import Event
    from perennial.core.release.traffic import BACKUP
    from perennial.errors import RouterUnavailable
    from perennial.wiring import database, traffic

    try:
        router = traffic.router(settings)
        answered, foreign = router.counters(model)[BACKUP].requests, router.differences()
    except RouterUnavailable:
        answered, foreign = None, ()
    rows = database.store(settings).ledger.rows(
        model, kinds=(Event.FAILOVER_BEGAN, Event.FAILOVER_ENDED), newest=1
    )
    began = rows[-1].entry.at.isoformat() if rows and rows[-1].entry.kind == Event.FAILOVER_BEGAN else None
    said = [
        f"model server {port}: {words}"
        for port, found in traffic.pool(settings).problems().items()
        for words in found
    ]
    said += [f"Envoy differs from the confirmed routes: {text}" for text in foreign]
    return ServingHealth(answered, began, tuple(said))


@release.command()
@click.argument("model")
def history(model: str) -> None:
    """List all releases of a model, newest first."""
    from perennial import catalog
    from perennial.commands import release_view as view
    from perennial.wiring import database

    settings = environment.load()
    catalog.spec(model, settings)
    for one in database.store(settings).releases.latest(model):
        click.echo(view.history_line(one))


@release.command()
@click.argument("model")
@release_option
@click.option("--until-final", is_flag=True, help="Repeat until the release has ended.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def reconcile(model: str, release_id: str | None, until_final: bool, every: float) -> None:
    """Bring a release forward by hand: observe, decide, act."""
    from perennial.errors import ToolError
    from perennial.flows.release import reconcile as flow
    from perennial.wiring import releasing

    settings = environment.load()
    found, said = select_release(model, release_id, settings), ""
    while True:
        try:
            found = flow.reconcile(found.release_id, releasing.release_ports(settings), _now())
            told = f"{found.phase.value}: {found.note}"
        except ToolError as error:
            if not until_final:
                raise
            told = f"{type(error).__name__}: {error.message}"
        if told != said:
            click.echo(f"{_now():%H:%M:%S} {told}")
            said = told
        if found.phase.is_final() or not until_final:
            return
        time.sleep(every)


def _steer(kind: str, text: str) -> click.Command:
    """A command that records one intent; whoever drives the release obeys it at the next pass."""

    @click.command(name=kind, help=text)
    @click.argument("model")
    @release_option
    @click.option("--note", default="", help="Why; goes into the ledger.")
    @click.option("--digest", default="", help="Refuse unless the release is of this digest (8 digits do).")
    def command(model: str, release_id: str | None, note: str, digest: str) -> None:
        from perennial.commands.steering import intent_for
        from perennial.wiring import database

        settings = environment.load()
        who = steering_actor(settings, kind)
        found = select_release(model, release_id, settings)
        intent = intent_for(found, kind, who, note, digest, _now())
        database.store(settings).intents.put(intent)
        told = f"release {intent.release_id} of {found.candidate.version} ({intent.digest[:12]})"
        click.echo(f"{kind} of {told} recorded for the next pass")

    return command


release.add_command(check)
release.add_command(shadow)
release.add_command(replay)

for _kind, _text in (
    ("approve", "Allow the gated digest to get traffic."),
    ("reject", "Refuse the candidate."),
    ("pause", "Hold the release where it is; a bad candidate is still aborted."),
    ("resume", "Go on after a pause; the step's time begins anew."),
    ("promote", "Skip the remaining steps."),
    ("abort", "Take the candidate back."),
):
    release.add_command(_steer(_kind, _text))


release.add_command(rollback)
release.add_command(guard)


def _now() -> datetime:
    return datetime.now(UTC)
