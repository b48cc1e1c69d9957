"""Adapters that notify people."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.installation import LOOPBACK
from perennial.settings import Settings
from perennial.wiring.database import store

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.alerting.receiver import AlertServer
    from perennial.flows.governance.notify import NotifyPorts


ALERTS_PORT, ALERTS_PATH = 9301, "/alerts"
"""Where Alertmanager posts its messages; PERENNIAL_PORT_ALERTS names another port."""


def alert_server(settings: Settings, clock: Callable[[], datetime]) -> AlertServer:
    """Return the server of Alertmanager's messages, on loopback.

    Raises:
        PortTaken: another program listens on the port.
    """
    from perennial import catalog
    from perennial.adapters.alerting.receiver import listening
    from perennial.flows.monitoring.receive_alerts import AlertRecorder

    recorder = AlertRecorder(store(settings).ledger, lambda: catalog.names(settings))
    return listening(
        LOOPBACK, settings.port_alerts or ALERTS_PORT, ALERTS_PATH, settings.alerts_token,
        lambda body: recorder.record(body, clock()),
    )  # fmt: skip


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
