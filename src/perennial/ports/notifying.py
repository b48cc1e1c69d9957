"""Ports of notifications."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.governance.notices import Delivery, Notice


class Notifier(Protocol):
    """Notification channels: mail, chat, webhooks (apprise)."""

    channels: tuple[str, ...]
    """Names of the channels; they hold no secret."""

    def send(self, channel: str, notice: Notice) -> None:
        """Send a notice.

        Raises:
            NotDelivered: the channel did not accept it; the message holds no secret.
        """


class Deliveries(Protocol):
    """Delivery state and lease of each channel (the SQL database)."""

    def take(self, channel: str, start: int, now: datetime, until: datetime) -> Delivery | None:
        """Lease the channel; None while another process has it. A new channel begins after entry `start`."""

    def put(self, delivery: Delivery, until: datetime) -> None:
        """Store the state and extend the lease."""

    def give_back(self, channel: str) -> None: ...

    def all(self) -> list[Delivery]: ...
