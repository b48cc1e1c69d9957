"""Cells, looks and slices of a simulated step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from perennial.core.release.counted.slices import MOST, first_length, slice_length
from perennial.core.statistics import Floats

Integers = NDArray[np.int64]
CELLS = MOST
"""Least cells in the step's own time: as many as a release has slices."""
MOST_LOOKS_AFTER = 48
"""Between the end of a step and the time when a person is asked; fewer where the step's own looks are rarer."""


@dataclass(frozen=True)
class SimulatedTime:
    """Times of a step, in hours.

    Attributes:
        ends: ends of the cells in which requests are drawn, [cells].
        looks: numbers of the cells at whose ends the release is looked at, [looks].
        hours: the step's own time.
    """

    ends: Floats
    looks: Integers
    hours: float

    @classmethod
    def of(cls, hours: float, wait: float, looks: int) -> SimulatedTime:
        """Return evenly spaced looks in a step, then until a person is asked."""
        cells = -(-CELLS // looks)  # in each look
        ends = np.linspace(hours / (looks * cells), hours, looks * cells)
        numbers = np.arange(1, looks + 1) * cells - 1
        if wait > 0:
            after = int(np.clip(round(looks * wait / hours), 1, MOST_LOOKS_AFTER))
            later = np.linspace(0.0, wait, after * cells + 1)[1:]
            numbers = np.append(numbers, len(ends) + np.arange(1, after + 1) * cells - 1)
            ends = np.append(ends, hours + later)
        return cls(ends, numbers, hours)

    @property
    def at(self) -> Floats:
        """Times of the looks."""
        return np.asarray(self.ends[self.looks])

    @property
    def widths(self) -> Floats:
        """Lengths of the cells."""
        return np.diff(self.ends, prepend=0.0)

    def slices(self, look: int, least: timedelta = timedelta(0)) -> Integers:
        """Return the first cell of each slice that a release has at a look, or of joined ones of at least a length."""
        cells = int(self.looks[look]) + 1
        elapsed = timedelta(hours=float(self.ends[cells - 1]))
        length = max(least, slice_length(first_length(timedelta(hours=self.hours)), elapsed))
        begins = self.ends[:cells] - self.widths[:cells]
        numbers = np.floor(begins / (length / timedelta(hours=1)) + 1e-9)
        return np.flatnonzero(np.diff(numbers, prepend=-1.0))
