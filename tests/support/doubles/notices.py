"""Fakes of Notifier and Deliveries."""

from __future__ import annotations

from datetime import UTC, datetime

from perennial.core.governance.notices import Delivery, Notice
from perennial.errors import NotDelivered

NEVER = datetime.min.replace(tzinfo=UTC)


class MemoryNotifier:
    """Keeps what was sent; channels in `down` take nothing."""

    def __init__(self, *channels: str) -> None:
        self.channels = channels
        self.down: set[str] = set()
        self.sent: dict[str, list[Notice]] = {name: [] for name in channels}

    def send(self, channel: str, notice: Notice) -> None:
        if channel in self.down:
            raise NotDelivered(f"{channel}: it is down", hint="start it")
        self.sent[channel].append(notice)


class MemoryDeliveries:
    """State as JSON by channel, and until when it is leased."""

    def __init__(self) -> None:
        self._bodies: dict[str, str] = {}
        self._leases: dict[str, datetime] = {}

    def take(self, channel: str, start: int, now: datetime, until: datetime) -> Delivery | None:
        self._bodies.setdefault(channel, Delivery(channel=channel, seq=start).model_dump_json())
        if self._leases.get(channel, NEVER) > now:
            return None
        self._leases[channel] = until
        return Delivery.model_validate_json(self._bodies[channel])

    def put(self, delivery: Delivery, until: datetime) -> None:
        self._bodies[delivery.channel] = delivery.model_dump_json()
        self._leases[delivery.channel] = until

    def give_back(self, channel: str) -> None:
        self._leases[channel] = NEVER

    def all(self) -> list[Delivery]:
        return [Delivery.model_validate_json(body) for _, body in sorted(self._bodies.items())]
