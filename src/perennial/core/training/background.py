"""The rows that explanations measure a score against. Imports numpy when it is asked for them: a manifest
holds them, and an emergency rollback reads manifests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from perennial.core.frozen import Frozen

if TYPE_CHECKING:
    import numpy as np


class Background(Frozen):
    """Rows that stand for what is usual: a feature that is not known yet takes its values from them."""

    features: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...] = Field(min_length=1, description="null for a missing value")

    @classmethod
    def drawn(cls, names: Sequence[str], features: np.ndarray, size: int, seed: int) -> Background:
        """At most `size` rows of float32 [n, features], drawn at random without repetition."""
        import numpy as np

        chosen = np.random.default_rng(seed).permutation(len(features))[:size]
        rows = features[np.sort(chosen)].astype(float).tolist()
        return cls(
            features=tuple(names),
            rows=tuple(tuple(None if math.isnan(one) else one for one in row) for row in rows),
        )

    def values(self) -> np.ndarray:
        """float32 [rows, features], NaN for a missing value."""
        import numpy as np

        return np.array(self.rows, dtype=np.float32)
