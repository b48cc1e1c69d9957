"""`perennial release` and, through `perennial.commands.ledger`, `perennial ledger`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.identity import actor, steering_actor
from perennial.commands.ledger import ledger
from perennial.commands.output import JSON, now, print_json, print_text
from perennial.commands.plant.deploy import deploy, walk
from perennial.commands.release_answers import replay, shadow
from perennial.commands.release_preview import check, rehearse
from perennial.commands.rollback import guard, rollback
from perennial.commands.which_release import load_release, release_option

if TYPE_CHECKING:
    from perennial.core.release.status import ReleaseStatus
    from perennial.ports import Ledger, ReleaseStore

__all__ = ["ledger", "release"]


@click.group()
def release() -> None:
    """Gate, approve, watch and steer the releases of a model."""


@release.command()
@click.argument("model")
@click.option("--version", "which", default="candidate", show_default=True, help="Version or alias.")
@click.option("--again", is_flag=True, help="Start over a release of this version that has ended.")
@click.option("--dag-run", help="Run of the release DAG whose tasks are about this release.")
def start(model: str, which: str, again: bool, dag_run: str | None) -> None:
    """Gate a version and start its release. The last line printed is the release id."""
    from perennial import catalog
    from perennial.core.release.phase import Phase
    from perennial.errors import GateFailed
    from perennial.flows.release import gate
    from perennial.wiring import releasing

    settings = environment.load()
    spec = catalog.spec(model, settings)
    ports = releasing.release_ports(settings)
    status = gate.start(spec, which, ports, actor(settings), now, time.sleep, again=again)
    if dag_run is not None:
        from perennial.orchestration.trigger_provenance import record_release

        record_release(status, dag_run, ports.ledger, now())
    if status.gate is not None:
        for rule in status.gate.rules:
            print_text(f"{rule.verdict.value:6} {rule.rule}: {rule.observed} (needed: {rule.needed})")
        print_text("; ".join((f"risk {status.gate.risk.value}", *status.gate.risk_reasons)))
        for warning in status.gate.warnings:
            print_text(f"warning: {warning}")
    print_text(f"{status.candidate}: {status.phase.value}: {status.note}")
    if status.phase is Phase.REJECTED and status.gate is not None and not status.gate.passed:
        raise GateFailed(
            f"{status.candidate} did not pass its gate: {'; '.join(status.gate.failures)}",
            hint=f"train a better one; after a change outside: perennial release start {model} --again",
        )
    if dag_run is None and not status.phase.is_final():
        print_text(
            f"next: perennial release reconcile {model} --until-final walks it, unless a run of the DAG "
            f"release_{model} in Airflow does"
        )
    print_text(status.release_id)


@release.command()
@click.argument("model")
@release_option
@JSON
def status(model: str, release_id: str | None, as_json: bool) -> None:
    """Show the phase of a release, its evidence, and the reason.

    "unattended": nobody walks it, or it was taken over by the failover watch; Airflow may walk it again since.
    """
    from perennial.commands import release_view as view
    from perennial.flows.release.recorded_route import off_record
    from perennial.flows.release.serving_health import serving_health
    from perennial.wiring import database, releasing, traffic

    settings = environment.load()
    current, router = load_release(model, release_id, settings), traffic.router(settings)
    route, spec_digest = router.route(model), releasing.spec_digest(model, settings)
    problems: dict[str, Sequence[str]] = {
        f"model server {port}": lines for port, lines in traffic.pool(settings).problems().items()
    }
    problems["Envoy"] = off_record([model], releasing.recorded_route_ports(settings))
    store = database.store(settings)
    health = serving_health(model, router, store.ledger, problems)
    walked = view.LastPass(
        store.releases.last_pass(current.release_id), _why_unattended(current, store.releases, store.ledger)
    )
    if as_json:
        print_json(view.summary(current, route, now(), spec_digest, health, walked))
    else:
        view.show(current, route, now(), spec_digest, health, walked)


@release.command()
@click.argument("model")
def history(model: str) -> None:
    """List all releases of a model, newest first."""
    from perennial import catalog
    from perennial.commands import release_view as view
    from perennial.wiring import database

    settings = environment.load()
    catalog.spec(model, settings)
    for listed in database.store(settings).releases.latest(model):
        print_text(view.history_line(listed))


@release.command()
@click.argument("model")
@release_option
@click.option("--until-final", is_flag=True, help="Repeat until the release has ended.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def reconcile(model: str, release_id: str | None, until_final: bool, every: float) -> None:
    """Bring a release forward by hand: observe, decide, act."""
    settings = environment.load()
    walk(load_release(model, release_id, settings), settings, every if until_final else None)


def _steering_command(kind: str, text: str) -> click.Command:
    """Return the command that records an intent; the next pass over the release applies it."""

    @click.command(name=kind, help=text)
    @click.argument("model")
    @release_option
    @click.option("--note", default="", help="Reason, for the ledger.")
    @click.option(
        "--digest", default="", help="Refuse unless the release has this digest (8 digits suffice)."
    )
    def command(model: str, release_id: str | None, note: str, digest: str) -> None:
        from perennial.flows.release.attendance import UNATTENDED
        from perennial.flows.release.steering import intent_for
        from perennial.wiring import database

        settings = environment.load()
        account = steering_actor(settings, kind)
        current = load_release(model, release_id, settings)
        intent = intent_for(current, kind, account.name, note, digest, now(), account.issued_by)
        store = database.store(settings)
        store.intents.put(intent)
        print_text(
            f"{kind} of release {intent.release_id} of {current.candidate.version} ({intent.digest[:12]}) "
            "recorded for the next pass"
        )
        if why := _why_unattended(current, store.releases, store.ledger):
            minutes = round(UNATTENDED.total_seconds() / 60)
            print_text(
                f"{why}; where `perennial release guard` runs, it walks a release that nobody walked for "
                f"{minutes} minutes",
                err=True,
            )

    return command


def _why_unattended(status: ReleaseStatus, releases: ReleaseStore, ledger: Ledger) -> str:
    """Return why a release counts as unattended; empty where it does not."""
    from perennial.commands.release_view import NOBODY_WALKS, TAKEN_OVER
    from perennial.flows.release.attendance import is_unattended, was_unattended

    if is_unattended(status, releases, now()):
        return NOBODY_WALKS.format(model=status.model)
    return TAKEN_OVER if not status.phase.is_final() and was_unattended(status, ledger) else ""


for _kind, _text in (
    ("approve", "Approve the gated digest for traffic."),
    ("reject", "Reject the candidate."),
    ("pause", "Hold the release in its step; a bad candidate is still aborted."),
    ("resume", "Go on after a pause; the step's time begins anew."),
    ("promote", "Skip the remaining steps."),
    ("abort", "Take back the candidate's traffic and end the release."),
):
    release.add_command(_steering_command(_kind, _text))
for _command in (check, deploy, guard, rehearse, replay, rollback, shadow):
    release.add_command(_command)
