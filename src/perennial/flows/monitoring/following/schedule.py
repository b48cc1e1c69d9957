"""The order of the looks: each model every `monitoring.every`, and before where it moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perennial.core.spec import ModelSpec

EARLY_SHARE = 1 / 30
"""Part of `monitoring.every` that lies between the begins of two looks, so that what a client sends cannot ask for
looks without end."""
REST = 10.0
"""Times as long as the last look of a model took until it may be looked at early again."""
REST_HELD = 5.0
"""The same where the last look was held back by the budget of warnings alone, without the share of `every`."""


class Schedule:
    """Says which model is looked at next. Times are seconds of a monotonic clock.

    Attributes:
        early: places of models that are due before their time.
    """

    def __init__(self, specs: Sequence[ModelSpec], now: float) -> None:
        self._every = [spec.monitoring.every.total_seconds() for spec in specs]
        self._due = [now] * len(specs)
        self._began = [float("-inf")] * len(specs)
        self._lasted = [0.0] * len(specs)
        self._is_held = [False] * len(specs)
        self._was_early = False
        self.early: set[int] = set()

    def next_at(self) -> float:
        """Return the time of the next regular look.

        Minus infinity where an early one is due, infinity where there is no model.
        """
        return float("-inf") if self.early else min(self._due, default=float("inf"))

    def may_be_early(self, now: float) -> Iterator[int]:
        """Yield the places of models that are not due, and whose last look, good or failed, is long enough ago."""
        for place, due in enumerate(self._due):
            lasted = self._lasted[place]
            rest = (
                REST_HELD * lasted
                if self._is_held[place]
                else max(EARLY_SHARE * self._every[place], REST * lasted)
            )
            if due > now and place not in self.early and now >= self._began[place] + rest:
                yield place

    def take(self, now: float) -> int | None:
        """Return the place of the model to look at now, which begins; None where none is due.

        Early looks go first, the one of the oldest look before others; after each, a regular one that is due.
        """
        if not self._due:
            return None
        regular = min(range(len(self._due)), key=self._due.__getitem__)
        if self.early and not (self._was_early and self._due[regular] <= now):
            place = min(self.early, key=self._began.__getitem__)
            self._was_early = True
        elif self._due[regular] <= now:
            place, self._was_early = regular, False
        else:
            return None
        self.early.discard(place)
        self._began[place] = now
        return place

    def ended(self, place: int, now: float, is_held: bool = False) -> None:
        """Plan the next look. Counted from now, not from the due time: a slow look must not be followed by a burst.

        Args:
            is_held: the look proved a drift, and only the budget of warnings held a warning back.
        """
        self._is_held[place] = is_held
        self._lasted[place] = now - self._began[place]
        self._due[place] = now + self._every[place]
