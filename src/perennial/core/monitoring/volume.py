"""Requests of a day against the same hours of the days before, within an interval that knows their dependence.

A day is cut into parts. The logarithm of a part's requests is predicted from the same part of earlier days: its mean,
of the same weekday where there are three weeks of them. Days resemble the day before, so they tell less than as many
independent ones: the error of the mean is that of the effective number of days of an autoregressive series (Zwiers and
von Storch, "Taking serial correlation into account in tests of the mean", Journal of Climate 1995), and the degrees of
freedom are those of its variance, which forgets sooner (Bayley and Hammersley, "The effective number of independent
observations in an autocorrelated time series", 1946). The spread is at least that of independent requests.
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
BUSY, FEW = 10, 10
"""None is unusual where this many requests of a part are usual, and no earlier day was below a tenth of that."""
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
    fewest: int = Field(0, ge=0, description="requests in these hours of any of them")

    @property
    def stopped(self) -> bool:
        """Return True without any request in hours that had never few: proof enough where the interval reaches 0."""
        return not self.requests and self.usual >= BUSY and self.fewest * FEW >= self.usual

    def is_unusual(self, factor: float) -> bool:
        """Return True if the requests are outside of the interval, and by this factor fewer or more than usual.

        No request at all is unusual in hours that had never few, too.
        """
        if self.stopped:
            return True
        few = self.requests < self.low and self.requests * factor <= self.usual
        return few or (self.requests > self.high and self.requests >= self.usual * factor)

    def __str__(self) -> str:
        an_hour = [value / (PART / timedelta(hours=1)) for value in (self.requests, self.low, self.high)]
        return (
            f"{an_hour[0]:.3g} requests an hour {self.begin:%H} to {self.begin + PART:%H} UTC, "
            f"{an_hour[1]:.3g} to {an_hour[2]:.3g} in these hours of the {self.days} days before"
            + (f", never below {self.fewest / (PART / timedelta(hours=1)):.3g}" if self.stopped else "")
        )


class DayRequests(Frozen):
    """Requests of a day."""

    parts: tuple[int, ...] = Field(min_length=PARTS, max_length=PARTS, description="of each quarter")
    first: float | None = Field(None, description="seconds of the day before the first; null: no request")


def requests_of(seconds: np.ndarray) -> DayRequests:
    """Count the requests of a day.

    Args:
        seconds: of the day, float [requests].
    """
    parts = np.bincount((seconds // PART.total_seconds()).astype(int), minlength=PARTS)
    return DayRequests(parts=tuple(parts.tolist()), first=float(seconds.min()) if len(seconds) else None)


def volumes(earlier: Sequence[DayRequests], judged: DayRequests, day: datetime) -> tuple[Volume, ...]:
    """Return each part of a day; none with fewer than a week of days before.

    Args:
        earlier: the days before without a gap, oldest first; the first requests of a model begin its history.
        judged: the day itself.
        day: its begin.
    """
    begun = next((number for number, past in enumerate(earlier) if past.first is not None), len(earlier))
    if begun < len(earlier) and (earlier[begun].first or 0.0) > BEGUN:
        begun += 1
    past = np.array([known.parts for known in earlier[begun:]][-MOST_DAYS:])
    if len(past) < FEWEST_DAYS:
        return ()
    return tuple(_judged(day + part * PART, past[:, part], judged.parts[part]) for part in range(PARTS))


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
    independent = (1 - related) / (1 + related)  # of a mean
    of_variance = (1 - related**2) / (1 + related**2)
    usual = float(means[0])
    variance = max(spread / freedom, math.exp(-usual))
    error = math.sqrt(variance * (1 + 1 / max(1.0, alike * independent)))
    half = float(stdtrit(max(2.0, freedom * of_variance), 1 - ERRS / (2 * PARTS))) * error
    low, middle, high = (max(0.0, math.expm1(value)) for value in (usual - half, usual, usual + half))
    return Volume(
        begin=begin, requests=requests, usual=middle, low=low, high=high, days=days, fewest=int(min(past))
    )
