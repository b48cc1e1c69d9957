"""`perennial release rollback` moves traffic first and writes the record afterwards; `perennial release guard`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_json, print_text
from perennial.errors import PerennialError, ToolError, UsageError

if TYPE_CHECKING:
    from perennial.core.release.rollback import Rollback
    from perennial.core.release.traffic import Target
    from perennial.ports import RollbackJournal
    from perennial.settings import Settings


@click.command()
@click.argument("model")
@click.option("--to", default=None, help="Version of an earlier champion; the previous by default.")
@click.option("--note", default="", help="Reason, for the ledger.")
@click.option("--force", is_flag=True, help="Overrule failed checks of features and online store.")
@click.option("--reason", default="", help="Why the checks are overruled, for the ledger.")
@JSON
def rollback(model: str, to: str | None, note: str, force: bool, reason: str, as_json: bool) -> None:
    """Emergency: give all traffic to an earlier champion at once. Needs neither Airflow nor MLflow.

    Model, features, schema and threshold come back together: before the move they are compared with those
    of the version's gate. A failed check changes nothing and exits with 65.
    """
    from perennial.flows.governance.identity import who_steers
    from perennial.flows.release.rollback import rollback as flow
    from perennial.wiring import database, traffic
    from perennial.wiring.people import known_accounts

    if force != bool(reason.strip()):
        raise UsageError(
            "--force and --reason go together", hint='--force --reason "what the checks get wrong"'
        )
    settings = environment.load()
    ports = traffic.rollback_ports(settings)
    if ports.router.route(model) is None:
        from perennial import catalog  # slow to import, and no model with traffic needs it

        catalog.spec(model, settings)
    reads = database.quick_reads(settings)
    known = known_accounts(settings, reads.rows)
    actor = who_steers(settings.token, "rollback", known, reads, now()).name
    try:
        target, moved = flow(
            model, to, ports, actor, note, now, time.sleep, lambda: uuid4().hex, reason.strip()
        )
    except PerennialError:
        for line in _finish_earlier(ports.journal, settings):
            print_text(line, err=True)
        raise
    if not as_json:
        _show(model, target, moved)  # before the record is written: people wait for the traffic
    left = _record(settings)
    if as_json:
        print_json(_plain(model, target, moved, left))
    for line in left:
        print_text(line, err=True)


def _show(model: str, target: Target, moved: Rollback | None) -> None:
    for check in moved.checks if moved is not None else ():
        print_text(f"{'ok    ' if check.ok else 'FORCED'} {check.name}: {check.observed}")
    went = "went back" if moved is not None else "goes already"
    cpu = time.process_time()
    print_text(
        f"{model}: all traffic {went} to {target.version} ({target.digest[:12]}), {cpu:.2f} s of CPU so far"
    )


def _plain(model: str, target: Target, moved: Rollback | None, left: list[str]) -> dict[str, Any]:
    return {
        "model": model,
        "champion": target.model_dump(),
        "moved": moved is not None,
        "checks": [check.model_dump() for check in moved.checks] if moved is not None else [],
        "left": left,
    }


def _finish_earlier(journal: RollbackJournal, settings: Settings) -> list[str]:
    """Write down a rollback that was killed before its record; the database is imported only where there is one."""
    try:
        pending = journal.pending()
    except ToolError as error:
        return [error.message]
    return _record(settings) if pending else []


def _record(settings: Settings) -> list[str]:
    """Write rollbacks into the record; return what is left, since the traffic has moved already."""
    from perennial.flows.release.rollback_record import record_rollbacks
    from perennial.wiring import releasing

    try:
        return record_rollbacks(releasing.rollback_record_ports(settings), now())
    except ToolError as error:
        return [f"the ledger and the registry follow by `perennial release guard`: {error.message}"]


@click.command()
@click.option("--once", is_flag=True, help="Make a single pass, which counts from the last one.")
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def guard(once: bool, every: float) -> None:
    """Watch the traffic: record failovers, write down what rollbacks left, walk releases that nobody walks."""
    from perennial import catalog
    from perennial.flows.release.failover_watch import FailoverWatch
    from perennial.wiring import releasing

    settings = environment.load()
    watch = FailoverWatch(catalog.names(settings), releasing.failover_watch_ports(settings), once)
    last_lines: list[str] = []
    while True:
        lines = watch.look(now())
        for line in lines:
            if line not in last_lines:  # a lasting problem is printed once
                print_text(f"{now():%Y-%m-%d %H:%M:%S} {line}")
        if once:
            return
        last_lines = lines
        time.sleep(every)
