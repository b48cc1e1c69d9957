"""Measured scores in [0, 1]: ranking metrics over a curve, and losses of a probability."""

from __future__ import annotations

import numpy as np

from perennial.core.tasks.curve import Curve, napfd_by_group, pr_auc, roc_auc
from perennial.core.tasks.task import Scored, Task

SMALLEST = float(np.finfo(float).eps)
"""Probabilities are cut here in a logarithm, as in scikit-learn."""


class CurvedScores(Scored):
    """Scores sorted once: a resample only adds up weights along the order."""

    def __init__(self, task: Task, target: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        super().__init__(task, target, answer, group)
        self._order = np.argsort(-self.answer, kind="stable")
        ordered = self.answer[self._order]
        self._ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
        self._squares = self._by_group((self.answer - self.target) ** 2)

    def curve(self, weights: np.ndarray | None = None) -> Curve:
        """Return the counts; `weights` [groups] is the multiplicity of each group."""
        weight = np.ones(len(self)) if weights is None else weights[self._group]
        positive = np.cumsum((weight * self.target)[self._order])[self._ends]
        negative = np.cumsum((weight * (1 - self.target))[self._order])[self._ends]
        return Curve(self.answer[self._order][self._ends], positive, negative)

    def _shared(self, weights: np.ndarray) -> dict[str, float]:
        curve = self.curve(weights)
        return {
            "roc_auc": roc_auc(curve),
            "pr_auc": pr_auc(curve),
            "brier": float(weights @ self._squares / (weights @ self._rows)),
        }


class RankedScores(CurvedScores):
    """Scores that rank the rows of a group."""

    def __init__(self, task: Task, target: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        super().__init__(task, target, answer, group)
        self._napfd = napfd_by_group(self.target, self.answer, self._group, len(self.groups))

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        weights = self._weights(weights)
        failing = ~np.isnan(self._napfd) & (weights > 0)
        return {
            **self._shared(weights),
            "napfd": float(np.average(self._napfd[failing], weights=weights[failing]))
            if failing.any()
            else float("nan"),
        }


class ScoredProbabilities(CurvedScores):
    """Scores that are probabilities, decided at a threshold."""

    def __init__(
        self, task: Task, target: np.ndarray, answer: np.ndarray, group: np.ndarray, threshold: float
    ) -> None:
        super().__init__(task, target, answer, group)
        likelihood = np.where(self.target == 1, self.answer, 1 - self.answer)
        self._log_losses = self._by_group(-np.log(np.clip(likelihood, SMALLEST, 1 - SMALLEST)))
        positive, alarm = self.target == 1, self.answer >= threshold
        self._hits = self._by_group(positive & alarm)
        self._wrong = self._by_group(positive != alarm)

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        weights = self._weights(weights)
        rows, hits, wrong = (weights @ sums for sums in (self._rows, self._hits, self._wrong))
        return {
            **self._shared(weights),
            "log_loss": float(weights @ self._log_losses / rows),
            "f1": float(2 * hits / (2 * hits + wrong)) if hits + wrong else 0.0,
            "accuracy": float(1 - wrong / rows),
        }
