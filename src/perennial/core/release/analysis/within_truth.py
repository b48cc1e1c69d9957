"""Compare the errors of two versions within each truth, whatever selection of the labels came back.

For two truths the error rate of a version is share x missed + (1 - share) x false alarms. What is missed and what is a
false alarm can be told from the labels of that truth alone: early or many labels of one truth do not change
them. The share of the truth is common to both versions and only bounded (`truth_shares`); a drop is
proven where it is for every share that the data allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perennial.core.mean_bounds import mean_bounds
from perennial.core.release.analysis.grouped_labels import groupings, lowest_difference, spread, sums
from perennial.core.release.analysis.tilted_bounds import tilted_bounds
from perennial.core.release.analysis.truth_shares import OF_SHARES, Answered, Shares, truth_shares
from perennial.core.release.label_counts import LabelCounts, TruthCounts
from perennial.core.statistics import Floats

NONE = TruthCounts()


@dataclass(frozen=True)
class Difference:
    """By how much the candidate's mean is above the champion's, for every share of the truths that the data allow.

    Attributes:
        low, high: bounds at all looks together, for independent requests; NaN where the data contradict each other.
        grouped: lower bound where the answers of a group are right or wrong together.
    """

    low: float
    high: float
    grouped: float

    @property
    def contradicts(self) -> bool:
        """Return whether labels come by the answer, too, so that nothing can be told from them."""
        return bool(np.isnan(self.low))

    def exceeds(self, limit: float) -> bool:
        """Return whether it is proven to be above a limit, under both bounds."""
        return min(self.low, self.grouped) > limit


@dataclass(frozen=True)
class ErrorCounts:
    """Wrong and labelled requests of a version by truth, [..., k] each."""

    wrong: Floats
    labelled: Floats


def increase_of_errors(candidate: LabelCounts, champion: LabelCounts, confidence: float) -> Difference:
    """Return by how much more of the candidate's answers are wrong: the drop of the accuracy."""
    names = _names(candidate, champion)
    shares = _shares(candidate, champion, names, confidence)
    low, high = error_bounds((_errors(candidate, names), _errors(champion, names)), confidence)
    return _difference(candidate, champion, names, shares, low, high)


def increase_of_loss(
    candidate: LabelCounts, champion: LabelCounts, factor: float, confidence: float
) -> Difference:
    """Return by how much the candidate's mean loss is above `factor` times the champion's."""
    names = _names(candidate, champion)
    shares = _shares(candidate, champion, names, confidence)
    each = _each(len(names), confidence)
    (low, high), (other_low, other_high) = (
        mean_bounds(*_loss_sums(side, names), each) for side in (candidate, champion)
    )
    low, high = np.maximum(low, 0.0) - factor * other_high, high - factor * np.maximum(other_low, 0.0)
    return _difference(candidate, champion, names, shares, low, high, factor)


def error_bounds(sides: tuple[ErrorCounts, ErrorCounts], confidence: float) -> tuple[Floats, Floats]:
    """Return bounds, [..., k], of the candidate's error rate less the champion's within each truth.

    Each of the 2 k rates has its part of the error chance that `truth_shares` leaves.
    """
    truths = sides[0].wrong.shape[-1]
    wrong = np.concatenate([side.wrong for side in sides], axis=-1)
    labelled = np.concatenate([side.labelled for side in sides], axis=-1)
    low, high = tilted_bounds(np.minimum(wrong, labelled), labelled, _each(truths, confidence))
    return low[..., :truths] - high[..., truths:], high[..., :truths] - low[..., truths:]


def _each(truths: int, confidence: float) -> float:
    return 1.0 - (1.0 - OF_SHARES) * (1.0 - confidence) / (2 * truths)


def _difference(
    candidate: LabelCounts,
    champion: LabelCounts,
    names: tuple[str, ...],
    shares: Shares,
    low: Floats,
    high: Floats,
    factor: float | None = None,
) -> Difference:
    if not np.isfinite([low, high]).all():  # of the loss of a truth with too few labels
        return Difference(-np.inf, np.inf, -np.inf)
    lowest, worst = shares.lowest(low)
    highest, _ = shares.lowest(-high)
    if np.isnan(lowest):
        return Difference(float("nan"), float("nan"), float("nan"))
    ways = groupings(candidate.truths, champion.truths)
    grouped = min(
        (_grouped(candidate, champion, names, way, shares, worst, factor) for way in ways), default=-np.inf
    )
    return Difference(float(lowest), float(-highest), float(grouped))


def _grouped(
    candidate: LabelCounts,
    champion: LabelCounts,
    names: tuple[str, ...],
    way: str,
    shares: Shares,
    worst: Floats,
    factor: float | None,
) -> float:
    """Return the lower bound by groups at the worst shares, both of the bounds and of the means."""
    mine, theirs = (
        sums(side.truths, names, way, of_loss=factor is not None) for side in (candidate, champion)
    )
    times, most = (1.0, 1.0) if factor is None else (factor, np.inf)
    means = [
        np.divide(total.sum(axis=0), count.sum(axis=0), out=np.zeros(len(names)), where=count.any(axis=0))
        for total, count in (mine, theirs)
    ]
    _, at = shares.lowest(means[0] - times * means[1])
    return min(lowest_difference(mine, theirs, place, times, most) for place in (worst, at))


def _names(candidate: LabelCounts, champion: LabelCounts) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*candidate.truths, *champion.truths)))


def _errors(side: LabelCounts, names: tuple[str, ...]) -> ErrorCounts:
    counts = [side.truths.get(name, NONE) for name in names]
    return ErrorCounts(
        np.array([truth.wrong for truth in counts]), np.array([truth.requests for truth in counts])
    )


def _loss_sums(side: LabelCounts, names: tuple[str, ...]) -> tuple[Floats, Floats, Floats]:
    """Return sum, sum of squares and number of the losses by truth."""
    counts = [side.truths.get(name, NONE) for name in names]
    return (
        np.array([truth.loss for truth in counts]),
        np.array([truth.squares for truth in counts]),
        np.array([float(truth.losses) for truth in counts]),
    )


def _shares(
    candidate: LabelCounts, champion: LabelCounts, names: tuple[str, ...], confidence: float
) -> Shares:
    answers = tuple(dict.fromkeys((*names, *candidate.answers, *champion.answers)))
    sides = (_answered(candidate, names, answers), _answered(champion, names, answers))
    ways = groupings(candidate.truths, champion.truths)
    spreads = tuple(
        max((spread(*sums(side.truths, names, way, of_loss=False)) for way in ways), default=1.0)
        for side in (candidate, champion)
    )
    return truth_shares(sides, confidence, (spreads[0], spreads[1]))


def _answered(side: LabelCounts, names: tuple[str, ...], answers: tuple[str, ...]) -> Answered:
    counts = [side.truths.get(name, NONE) for name in names]
    return Answered(
        np.array([truth.requests for truth in counts]),
        np.array([[truth.answers.get(answer, 0.0) for answer in answers] for truth in counts]),
        np.array([side.answers.get(answer, 0.0) for answer in answers]),
        np.asarray(side.answered),
    )
