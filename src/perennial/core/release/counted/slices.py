"""Count a step by slices of its time, besides its totals: an outage is then few slices, not many requests.

A slice is a minute at first, and less in a step shorter than twenty minutes. When there are more than `MOST`,
neighbours are joined and slices last twice as long (batch means). So memory is bounded, and whatever the length of the
step, an outage much shorter than it fills few of its slices.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime

from perennial.core.frozen import Frozen
from perennial.core.release.traffic import Counters

MOST = 40
FIRST_LENGTH = timedelta(minutes=1)
SPELL = timedelta(minutes=10)
"""Least length of the slices by which latencies are compared: pools are slow or fast for minutes together."""
PER_STEP = 20
"""Slices that the shortest step has."""
SHORTEST = timedelta(seconds=0.1)


class Slice(Frozen):
    """Answers of the pools in a part of a step."""

    began: AwareDatetime
    counted: dict[str, Counters]


def first_length(step: timedelta) -> timedelta:
    """Return the length of the first slices of a step that lasts so long."""
    return max(SHORTEST, min(FIRST_LENGTH, step / PER_STEP))


def spell_length(step: timedelta) -> timedelta:
    """Return the least length of slices for latencies in a step that lasts so long."""
    return max(SHORTEST, min(SPELL, step / PER_STEP))


def slice_length(first: timedelta, elapsed: timedelta) -> timedelta:
    """Return the length of slices after a time of the step: the first one, doubled until at most `MOST` cover it."""
    length = first
    while elapsed > length * MOST:
        length *= 2
    return length


def with_answers(
    slices: tuple[Slice, ...],
    new: Mapping[str, Counters],
    now: datetime,
    step_began: datetime,
    step: timedelta,
) -> tuple[Slice, ...]:
    """Return the slices with what was answered since the last look, which is counted where this look is.

    Args:
        step: shortest duration of the step.
    """
    if not any(counters.requests for counters in new.values()):
        return slices
    latest = max((part.began for part in slices), default=now)
    length = slice_length(first_length(step), max(now, latest) - step_began)
    thin = {pool: counters.sparse() for pool, counters in new.items()}
    joined: dict[int, Slice] = {}
    for part in (*slices, Slice(began=now, counted=thin)):
        number = (part.began - step_began) // length
        known = joined.get(number)
        joined[number] = part if known is None else _both(known, part)
    return tuple(joined[number] for number in sorted(joined))


def _both(first: Slice, second: Slice) -> Slice:
    nothing = Counters()
    pools = sorted({*first.counted, *second.counted})
    counted = {
        pool: first.counted.get(pool, nothing).plus(second.counted.get(pool, nothing)).sparse()
        for pool in pools
    }
    return Slice(began=min(first.began, second.began), counted=counted)
