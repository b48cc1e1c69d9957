"""What happened and when, for the table and the picture at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True)
class TimedEvent:
    at: datetime
    text: str
    mark: str = ""
    """A word or two for the picture; empty for none."""


@dataclass
class EventLog:
    """Says each event when it happens and keeps it."""

    say: Callable[[str], None]
    start: datetime = field(default_factory=lambda: datetime.now(UTC))
    events: list[TimedEvent] = field(default_factory=list)

    def note(self, text: str, mark: str = "", at: datetime | None = None) -> TimedEvent:
        event = TimedEvent(at or datetime.now(UTC), text, mark)
        self.events.append(event)
        self.say(f"[{(event.at - self.start).total_seconds():6.1f} s] {text}")
        return event
