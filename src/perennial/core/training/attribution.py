"""Attributions: Shapley values of a score against a background of usual rows.

The attributions of a row and the base (mean score of the background) add up to the score of the row; each
answer is checked for this (`check_complete`). Source: S. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model
Predictions", NeurIPS 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.errors import IncompleteExplanation


@dataclass(frozen=True)
class Attributions:
    """Attributions of some rows, in units of the score."""

    base: float
    """Mean score of the background."""
    values: np.ndarray
    """float64 [rows, features]"""

    def gap(self, scores: np.ndarray) -> float:
        """Return the largest distance of base + attributions from the scores [rows]; NaN if any value is NaN."""
        return float(np.abs(self.base + self.values.sum(axis=1) - scores).max())


def check_complete(attributions: Attributions, scores: np.ndarray, tolerance: float) -> float:
    """Check that attributions add up to the scores within the tolerance; return the gap.

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


class GlobalAttributions(Frozen):
    """Mean absolute attribution of each feature of a version over many rows."""

    digest: str = Field(description="SHA-256 of the explained model file")
    rows: int
    background_rows: int
    coalitions: int
    base: float
    mean_absolute: tuple[tuple[str, float], ...] = Field(
        description="feature and its mean |attribution|, largest first"
    )
    gap: float = Field(description="largest distance of base + attributions from a score")

    @classmethod
    def of(
        cls,
        digest: str,
        names: Sequence[str],
        attributions: Attributions,
        background_rows: int,
        coalitions: int,
        gap: float,
    ) -> GlobalAttributions:
        means = np.abs(attributions.values).mean(axis=0)
        order = np.argsort(-means, kind="stable")
        return cls(
            digest=digest,
            rows=len(attributions.values),
            background_rows=background_rows,
            coalitions=coalitions,
            base=attributions.base,
            mean_absolute=tuple((names[place], float(means[place])) for place in order),
            gap=gap,
        )
