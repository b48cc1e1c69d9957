"""Estimate the accuracy of answers without labels, from how sure the model was of each.

Confidence-based performance estimation: scores are calibrated on the reference rows, where the truth is known, and the
expected share of right answers of a window is the mean of the calibrated chances (NannyML's CBPE; J. Bialek, W.
Kuberski, N. Perrakis, A. Bifet, "Estimating Model Performance Under Covariate Shift Without Labels", 2024). The
calibration is isotonic (B. Zadrozny, C. Elkan, "Transforming classifier scores into accurate multiclass probability
estimates", KDD 2002).

It sees that a model is less sure, as its inputs change. It does not see that the same inputs have another truth now:
only labels show that. So it is shown and starts nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen, Share

FOLDS = 10
"""Parts of the reference, in its order, that are estimated by the others to measure the error."""
FEWEST = 20
"""Rows of a part below which nothing is estimated."""


class EstimatedAccuracy(Frozen):
    """Expected share of right answers, without a label of the window."""

    value: Share
    error: float = Field(ge=0, description="root mean square by which such estimates missed in the back-test")
    rows: int = Field(ge=0)

    def __str__(self) -> str:
        return f"{self.value:.1%} +- {self.error:.1%} by its confidence"


def estimate_accuracy(
    score: np.ndarray,
    decision: np.ndarray,
    right: np.ndarray,
    window_score: np.ndarray,
    window_decision: np.ndarray,
    of_positive: bool,
) -> EstimatedAccuracy | None:
    """Estimate the share of right answers in a window.

    Args:
        score, decision, right: of the reference rows, [n], in order of time.
        window_score, window_decision: [m].
        of_positive: the score is the chance of decision 1; else that of the decision itself.

    Returns:
        None where the reference has fewer than `FOLDS` x `FEWEST` rows, or the window none.
    """
    if len(score) < FOLDS * FEWEST or len(window_score) == 0:
        return None
    missed = []
    for part in np.array_split(np.arange(len(score)), FOLDS):
        others = np.ones(len(score), dtype=bool)
        others[part] = False
        chance = _chance_right(score[others], decision[others], right[others], of_positive)
        missed.append(float(chance(score[part], decision[part]).mean() - right[part].mean()))
    chance = _chance_right(score, decision, right, of_positive)
    value = float(chance(window_score, window_decision).mean())
    error = float(np.sqrt(np.mean(np.square(missed))))
    return EstimatedAccuracy(value=min(1.0, max(0.0, value)), error=error, rows=len(window_score))


def _chance_right(
    score: np.ndarray, decision: np.ndarray, right: np.ndarray, of_positive: bool
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a function of score and decision that gives the chance of being right."""
    from scipy.optimize import isotonic_regression  # heavy

    happened = np.where(decision == 1, right, 1.0 - right) if of_positive else right
    scores, places, counts = np.unique(score, return_inverse=True, return_counts=True)
    rates = np.bincount(places, happened) / counts
    fitted = isotonic_regression(rates, weights=counts).x

    def chance(at: np.ndarray, decided: np.ndarray) -> np.ndarray:
        rate = np.interp(at, scores, fitted)
        return np.asarray(np.where(decided == 1, rate, 1.0 - rate) if of_positive else rate)

    return chance
