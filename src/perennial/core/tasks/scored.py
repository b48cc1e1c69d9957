"""Measured answers of any kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from perennial.errors import DataError

if TYPE_CHECKING:
    from perennial.core.tasks.task import Task


class Scored(ABC):
    """Answers and targets, summed by group once so that a resample costs a single pass.

    Args:
        task: the kind that checks and measures.
        target: [n], as `Task.targets` returns it.
        answer: [n] or [n, k].
        group: [n] integers.
        features: [n, features] of a kind that needs them.

    Raises:
        DataError: the lengths differ, or there are no rows. WrongAnswer: an answer is not valid.
    """

    def __init__(
        self,
        task: Task,
        target: np.ndarray,
        answer: np.ndarray,
        group: np.ndarray,
        features: np.ndarray | None = None,
    ) -> None:
        if not len(target) == len(answer) == len(group):
            raise DataError(f"{len(target)} targets, {len(answer)} scores, {len(group)} groups")
        if len(target) == 0:
            raise DataError("nothing to measure: no rows", hint="choose an earlier first cycle")
        self.task = task
        self.target = np.asarray(target, dtype=float)
        self.answer = task.checked(answer, len(target))
        self.group = np.asarray(group)
        self.features = features
        self.groups, self._group = np.unique(group, return_inverse=True)
        self._rows = np.bincount(self._group)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def score(self) -> np.ndarray:
        """Return one number per answer, [n]."""
        return self.task.summary(self.answer)

    def where(self, chosen: np.ndarray) -> Scored:
        """Return the rows of a mask [n]; it must select at least a row."""
        features = None if self.features is None else self.features[chosen]
        return self.task.scored(self.target[chosen], self.answer[chosen], self.group[chosen], features)

    @abstractmethod
    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Return every metric of the task; NaN where these rows do not define it.

        Args:
            weights: [groups], how often each group counts.
        """

    def _weights(self, weights: np.ndarray | None) -> np.ndarray:
        return np.ones(len(self.groups)) if weights is None else weights

    def _by_group(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a value per row in each group, [groups]."""
        return np.bincount(self._group, values)
