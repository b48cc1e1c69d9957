"""`perennial notify`: tell people by mail, chat or webhook what happens to releases."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import click

from perennial import settings as environment
from perennial.commands.tables import print_table

TEST = "perennial notify test"


@click.group()
def notify() -> None:
    """Tell people what happens, through the channels of PERENNIAL_NOTIFY."""


@notify.command()
def send() -> None:
    """One pass: tell every channel what it has not been told."""
    from perennial.errors import NotDelivered
    from perennial.flows.governance.notify import deliver
    from perennial.wiring import notifying

    found = deliver(notifying.notify_ports(environment.load()), _now)
    for one in found:
        click.echo(f"{one.channel}: {one.told} told" + f"; {one.error}" * bool(one.error))
    failed = [one.error for one in found if one.error]
    if failed:
        raise NotDelivered("; ".join(failed), hint="it is tried again by the next pass after a while")


@notify.command()
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def watch(every: float) -> None:
    """Pass after pass, until it is stopped; `perennial local up` runs this where PERENNIAL_NOTIFY is set."""
    from perennial.errors import ToolError
    from perennial.flows.governance.notify import deliver
    from perennial.wiring import notifying

    ports = notifying.notify_ports(environment.load())
    click.echo(f"channels: {', '.join(ports.notifier.channels)}")
    while True:
        try:
            for one in deliver(ports, _now):
                if one.told or one.error:
                    click.echo(f"{one.channel}: {one.told} told" + f"; {one.error}" * bool(one.error))
        except ToolError as error:  # the database is away: it may come back
            click.echo(f"{type(error).__name__}: {error.message}", err=True)
        time.sleep(every)


@notify.command()
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def status(as_json: bool) -> None:
    """How far each channel has been told, and what keeps it."""
    from perennial.wiring import database

    store = database.store(environment.load())
    end, found = store.ledger.end()[0], store.deliveries.all()
    if as_json:
        click.echo(json.dumps([one.model_dump(mode="json") | {"end": end} for one in found], indent=2))
        return
    rows = [
        (
            one.channel,
            f"{one.seq} of {end}",
            f"{one.told_at:%Y-%m-%d %H:%M:%S}" if one.told_at else "never",
            str(one.attempts),
            one.error or "-",
        )
        for one in found
    ]
    print_table(("channel", "entries seen", "last told", "failed attempts", "last error"), rows)


@notify.command()
def test() -> None:
    """Send a test message through every channel, now."""
    from perennial.core.governance.notices import Notice
    from perennial.errors import NotDelivered
    from perennial.wiring import notifying

    notifier, failed = notifying.notifier(environment.load()), []
    for channel in notifier.channels:
        try:
            notifier.send(channel, Notice(title=TEST, body="If you read this, the channel works."))
            click.echo(f"{channel}: sent")
        except NotDelivered as error:
            failed.append(error.message)
    if failed:
        raise NotDelivered("; ".join(failed), hint="correct PERENNIAL_NOTIFY, or what it names")


def _now() -> datetime:
    return datetime.now(UTC)
