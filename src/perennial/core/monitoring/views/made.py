"""The view of a name that `monitoring.columns` may have beside columns."""

from __future__ import annotations

import numpy as np

from perennial.core.input_spec import EMBEDDING
from perennial.core.monitoring.views.embedding import components
from perennial.core.monitoring.views.vocabulary import surprises


def made(
    name: str, reference: np.ndarray, cluster: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the view of each row of both, float [n, k] and [m, k].

    Args:
        name: as `FeatureSpec.viewed` knows it.
        reference, window: its columns, float [n, columns] and [m, columns]; NaN where missing.
        cluster: int [n], the group of each reference row, numbered from 0.
    """
    if name.endswith(EMBEDDING):
        return components(reference, window)
    known, seen = surprises(reference, cluster, window)
    return known[:, None], seen[:, None]
