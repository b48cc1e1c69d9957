"""Evidence that the mean of batches has fallen below a limit: the studentised Shiryaev-Roberts statistic.

Each batch multiplies the evidence by e = exp(s z - s^2 / 2), where z is how far its mean lies below the limit, in
standard deviations of batches, and s the strength of a bet; before that, the evidence grows by the alarms that the
budget allowed in the time of the batch. While the mean is not below the limit, e has an expectation of at most 1, so
the evidence minus the accrued budget is a supermartingale: an alarm at evidence 1 and a new start after it cost, in
expectation, no more false alarms than have accrued, at every time and whatever the traffic (the e-detector of Shin,
Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", NEJSDS 2024, with the
budget in place of their unit weights; Roberts 1966). The mean of several strengths is such a statistic again.

z divides by an estimated deviation and is cut at `CLIP`, so e is asymptotic: normal batches and a deviation that the
reference and the traffic tell. `docs/guide/monitoring.md` has its simulated error; a form for bounded values that is
exact (e = 1 + s (limit - x)) needed twice the rows where these are independent, as many or fewer where they are not.

All functions take numbers or arrays of equal shape, a simulation of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perennial.core.monitoring.batches import BatchedReference

Figures = float | np.ndarray
"""A number, or an array with one of each simulation."""
STRENGTHS = np.array([0.1, 0.2, 0.4, 0.8])
"""Bets on losses of 0.1 to 0.8 standard deviations of a batch below the limit, and on all larger ones."""
CLIP = 3.0
"""A batch counts as at most so many standard deviations: a single outage is no loss of accuracy."""
REFERENCE_MARGIN = 0.99
"""Chance that the true mean of the reference lies above its lower limit."""
HISTORY_MARGIN = 1.0
"""Standard errors of the learnt mean by which its limit lies below it."""
FIRST = 8
"""Batches before which nothing is judged: their deviation is not known."""
AGAINST = ("reference", "history")
"""Figures that the two limits of a batch are below."""
SHAPE = (len(AGAINST), len(STRENGTHS))
MOST_GAIN = 10.0
"""Most that a run holds, so that accuracy which came back ends an alarm soon."""


@dataclass(frozen=True)
class History:
    """Sums over the batches of a version's traffic: of their weights, and of weight times deviation.

    Deviations are from the mean of the reference.
    """

    batches: int = 0
    weight: Figures = 0.0
    total: Figures = 0.0
    squares: Figures = 0.0
    products: Figures = 0.0
    """Sum over the products of neighbouring batches."""
    last: Figures = 0.0

    def with_batch(self, off: Figures, weight: Figures) -> History:
        """Return the history with one more batch, whose mean is `off` above that of the reference."""
        off = weight * off
        return History(
            self.batches + 1,
            self.weight + weight,
            self.total + off,
            self.squares + np.square(off),
            self.products + (off * self.last if self.batches else 0.0),
            off,
        )


def learnt_mean(reference: BatchedReference, history: History) -> Figures:
    """Return the mean over the rows of the reference and of the traffic so far."""
    return np.asarray(reference.mean) + history.total / (np.asarray(reference.weight) + history.weight)


def deviation(reference: BatchedReference, history: History) -> Figures:
    """Return the standard deviation of weight times mean of a batch, from reference and traffic.

    Where neighbouring batches of the traffic resemble each other (a cycle that is cut), it is that of a batch with
    half of both neighbours. It is never below that of independent rows, nor half of the reference's where it is no
    share.
    """
    ours, count = history.batches, max(history.batches, 1)
    mean = history.total / count
    off = np.maximum(history.squares - count * np.square(mean), 0.0)
    variance = ((reference.batches - 1) * np.asarray(reference.variance) + off) / (
        reference.batches - 1 + max(ours - 1, 0)
    )
    if ours >= FIRST:
        along = (history.products - (ours - 1) * np.square(mean)) / (ours - 1)
        variance = np.maximum(variance, off / (ours - 1) + 2 * np.maximum(along, 0.0))
    if reference.is_share:
        share = np.clip(learnt_mean(reference, history), 0.0, 1.0)
        least = np.maximum(share * (1 - share), 0.01) / reference.size
    else:
        least = np.asarray(reference.variance) / 4
    return np.asarray(np.sqrt(np.maximum(variance, np.maximum(least, 1e-18))))


@dataclass(frozen=True)
class RunSums:
    """Sums over the batches since which the gains of each bet are positive together, float [..., limits, strengths].

    This is the CUSUM of the bets (Page 1954): it starts anew where nothing is left of its gain.
    """

    gain: np.ndarray
    weight: np.ndarray
    off: np.ndarray
    """Sum of weight times deviation from the mean of the reference."""

    @classmethod
    def none(cls, *shape: int) -> RunSums:
        """Return empty runs of so many streams."""
        empty = np.zeros((*shape, *SHAPE))
        return cls(empty, empty, empty)

    def with_batch(self, gains: np.ndarray, off: Figures, weight: Figures) -> RunSums:
        """Return the runs after a batch."""
        gain = self.gain + gains
        goes_on, wide = gain > 0, np.asarray(weight)[..., None, None]
        return RunSums(
            np.clip(gain, 0.0, MOST_GAIN),
            np.where(goes_on, self.weight + wide, 0.0),
            np.where(goes_on, self.off + wide * np.asarray(off)[..., None, None], 0.0),
        )


def limits(
    reference: BatchedReference, history: History, runs: RunSums, tolerated: float, quantile: float
) -> np.ndarray:
    """Return the lower limit of each bet, float [..., limits, strengths]: a mean below is a loss.

    The first limit is that of the reference. The second is that of the mean learnt from reference and traffic, without
    the batches of the bet's own run: those since about the change would lower it. Both are less by the tolerated share
    and by a margin for their own error.

    Args:
        tolerated: share of the reference's mean that may be lost.
        quantile: of Student's t at `REFERENCE_MARGIN`, with the degrees of freedom of the reference.
    """
    mean, spread = np.asarray(reference.mean), np.asarray(deviation(reference, history))[..., None]
    allowed = tolerated * np.abs(mean)[..., None]
    known = np.asarray(mean - quantile * mean_error(reference))[..., None]
    weight = np.asarray(reference.weight + np.asarray(history.weight))[..., None] - runs.weight[..., 1, :]
    learnt = mean[..., None] + (np.asarray(history.total)[..., None] - runs.off[..., 1, :]) / weight
    margin = (
        HISTORY_MARGIN
        * spread
        * np.sqrt(reference.batches + history.batches)
        / np.sqrt(weight * (reference.weight + np.asarray(history.weight))[..., None])
    )
    return np.stack([np.broadcast_to(known - allowed, learnt.shape), learnt - allowed - margin], axis=-2)


def mean_error(reference: BatchedReference) -> Figures:
    """Return the standard error of the mean of the reference."""
    return np.asarray(np.sqrt(np.asarray(reference.variance) * reference.batches) / reference.weight)


def bets(limit: np.ndarray, mean: Figures, weight: Figures, spread: Figures) -> np.ndarray:
    """Return the logarithm of what each bet gains by a batch, float [..., limits, strengths]."""
    mean, scale = np.asarray(mean)[..., None, None], np.asarray(weight / spread)[..., None, None]
    z = np.minimum(scale * (limit - mean), CLIP)
    return np.asarray(STRENGTHS * z - STRENGTHS**2 / 2)


def grown(evidence: np.ndarray, gains: np.ndarray, accrued: float) -> np.ndarray:
    """Return the evidence after a batch.

    Args:
        evidence: float [..., limits, strengths], 0 at the start.
        gains: `bets` of the batch.
        accrued: false alarms that the budget allowed in the time of the batch.
    """
    return np.asarray(np.minimum(np.exp(gains) * (evidence + accrued), 1e12))


def total(evidence: np.ndarray) -> Figures:
    """Return the evidence of all bets together; an alarm is due from 1."""
    return np.asarray(evidence.mean(axis=(-2, -1)))
