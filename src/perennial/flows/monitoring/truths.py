"""The truths that labels say and the answers that requests got, as names: classes, or ranges of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np

from perennial.flows.feedback.votes import by_task

if TYPE_CHECKING:
    import pandas as pd

MOST = 12
"""Truths that are told apart: the classes with most labels."""
OTHER = "(other)"
"""Name of all other classes together; nothing is known of what their labels would say."""
RANGES = 3
"""Ranges of labels that are numbers, with about as many labels in each."""


@dataclass(frozen=True)
class Truths:
    """The truths of a model.

    Attributes:
        names: in the order to show.
        edges: numbers between the ranges, where labels are numbers.
    """

    names: tuple[str, ...]
    edges: tuple[float, ...] = ()

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Self:
        """Return the truths of labelled rows.

        Args:
            rows: columns task and value, the label as the store has it.
        """
        classes: dict[str, int] = {}
        numbers: list[np.ndarray] = []
        for task, _, part in by_task(rows):
            label = part["value"].to_numpy(dtype=float)
            if not task.truths:
                numbers.append(label)
                continue
            counts = np.bincount(task.truth(label), minlength=len(task.truths))
            for name, count in zip(task.truths, counts.tolist(), strict=True):
                classes[name] = classes.get(name, 0) + count
        names = tuple(classes)
        if len(names) > MOST:
            most = sorted(names, key=lambda name: -classes[name])[: MOST - 1]
            names = (*(name for name in names if name in most), OTHER)
        if not numbers:
            return cls(names)
        levels = np.arange(1, RANGES) / RANGES
        edges = tuple(np.unique(np.quantile(np.concatenate(numbers), levels)).tolist())
        return cls((*names, *_ranges(edges)), edges)

    def of_labels(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the name of the truth of each labelled row, [n]."""
        names = np.empty(len(rows), dtype=object)
        for task, places, part in by_task(rows):
            label = part["value"].to_numpy(dtype=float)
            names[places] = (
                self._known(np.array(task.truths, dtype=object)[task.truth(label)])
                if task.truths
                else self._range(label)
            )
        return names

    def of_answers(self, rows: pd.DataFrame) -> np.ndarray:
        """Return the name of what each row was answered, [n].

        Args:
            rows: columns task, score and decision of the log.
        """
        names = np.empty(len(rows), dtype=object)
        for task, places, part in by_task(rows):
            names[places] = (
                self._known(np.array(task.truths, dtype=object)[part["decision"].to_numpy(dtype=int)])
                if task.truths
                else self._range(part["score"].to_numpy(dtype=float))
            )
        return names

    def _known(self, names: np.ndarray) -> np.ndarray:
        return names if OTHER not in self.names else np.where(np.isin(names, self.names), names, OTHER)

    def _range(self, numbers: np.ndarray) -> np.ndarray:
        return np.array(_ranges(self.edges), dtype=object)[np.searchsorted(self.edges, numbers, side="right")]


def _ranges(edges: tuple[float, ...]) -> tuple[str, ...]:
    bounds = [f"{edge:.6g}" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(bounds)]
    return (f"below {bounds[0]}", *between, f"from {bounds[-1]}")
