"""Requests of a day against the same hours of the days before, within an interval that knows their dependence.

A day is cut into parts. The logarithm of a part's requests is predicted from the same part of earlier days: its mean,
of the same weekday where there are three weeks of them. Days resemble the day before, so they tell less than as many
independent ones: degrees of freedom and the error of the mean are those of the effective number of days of an
autoregressive series (Zwiers and von Storch, "Taking serial correlation into account in tests of the mean", Journal of
Climate 1995). The spread is at least that of independent requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from pydantic import AwareDatetime, Field
from scipy.special import stdtrit

from perennial.core.frozen import Frozen

PARTS = 4
PART = timedelta(days=1) / PARTS
MOST_DAYS = 28
FEWEST_DAYS = 7
WEEKS = 3
"""Weeks from which weekdays are told apart."""
ERRS = 0.01
"""Share of days like the days before in which any part is called unusual."""
MOST_RELATED = 0.9
BEGUN = 3_600
"""Seconds of its begin that the first day may lack."""


class Volume(Frozen):
    """Requests of a part of a day, and those expected."""

    begin: AwareDatetime
    requests: int = Field(ge=0)
    usual: float = Field(ge=0, description="median of what the days before let expect")
    low: float = Field(ge=0, description="of the interval")
    high: float = Field(ge=0)
    days: int = Field(description="earlier days that were used")

    def is_unusual(self, factor: float) -> bool:
        """Return True if the requests are outside of the interval, and by this factor fewer or more than usual."""
        few = self.requests < self.low and self.requests * factor <= self.usual
        return few or (self.requests > self.high and self.requests >= self.usual * factor)

    def __str__(self) -> str:
        an_hour = [value / (PART / timedelta(hours=1)) for value in (self.requests, self.low, self.high)]
        return (
            f"{an_hour[0]:.3g} requests an hour {self.begin:%H} to {self.begin + PART:%H} UTC, "
            f"{an_hour[1]:.3g} to {an_hour[2]:.3g} in these hours of the {self.days} days before"
        )


def volumes(at: np.ndarray, day: datetime, until: datetime) -> tuple[Volume, ...]:
    """Return each part of a day that has ended; none with fewer than a week of days before.

    Args:
        at: times of requests, seconds since 1970, float [n]; of the day and of those before it.
        day: its begin.
        until: end of what is known.
    """
    begin, length = day.timestamp(), PART.total_seconds()
    days = min(MOST_DAYS, math.floor((begin - at.min() + BEGUN) / 86_400)) if len(at) else 0
    if days < FEWEST_DAYS:
        return ()
    first = begin - days * 86_400
    counts = np.bincount(
        ((at[(at >= first) & (at < begin + 86_400)] - first) // length).astype(int),
        minlength=(days + 1) * PARTS,
    ).reshape(days + 1, PARTS)
    ended = [part for part in range(PARTS) if day + (part + 1) * PART <= until]
    return tuple(_judged(day + part * PART, counts[:-1, part], int(counts[-1, part])) for part in ended)


def _judged(begin: datetime, past: Sequence[int] | np.ndarray, requests: int) -> Volume:
    days = len(past)
    logs = np.log1p(np.asarray(past, dtype=float))
    weekdays = 7 if days >= WEEKS * 7 else 1
    place = (np.arange(days) - days) % weekdays  # that of the judged day is 0
    means = np.array([logs[place == number].mean() for number in range(weekdays)])
    off = logs - means[place]
    freedom, alike = days - weekdays, int((place == 0).sum())
    spread = float((off**2).sum())
    related = float((off[1:] * off[:-1]).sum()) / spread if spread > 0 else 0.0
    # The mean that was taken away makes it too small by about this (Marriott and Pope 1954).
    related = min(max(related + (1 + 3 * related) / days, 0.0), MOST_RELATED)
    independent = (1 - related) / (1 + related)
    usual = float(means[0])
    variance = max(spread / freedom, math.exp(-usual))
    error = math.sqrt(variance * (1 + 1 / max(1.0, alike * independent)))
    half = float(stdtrit(max(2.0, freedom * independent), 1 - ERRS / (2 * PARTS))) * error
    low, middle, high = (max(0.0, math.expm1(value)) for value in (usual - half, usual, usual + half))
    return Volume(begin=begin, requests=requests, usual=middle, low=low, high=high, days=days)
