"""Command `perennial certificates`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import click

from perennial import settings as environment
from perennial.commands.output import JSON, now, print_records, print_text
from perennial.errors import PerennialError, UsageError

if TYPE_CHECKING:
    from perennial.settings import Settings

EVERY_SECONDS = 60.0


@click.group()
def certificates() -> None:
    """Make and renew the certificates of TLS inside the plant (PERENNIAL_INTERNAL_TLS)."""


@certificates.command()
@click.option("--host", "hosts", multiple=True, metavar="NAME=HOST",
              help="Host name of a role, or of a server such as postgres; repeatable.")  # fmt: skip
@click.option("--database", "databases", multiple=True, metavar="ROLE", help="Database role; repeatable.")
@click.option("--new-authority", is_flag=True, help="Begin with a new authority now, whatever is due.")
@click.option("--settle-days", type=click.FloatRange(min=0), default=7.0, show_default=True,
              help="With --new-authority: days until it signs; 0 where the key before may be known.")  # fmt: skip
def renew(
    hosts: tuple[str, ...], databases: tuple[str, ...], new_authority: bool, settle_days: float
) -> None:
    """Make the certificates that are missing and renew those that are due. Hosts and roles are remembered."""
    from datetime import timedelta

    from perennial.wiring import certificates as wiring

    settings = environment.load()
    given: dict[str, tuple[str, ...]] = {}
    for text in hosts:
        name, _, host = text.partition("=")
        if not name.isidentifier() or not host:
            raise UsageError(f"--host {text!r} is no NAME=HOST", hint="--host mlflow=mlflow.internal")
        if not host.isascii():
            raise UsageError(f"--host {text!r} is not ASCII", hint="as the DNS has it: xn--...")
        given[name] = (*given.get(name, ()), host)
    for name in databases:
        if not name.isidentifier():
            raise UsageError(f"--database {name!r} is no name of a role", hint="--database perennial")
    known = wiring.authority(settings, _owner_of(settings))
    names = wiring.wanted(settings, known, given, databases)
    life = timedelta(days=settings.internal_tls_days)
    time = now()
    signs_from = time + timedelta(days=settle_days) if new_authority else None
    changes = known.renew(names, time, life, signs_from, wiring.SETTLE)
    for line in changes or ["nothing is due"]:
        print_text(line)


@certificates.command()
def watch() -> None:
    """Renew what is due, every minute, until SIGTERM. `perennial local up` runs it where the authority is."""
    import signal
    import sys
    import time

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = environment.load()
    while True:
        _renew(settings, print_text)
        time.sleep(EVERY_SECONDS)


def _renew(settings: Settings, say: Callable[[str], None]) -> None:
    """Renew what is due; what fails is said and tried again, because the certificates of now are still valid."""
    from datetime import timedelta

    from perennial.wiring import certificates as wiring

    try:
        known = wiring.authority(settings, _owner_of(settings))
        names = wiring.wanted(settings, known, {}, ())
        for line in known.renew(
            names, now(), timedelta(days=settings.internal_tls_days), settle=wiring.SETTLE
        ):
            say(line)
    except (PerennialError, OSError) as error:
        say(f"not renewed: {error}")


@certificates.command()
@JSON
def show(as_json: bool) -> None:
    """Show the certificates: serial number, names and end."""
    from perennial.wiring import certificates as wiring
    from perennial.wiring import keys

    settings = environment.load()
    known, rows = wiring.authority(settings), []
    assert settings.internal_tls is not None  # noqa: S101 as the authority says
    for name in known.folders():
        certificate, *_ = keys.certificates().read_certificates(settings.identity_of(name).chain)
        rows.append(
            {
                "certificate": name,
                "serial": f"{certificate.serial:x}",
                "names": ", ".join(sorted((*certificate.uris, *certificate.names))) or certificate.subject,
                "ends": _shown(certificate.ends),
            }
        )
    print_records(rows, as_json, "there are none: perennial certificates renew")


def _shown(time: datetime) -> str:
    return time.isoformat(timespec="minutes")


def _owner_of(settings: Settings) -> Callable[[str], tuple[int, int] | None]:
    """Return whose the files of a certificate are, where the processes have Unix accounts."""
    from perennial.local import unix_accounts

    accounts = unix_accounts.read(settings)
    return lambda name: None if accounts is None else unix_accounts.of_certificate(accounts, name)
