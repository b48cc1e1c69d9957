"""Screen between two looks: did the newest rows move so far that a look is worth its cost?

A look permutes blocks for most of a second of a core; PSI alone costs milliseconds. It proves nothing, since ordinary
traffic has one of 0.3 at times: it only says that the look is due now. The look decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from perennial.core.monitoring.drift import Bins, counts, psi, shares
from perennial.core.monitoring.max_t import PARTS

SCREENED = 5.0
"""Seconds between two readings of all logs that ask whether a look is due before its time."""
AGAIN = 4
"""Part of the smallest judged part of a window after which a look that proved a drift, but not certainly, is repeated:
each instant counts in the budget of warnings whether it is used or not, so these looks cost time only."""


@dataclass(frozen=True)
class Screen:
    """Bins of the reference's columns, and the share of each bin there."""

    cuts: Mapping[str, Bins]
    known: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, reference: Mapping[str, np.ndarray], bins: int) -> Screen:
        """Return the screen of columns.

        Args:
            reference: column -> float [n]; NaN where missing.
            bins: as `monitoring.bins`.
        """
        cuts = {name: Bins.of(values, bins) for name, values in reference.items()}
        known = {
            name: shares(counts(cuts[name].codes(values), cuts[name].size))
            for name, values in reference.items()
        }
        return cls(cuts, known)

    def figures(self, window: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the PSI of each column in the window and in its newest half, quarter and eighth, float [columns, 4].

        Args:
            window: the columns of the reference, float [m] in time order; at least a row.
        """
        rows = []
        for name, cut in self.cuts.items():
            codes = cut.codes(window[name])
            parts = (codes[-max(1, round(len(codes) * part)) :] for part in PARTS)
            rows.append([psi(self.known[name], shares(counts(part, cut.size))) for part in parts])
        return np.array(rows)


def fewest_new(window: int) -> int:
    """Return how many rows must come after a look before one can be early: the smallest part that a look judges."""
    return max(1, round(window * PARTS[-1]))


def fewest_again(window: int) -> int:
    """Return how many rows must come after a look that the budget of warnings held back before the next one."""
    return max(1, fewest_new(window) // AGAIN)


def stirred(before: np.ndarray, now: np.ndarray, level: float) -> bool:
    """Return whether any figure grew by an alarm level since the last look."""
    return bool((now - before >= level).any())
