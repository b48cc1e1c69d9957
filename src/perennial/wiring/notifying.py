"""Adapters that notify people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.settings import Settings
from perennial.wiring.database import store

if TYPE_CHECKING:
    from perennial import ports
    from perennial.flows.governance.notify import NotifyPorts


def notifier(settings: Settings) -> ports.Notifier:
    """Return the notifier over the channels of PERENNIAL_NOTIFY.

    Raises:
        SettingsError: no channel is set, or apprise does not understand an address.
    """
    from perennial.adapters.apprise_notifier import AppriseNotifier
    from perennial.errors import SettingsError

    addresses = settings.notify_addresses
    if not addresses:
        raise SettingsError(
            "PERENNIAL_NOTIFY is not set: there is no channel", hint="see docs/guide/governance.md"
        )
    return AppriseNotifier(addresses)


def notify_ports(settings: Settings) -> NotifyPorts:
    from perennial.core.governance.notices import Links
    from perennial.flows.governance.notify import NotifyPorts

    database = store(settings)
    return NotifyPorts(
        notifier=notifier(settings),
        deliveries=database.deliveries,
        ledger=database.ledger,
        releases=database.releases,
        links=Links(mlflow=settings.mlflow_url, airflow=settings.airflow_url),
    )
