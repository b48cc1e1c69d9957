"""Requests of a day against the same hours of the days before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from perennial.core.monitoring.volume import volumes

DAY = datetime(2025, 6, 12, tzinfo=UTC)
HOUR, FACTOR = timedelta(hours=1), 2


def requests(days: int, seed: int = 1, lost: tuple[int, int] = (0, 0), rate: float = 60) -> np.ndarray:
    """Return times of requests: busy days, calm nights and weekends, levels that linger; none in these last hours."""
    rng = np.random.default_rng(seed)
    at, level = [], 0.0
    for number in range(days, -1, -1):
        day = DAY - number * timedelta(days=1)
        level = 0.6 * level + rng.normal() * 0.15
        busy = rate * np.exp(level) * (0.3 if day.weekday() > 4 else 1.0)
        for hour in range(24):
            count = rng.poisson(busy * (1.0 if 8 <= hour < 20 else 0.2))
            if number or not lost[0] <= hour < lost[1]:
                at.append((day + hour * HOUR).timestamp() + 3600 * rng.random(count))
    return np.concatenate(at)


def unusual(at: np.ndarray, until: datetime = DAY + 24 * HOUR) -> list[str]:
    return [str(volume) for volume in volumes(at, DAY, until) if volume.is_unusual(FACTOR)]


def test_lost_hours_are_seen_in_their_part_of_the_day():
    (text,) = unusual(requests(28, lost=(6, 12)))
    assert text.startswith("0 requests an hour 06 to 12 UTC")
    assert "of the 28 days before" in text


def test_nights_weekends_and_busy_weeks_are_usual():
    assert sum(bool(unusual(requests(28, seed))) for seed in range(60)) <= 2
    assert sum(bool(unusual(requests(9, seed))) for seed in range(60)) <= 2


def test_a_flood_is_seen_too():
    more = np.concatenate([requests(28), requests(28, 2, rate=240)])
    assert unusual(np.concatenate([requests(28), more[more >= DAY.timestamp()]]))


def test_parts_that_go_on_and_models_of_a_week_are_not_judged():
    assert len(volumes(requests(28), DAY, DAY + 13 * HOUR)) == 2
    assert volumes(requests(5), DAY, DAY + 24 * HOUR) == ()
    assert volumes(np.empty(0), DAY, DAY + 24 * HOUR) == ()
