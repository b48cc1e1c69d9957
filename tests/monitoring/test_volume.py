"""Requests of a day against the same hours of the days before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from perennial.core.monitoring.volume import MOST_DAYS, PARTS, DayRequests, Volume, requests_of, volumes

DAY = datetime(2025, 6, 12, tzinfo=UTC)
HOUR, FACTOR = timedelta(hours=1), 2
NONE = DayRequests(parts=(0,) * PARTS)


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


def judged(at: np.ndarray) -> tuple[Volume, ...]:
    days = np.floor((at - DAY.timestamp()) / 86_400)
    seconds = at - DAY.timestamp() - days * 86_400
    *earlier, day = (requests_of(seconds[days == number]) for number in range(-MOST_DAYS, 1))
    return volumes(earlier, day, DAY)


def unusual(at: np.ndarray) -> list[str]:
    return [str(volume) for volume in judged(at) if volume.is_unusual(FACTOR)]


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


def uneven(seed: int) -> list[DayRequests]:
    """Return ten days whose levels linger and differ much, all above a tenth of the usual."""
    rng = np.random.default_rng(seed)
    level, days = 0.0, []
    for noise in rng.normal(0, 0.5, size=10):
        level = 0.6 * level + noise
        days.append(DayRequests(parts=(int(300 * np.exp(np.clip(level, -1, 1))),) * PARTS, first=0.0))
    return days


def test_a_total_outage_is_seen_however_much_the_days_differ():
    parts = [volumes(uneven(seed), NONE, DAY)[0] for seed in range(200)]
    assert all(volume.is_unusual(FACTOR) for volume in parts)
    assert "0 requests an hour 00 to 06 UTC" in str(parts[0])
    assert "never below" in str(parts[0])


def test_no_request_is_usual_where_few_came_on_some_day():
    for few in (0, 3):
        earlier = [
            DayRequests(parts=(few if number == 3 else 100,) * PARTS, first=0.0) for number in range(9)
        ]
        assert not volumes(earlier, NONE, DAY)[0].stopped
    rare = [DayRequests(parts=(4,) * PARTS, first=0.0)] * 9
    assert not volumes(rare, NONE, DAY)[0].stopped, "of four, none come by chance"


def test_the_history_begins_with_the_first_day_that_had_requests_from_its_begin():
    assert judged(requests(5)) == ()
    assert judged(np.empty(0)) == ()
    late = DayRequests(parts=(0, 0, 5, 9), first=50_000.0)
    whole = [DayRequests(parts=(9,) * PARTS, first=9.0)] * 7
    assert {volume.days for volume in volumes([NONE, NONE, late, *whole], NONE, DAY)} == {7}
    assert volumes([NONE, late, *whole[:6]], NONE, DAY) == ()
