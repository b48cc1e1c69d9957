"""How people are told, and what is kept of it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.governance.notices import Delivery, Notice


class Notifier(Protocol):
    """Mail, chat, webhooks (apprise)."""

    channels: tuple[str, ...]
    """Their names, which hold no secret."""

    def send(self, channel: str, notice: Notice) -> None:
        """Raises NotDelivered, whose words hold no secret, when the channel did not take it."""


class Deliveries(Protocol):
    """How far each channel has been told (our SQL database)."""

    def take(self, channel: str, start: int, now: datetime, until: datetime) -> Delivery | None:
        """Lease the channel; None while somebody else has it. One that is new begins after entry `start`."""

    def put(self, delivery: Delivery, until: datetime) -> None:
        """Store, and hold the lease so much longer."""

    def give_back(self, channel: str) -> None: ...

    def all(self) -> list[Delivery]: ...
