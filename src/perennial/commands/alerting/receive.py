"""`perennial notify receive`."""

from __future__ import annotations

import signal
import sys

import click

from perennial import settings as environment
from perennial.commands.output import now, print_text


@click.command()
def receive() -> None:
    """Take Alertmanager's messages at PERENNIAL_PORT_ALERTS into the ledger, until stopped."""
    from perennial.wiring import notifying

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = environment.load()
    server = notifying.alert_server(settings, now)
    host, port = server.server_address[:2]
    print_text(f"alerts at http://{host}:{port}{notifying.ALERTS_PATH}")
    server.serve_forever()
