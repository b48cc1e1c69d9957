"""Hours and days of the prediction log: which have ended."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from perennial.serving.log import sealed
from perennial.serving.prediction_log import HOUR as FORMAT

HOUR = timedelta(hours=1)
GRACE = timedelta(minutes=10)
"""Time after an hour before its journals are sealed: a server may still be writing the answer to a slow request."""


def hour_end(path: Path) -> datetime | None:
    """Return the end of a journal's hour; None for a file with another name."""
    try:
        hour = datetime.strptime(path.name.split("-", 1)[0], FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None
    return hour + HOUR


def of_ended_days(folder: Path, paths: Iterable[Path], now: datetime) -> dict[date, list[Path]]:
    """Return the segments of each ended day that no journal belongs to any more.

    Args:
        folder: of the model.
    """
    unsealed = {(end - HOUR).date() for path in folder.glob("*.jsonl") if (end := hour_end(path))}
    days: dict[date, list[Path]] = {}
    for path in paths:
        day = sealed.day_of(path)
        if day is not None and day < (now - GRACE).date() and day not in unsealed:
            days.setdefault(day, []).append(path)
    return days
