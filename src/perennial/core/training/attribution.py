"""Which feature moved a score by how much: Shapley values of the score against a background of usual rows.

The attributions of a row and the base (mean score of the background) add up to the score of the row; that is
checked for each answer (`complete`). Source: S. Lundberg, S.-I. Lee, "A Unified Approach to Interpreting Model
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
    """Of some rows, in units of the score."""

    base: float
    """Mean score of the background."""
    values: np.ndarray
    """float64 [rows, features]"""

    def gap(self, scores: np.ndarray) -> float:
        """The largest distance of base + attributions from the scores [rows]; NaN if anything is NaN."""
        return float(np.abs(self.base + self.values.sum(axis=1) - scores).max())


def complete(found: Attributions, scores: np.ndarray, tolerance: float) -> float:
    """The gap of attributions that add up to the scores within the tolerance.

    Raises:
        IncompleteExplanation: they do not, or something is not a number.
    """
    gap = found.gap(scores)
    if not gap <= tolerance:  # written so that NaN fails too
        raise IncompleteExplanation(
            f"base and attributions miss the score by {gap:.2g}, more than {tolerance:.2g}",
            hint="this explanation would mislead: look at the inputs for values that make scores jump",
        )
    return gap


class GlobalAttributions(Frozen):
    """How much each feature moves the score of this version, over many rows."""

    digest: str = Field(description="of the explained model file")
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
        found: Attributions,
        background_rows: int,
        coalitions: int,
        gap: float,
    ) -> GlobalAttributions:
        means = np.abs(found.values).mean(axis=0)
        order = np.argsort(-means, kind="stable")
        return cls(
            digest=digest,
            rows=len(found.values),
            background_rows=background_rows,
            coalitions=coalitions,
            base=found.base,
            mean_absolute=tuple((names[place], float(means[place])) for place in order),
            gap=gap,
        )
