"""Attributions: Shapley values of the explained numbers of an answer against a background of usual rows.

The attributions of a row and the base (mean over the background) add up to the number of the row; each answer is
checked for this (`check_complete`). An answer has one such number, or the probability of each class. Source:
S. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.tasks.values import Label
from perennial.errors import IncompleteExplanation


@dataclass(frozen=True)
class Attributions:
    """Attributions of `k` numbers of some rows, in units of the answer."""

    base: np.ndarray
    """float64 [k], mean over the background"""
    values: np.ndarray
    """float64 [rows, features, k]; the numbers of an array are a feature together"""

    def gap(self, scores: np.ndarray) -> float:
        """Return the largest distance of base + attributions from [rows, k] numbers; NaN if any value is NaN."""
        return float(np.abs(self.base + self.values.sum(axis=1) - scores).max())


def check_complete(attributions: Attributions, scores: np.ndarray, tolerance: float) -> float:
    """Check that attributions add up to the scores [rows, k] within the tolerance; return the gap.

    Raises:
        IncompleteExplanation: they do not add up, or a value is NaN.
    """
    gap = attributions.gap(scores)
    if not gap <= tolerance:  # written so that NaN fails too
        raise IncompleteExplanation(
            f"base and attributions miss the score by {gap:.2g}, more than {tolerance:.2g}",
            hint="this explanation would mislead: look at the inputs for values that make scores jump",
        )
    return gap


class ClassAttributions(Frozen):
    """Mean absolute attributions of the probability of a class over many rows."""

    name: str
    base: float
    mean_absolute: tuple[float, ...] = Field(
        description="of each feature, in the order of all classes together"
    )


class GlobalAttributions(Frozen):
    """Mean absolute attribution of each feature of a version over many rows, and over the classes if it has some."""

    digest: str = Field(description="SHA-256 of the explained model file")
    rows: int
    background_rows: int
    coalitions: int
    base: float | None = Field(description="null where each class has its own")
    mean_absolute: tuple[tuple[str, float], ...] = Field(
        description="feature and its mean |attribution|, largest first"
    )
    classes: tuple[ClassAttributions, ...] = ()
    gap: float = Field(description="largest distance of base + attributions from a score")

    @classmethod
    def of(
        cls,
        digest: str,
        names: Sequence[str],
        classes: Sequence[Label],
        attributions: Attributions,
        background_rows: int,
        coalitions: int,
        gap: float,
    ) -> GlobalAttributions:
        by_class = np.abs(attributions.values).mean(axis=0)
        means = by_class.mean(axis=1)
        order = np.argsort(-means, kind="stable")
        return cls(
            digest=digest,
            rows=len(attributions.values),
            background_rows=background_rows,
            coalitions=coalitions,
            base=None if classes else float(attributions.base[0]),
            mean_absolute=tuple((names[place], float(means[place])) for place in order),
            classes=tuple(
                ClassAttributions(
                    name=str(label),
                    base=float(attributions.base[place]),
                    mean_absolute=tuple(by_class[order, place].tolist()),
                )
                for place, label in enumerate(classes)
            ),
            gap=gap,
        )
