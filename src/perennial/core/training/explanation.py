"""Explanation settings and background rows that a version carries to the servers.

NumPy is imported inside the methods: an emergency rollback imports this module and must start fast.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field, PositiveInt

from perennial.core.frozen import Frozen

if TYPE_CHECKING:
    import numpy as np


class ServedExplanation(Frozen):
    """Settings in the manifest with which a server explains a version."""

    background: str = Field("background.json", description="file beside the model")
    background_digest: str = Field(description="SHA-256 of that file (hex)")
    coalitions: PositiveInt = Field(description="most sets of known features to score per row")
    max_rows: PositiveInt = Field(description="most rows to explain per request")
    tolerance: float = Field(gt=0, description="largest distance of base + attributions from the score")
    seed: int = Field(description="seed of the drawn sets: the same row gets the same explanation")


class Background(Frozen):
    """Usual rows: a feature outside a coalition takes its values from them."""

    features: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...] = Field(min_length=1, description="null for a missing value")

    @classmethod
    def drawn(cls, names: Sequence[str], features: np.ndarray, size: int, seed: int) -> Background:
        """Draw at most `size` rows of float32 [n, features] at random, without repetition."""
        import numpy as np

        chosen = np.random.default_rng(seed).permutation(len(features))[:size]
        rows = features[np.sort(chosen)].astype(float).tolist()
        return cls(
            features=tuple(names),
            rows=tuple(tuple(None if math.isnan(value) else value for value in row) for row in rows),
        )

    def values(self) -> np.ndarray:
        """Return the rows as float32 [rows, features], NaN for a missing value."""
        import numpy as np

        return np.array(self.rows, dtype=np.float32)
