"""`perennial release rollback`: traffic first, the record afterwards."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from perennial import settings as environment
from perennial.errors import PerennialError, ToolError

if TYPE_CHECKING:
    from perennial.core.release.rollback import Rollback
    from perennial.core.release.traffic import Target
    from perennial.ports import RollbackJournal
    from perennial.settings import Settings


@click.command()
@click.argument("model")
@click.option("--to", default=None, help="Version of an earlier champion; the previous one by default.")
@click.option("--note", default="", help="Why; goes into the ledger.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def rollback(model: str, to: str | None, note: str, as_json: bool) -> None:
    """Emergency: give all traffic to an earlier champion at once. Needs neither Airflow nor MLflow.

    Model, features, schema and threshold come back together: what that version was gated with is checked
    first. A failed check changes nothing and exits with 65.
    """
    from perennial.flows.governance.identity import who_steers
    from perennial.flows.release.rollback import rollback as flow
    from perennial.wiring import database, traffic

    settings = environment.load()
    ports = traffic.rollback_ports(settings)
    if ports.router.route(model) is None:
        from perennial import catalog  # reads YAML, which a rollback of a live model need not import

        catalog.spec(model, settings)
    actor = who_steers(settings.token, "rollback", database.quick_reads(settings), _now())
    try:
        target, moved = flow(model, to, ports, actor, note, _now, time.sleep, lambda: uuid4().hex)
    except PerennialError:
        for words in _left_before(ports.journal, settings):
            click.echo(words, err=True)
        raise
    if not as_json:
        _say(model, target, moved)
    left = _record(settings)
    if as_json:
        click.echo(json.dumps(_plain(model, target, moved, left), indent=2))
    for words in left:
        click.echo(words, err=True)


def _say(model: str, target: Target, moved: Rollback | None) -> None:
    """Before the record is written: whoever waits wants to know where the traffic is."""
    for check in moved.checks if moved is not None else ():
        click.echo(f"ok     {check.name}: {check.observed}")
    went = "went back" if moved is not None else "goes already"
    cpu = time.process_time()
    click.echo(
        f"{model}: all traffic {went} to {target.version} ({target.digest[:12]}), {cpu:.2f} s of CPU so far"
    )


def _plain(model: str, target: Target, moved: Rollback | None, left: list[str]) -> dict[str, Any]:
    return {
        "model": model,
        "champion": target.model_dump(),
        "moved": moved is not None,
        "checks": [one.model_dump() for one in moved.checks] if moved is not None else [],
        "left": left,
    }


def _left_before(journal: RollbackJournal, settings: Settings) -> list[str]:
    """Of a rollback that was killed between its traffic and its record; importing a database only for one."""
    try:
        pending = journal.pending()
    except ToolError as error:
        return [error.message]
    return _record(settings) if pending else []


def _record(settings: Settings) -> list[str]:
    """The traffic has moved; whatever the record meets now is told, and caught up with later."""
    from perennial.flows.release.rollback_record import record_rollbacks
    from perennial.wiring import releasing

    try:
        return record_rollbacks(releasing.rollback_record_ports(settings), _now())
    except ToolError as error:
        return [f"the ledger and the registry follow by `perennial release guard`: {error.message}"]


@click.command()
@click.option("--once", is_flag=True, help="One pass instead of one after the other.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def guard(once: bool, every: float) -> None:
    """Tell the ledger when a backup stands in for a champion, and what rollbacks left to write down."""
    from perennial import catalog
    from perennial.flows.release.failover_watch import FailoverWatch
    from perennial.wiring import releasing

    settings = environment.load()
    watch = FailoverWatch(catalog.names(settings), releasing.failover_watch_ports(settings))
    said: list[str] = []
    while True:
        told = watch.look(_now())
        for words in told:
            if words not in said:  # what lasts is said once
                click.echo(f"{_now():%Y-%m-%d %H:%M:%S} {words}")
        if once:
            return
        said = told
        time.sleep(every)


def _now() -> datetime:
    return datetime.now(UTC)
