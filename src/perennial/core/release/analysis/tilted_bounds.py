"""Bounds on proportions that hold at every look; of more than 1,000 trials tighter than those of `core.statistics`.

The mixture of `core.statistics` searches every proportion, and pays for it with half of the logarithm of the number of
trials. Here a few exponential tilts are tried, each with its part of the error chance: exp(t x) / (1 - p + p e^t)^n has
mean 1 under the true p, so by Ville's inequality it ever reaches K / alpha for one of K tilts with a chance of at most
alpha. A tilt t is best at about (4 / t)^2 / (p (1 - p)) trials, and a factor of two between tilts costs little: the
"peeling" of D. Darling, H. Robbins, "Iterated logarithm inequalities", PNAS 1967; S. Howard et al., "Time-uniform
Chernoff bounds via nonnegative supermartingales", Probability Surveys 2020. Each tilt has a closed form.
"""

from __future__ import annotations

import math

import numpy as np

from perennial.core.statistics import Counts, Floats, checked_counts

TILTS = tuple(2.0**power for power in range(-6, 3))
"""For some ten to 100,000 events, and for none."""


def tilted_bounds(hits: Counts, trials: Counts, confidence: float) -> tuple[Floats, Floats]:
    """Return lower and upper bound of a proportion, valid at all sample sizes at once.

    Args:
        hits: number of events, 0 <= hits <= trials; also the sum of trials' values in [0, 1], and hits and trials
            both times a weight of at most 1 of each trial (the mean of the tilted value stays at most 1, by Jensen).
        trials: number of trials; 0 gives (0, 1).
        confidence: chance, in (0, 1), that both bounds hold at every look.

    Raises:
        ValueError: hits outside of 0 to trials.
    """
    x, n = checked_counts(hits, trials)
    level = math.log(2 * len(TILTS) / (1.0 - confidence))
    return _lowest(x, n, level), 1.0 - _lowest(n - x, n, level)


def _lowest(hits: Floats, trials: Floats, level: float) -> Floats:
    """Return the smallest proportion that no tilt excludes."""
    each = 1.0 / np.maximum(trials, 1e-300)
    rate, room = hits * each, np.minimum(level * each, 1e300)
    lowest = np.zeros_like(rate)
    for tilt in TILTS:
        np.maximum(lowest, np.expm1(tilt * rate - room) / math.expm1(tilt), out=lowest)
    return lowest
