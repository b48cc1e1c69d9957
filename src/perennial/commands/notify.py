"""Command `notify`: send notices by mail, chat or webhook."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.alerting.receive import receive
from perennial.commands.output import JSON, now, print_json, print_table, print_text

if TYPE_CHECKING:
    from perennial.flows.governance.notify import DeliveryResult

TEST = "perennial notify test"


@click.group()
def notify() -> None:
    """Send notices about releases and alerts through the channels of PERENNIAL_NOTIFY."""


notify.add_command(receive)


@notify.command()
def send() -> None:
    """Make a pass: send every channel the notices that it has not got."""
    from perennial.errors import NotDelivered
    from perennial.flows.governance.notify import deliver
    from perennial.wiring import notifying

    results = deliver(notifying.notify_ports(environment.load()), now)
    for result in results:
        _show(result)
    failed = [result.error for result in results if result.error]
    if failed:
        raise NotDelivered("; ".join(failed), hint="a later pass tries again")


@notify.command()
@click.option("--every", default=2.0, show_default=True, help="Seconds between two passes.")
def watch(every: float) -> None:
    """Repeat passes until stopped. `perennial local up` runs this if PERENNIAL_NOTIFY is set."""
    from perennial.errors import ToolError
    from perennial.flows.governance.notify import deliver
    from perennial.wiring import notifying

    ports = notifying.notify_ports(environment.load())
    print_text(f"channels: {', '.join(ports.notifier.channels)}")
    while True:
        try:
            for result in deliver(ports, now):
                if result.sent or result.error:
                    _show(result)
        except ToolError as error:  # the database may come back
            print_text(f"{type(error).__name__}: {error.message}", err=True)
        time.sleep(every)


@notify.command()
@JSON
def status(as_json: bool) -> None:
    """Show the delivery state of each channel."""
    from perennial.wiring import database

    store = database.store(environment.load())
    end, deliveries = store.ledger.end()[0], store.deliveries.all()
    if as_json:
        print_json([delivery.model_dump(mode="json") | {"end": end} for delivery in deliveries])
        return
    rows = [
        (
            delivery.channel,
            f"{delivery.seq} of {end}",
            f"{delivery.sent_at:%Y-%m-%d %H:%M:%S}" if delivery.sent_at else "never",
            str(delivery.attempts),
            delivery.error or "-",
        )
        for delivery in deliveries
    ]
    print_table(("channel", "entries seen", "last sent", "failed attempts", "last error"), rows)


@notify.command()
def test() -> None:
    """Send a test message through every channel."""
    from perennial.core.governance.notices import Notice
    from perennial.errors import NotDelivered
    from perennial.wiring import notifying

    notifier, failed = notifying.notifier(environment.load()), []
    for channel in notifier.channels:
        try:
            notifier.send(channel, Notice(title=TEST, body="If you read this, the channel works."))
            print_text(f"{channel}: sent")
        except NotDelivered as error:
            failed.append(error.message)
    if failed:
        raise NotDelivered("; ".join(failed), hint="correct PERENNIAL_NOTIFY, or the named service")


def _show(result: DeliveryResult) -> None:
    print_text(f"{result.channel}: {result.sent} sent" + f"; {result.error}" * bool(result.error))
