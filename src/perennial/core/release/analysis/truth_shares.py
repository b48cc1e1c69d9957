"""Bounds on how often each truth occurs, from labels that may be missing more often for one truth than for another.

Labels that come back are a selection: failing tests are looked at first, refused credits never. So the share of a
truth among the labels says little of its share among the requests. Two facts bound the latter, and both versions share
it, since requests are assigned at random:

- counts: a truth is at least as common as its labels (C. Manski, "Partial Identification of Probability
  Distributions", 2003);
- answers: within a truth the labelled requests show how it is answered, and all requests show how often each answer
  is given, so the truths are in such shares as give these answers (Z. Lipton, Y.-X. Wang, A. Smola, "Detecting and
  Correcting for Label Shift with Black Box Predictors", ICML 2018).

The second holds where a label comes or not by the truth alone, whatever the answer. Where both contradict each other
it does not hold, and nothing is proven.

Counts may be arrays of simulated releases where there are two truths. The last axis are the truths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perennial.core.release.analysis.tilted_bounds import tilted_bounds
from perennial.core.statistics import Booleans, Floats

OF_SHARES = 0.2
"""Part of the error chance for the shares of the truths; the rest is for the errors within them."""
SLACK = 1e-9


@dataclass(frozen=True)
class Answered:
    """Labelled and all requests of a version.

    Attributes:
        labelled: with each truth, [..., k].
        cells: of these, by answer, [..., k, j].
        answers: all requests by answer, [..., j]; answered: all, [...].
    """

    labelled: Floats
    cells: Floats
    answers: Floats
    answered: Floats


@dataclass(frozen=True)
class Shares:
    """The shares of the truths that the data allow: 0 <= share, sum 1, `weights` @ shares <= `limits`.

    Attributes:
        weights: [..., m, k]; limits: [..., m]; least: smallest share of each truth, [..., k].
    """

    weights: Floats
    limits: Floats
    least: Floats

    def lowest(self, values: Floats) -> tuple[Floats, Floats]:
        """Return the lowest mean of a value of each truth, [...], and the shares that give it, [..., k].

        NaN where the data contradict each other.
        """
        count = values.shape[-1]
        if count == 1:
            return values[..., 0], np.ones_like(values)
        return self._of_two(values) if count == 2 else self._of_many(values)

    def _of_two(self, values: Floats) -> tuple[Floats, Floats]:
        slope = self.weights[..., 0] - self.weights[..., 1]
        room = self.limits - self.weights[..., 1]
        with np.errstate(divide="ignore", invalid="ignore"):
            at = room / slope
        low = np.maximum(self.least[..., 0], np.where(slope < 0, at, -np.inf).max(axis=-1))
        high = np.minimum(1.0 - self.least[..., 1], np.where(slope > 0, at, np.inf).min(axis=-1))
        never: Booleans = ((slope == 0) & (room < -SLACK)).any(axis=-1) | (low > high + SLACK)
        first = np.where(values[..., 0] < values[..., 1], high, low)
        shares = np.stack([first, 1.0 - first], axis=-1)
        shares = np.where(never[..., None], np.nan, shares)
        return (shares * values).sum(axis=-1), shares

    def _of_many(self, values: Floats) -> tuple[Floats, Floats]:
        from scipy.optimize import linprog  # heavy: only where a model has more than two truths

        count = len(values)
        solved = linprog(
            values,
            A_ub=self.weights, b_ub=self.limits + SLACK,
            A_eq=np.ones((1, count)), b_eq=[1.0],
            bounds=[(float(low), 1.0) for low in self.least],
        )  # fmt: skip
        if solved.status != 0:
            return np.asarray(np.nan), np.full(count, np.nan)
        return np.asarray(solved.fun), np.asarray(solved.x)


def truth_shares(
    sides: tuple[Answered, Answered], confidence: float, spreads: tuple[float, float] = (1.0, 1.0)
) -> Shares:
    """Return the shares of the truths that the labels and answers of both versions allow, at all looks together.

    Args:
        confidence: chance that the bounds hold; they use `OF_SHARES` of the error chance.
        spreads: of each version, by how much its labels vary more than independent ones: the factor by which its
            counts are taken smaller.
    """
    truths, answers = sides[0].cells.shape[-2:]
    told = 1 if answers == 2 else answers  # the second of two answers is given where the first is not
    bounds = 2 * truths * told + 2 * told + truths
    each = 1.0 - OF_SHARES * (1.0 - confidence) / bounds
    hits, trials = [], []
    for side, spread in zip(sides, spreads, strict=True):
        total = np.asarray(side.answered)[..., None] / spread
        labelled = np.repeat(side.labelled[..., None], told, axis=-1)
        hits += [_flat(side.cells[..., :told]) / spread, side.answers[..., :told] / spread]
        trials += [_flat(labelled) / spread, np.broadcast_to(total, hits[-1].shape)]
    spread = max(spreads)
    hits.append((sides[0].labelled + sides[1].labelled) / spread)
    answered = np.asarray(sides[0].answered + sides[1].answered)[..., None] / spread
    trials.append(np.broadcast_to(answered, hits[-1].shape))
    known, of = np.concatenate(hits, axis=-1), np.concatenate(trials, axis=-1)
    low, high = tilted_bounds(np.minimum(known, of), of, each)  # one call: it is the costly part
    weights, limits, cells = [], [], truths * told
    for begin in (0, cells + told):
        shape = (*low.shape[:-1], truths, told)
        least, most = (bound[..., begin : begin + cells].reshape(shape) for bound in (low, high))
        given = slice(begin + cells, begin + cells + told)
        weights += [np.swapaxes(least, -1, -2), -np.swapaxes(most, -1, -2)]
        limits += [high[..., given], -low[..., given]]
    return Shares(
        np.concatenate(weights, axis=-2), np.concatenate(limits, axis=-1), low[..., 2 * (cells + told) :]
    )


def _flat(cells: Floats) -> Floats:
    """Return [..., k, j] as [..., k * j]."""
    return cells.reshape((*cells.shape[:-2], cells.shape[-2] * cells.shape[-1]))
