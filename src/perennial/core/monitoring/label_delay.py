"""How late labels come, learnt from the labels that have come.

The labels that have not come yet are not seen, so the newest requests show short delays only. The delays are therefore
weighed by who could have shown them: a product-limit estimate in reverse time (S. Lagakos, L. Barraj, V. De Gruttola,
"Nonparametric analysis of truncated survival data, with application to AIDS", Biometrika 1988). It is relative to the
labels that come within the time looked back at, and says nothing of those that never come.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen

COME = 0.95
"""Part of the labels of each truth that have come when a request is old enough."""
FEWEST = 20
"""Labels of a truth below which its delays are not known."""
LOOKED_BACK = 2.0
"""Times the delay that must have been looked back at: else later labels may still be on their way."""


class LabelDelay(Frozen):
    """Age from which a request is expected to have its label, if one comes at all."""

    hours: float = Field(ge=0)
    by_truth: dict[str, float] = Field(
        default_factory=dict, description="truth -> hours; empty: the spec names the delay"
    )

    @property
    def span(self) -> timedelta:
        return timedelta(hours=self.hours)


def learn_delay(delays: np.ndarray, ages: np.ndarray, truths: np.ndarray) -> LabelDelay | None:
    """Return the delay by which `COME` of the labels of each truth have come.

    Args:
        delays: hours from the answer to its label, [n].
        ages: hours from the answer to now, [n]; truths: names, [n].

    Returns:
        None where no truth has `FEWEST` labels, or the delays reach so far that later ones may still come.
    """
    delays = np.clip(delays, 0.0, ages)
    looked_back = float(ages.max(initial=0.0))
    names, counts = np.unique(truths, return_counts=True)
    by_truth = {
        str(name): _quantile(delays[truths == name], ages[truths == name])
        for name, count in zip(names, counts, strict=True)
        if count >= FEWEST
    }
    if not by_truth or LOOKED_BACK * max(by_truth.values()) > looked_back:
        return None
    return LabelDelay(hours=max(by_truth.values()), by_truth=by_truth)


def _quantile(delays: np.ndarray, ages: np.ndarray) -> float:
    """Return the smallest delay up to which at least `COME` of the labels come.

    F(t) is the product over the delays s > t of 1 - (delays of s) / (requests with delay <= s <= age).
    """
    times, counts = np.unique(delays, return_counts=True)
    at_risk = np.searchsorted(np.sort(delays), times, side="right") - np.searchsorted(
        np.sort(ages), times, side="left"
    )
    kept = 1.0 - counts / np.maximum(at_risk, 1)
    come = np.append(np.cumprod(kept[::-1])[::-1][1:], 1.0)
    return float(times[np.argmax(come >= COME)])
