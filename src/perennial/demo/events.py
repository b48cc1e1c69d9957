"""Events of the demo with their times, for the final table and picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True)
class TimedEvent:
    """An event of the demo."""

    at: datetime
    text: str
    mark: str = ""
    """Short label for the picture; empty: not in the picture."""


@dataclass
class EventLog:
    """Prints each event and keeps it."""

    say: Callable[[str], None]
    start: datetime = field(default_factory=lambda: datetime.now(UTC))
    events: list[TimedEvent] = field(default_factory=list)

    def note(self, text: str, mark: str = "", at: datetime | None = None) -> TimedEvent:
        event = TimedEvent(at or datetime.now(UTC), text, mark)
        self.events.append(event)
        self.say(f"[{(event.at - self.start).total_seconds():6.1f} s] {text}")
        return event
