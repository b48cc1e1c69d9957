"""Fake of Explain: what each feature adds when they become known one after the other, in their order.

One of the paths that Shapley values are the mean of, so it adds up to the score as they do, at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from perennial.core.training.attribution import Attributions


def one_path(
    score: Callable[[np.ndarray], np.ndarray],
    background: np.ndarray,
    rows: np.ndarray,
    coalitions: int,
    seed: int,
    together: Sequence[Sequence[int]] | None = None,
) -> Attributions:
    base = score(background).astype(float).mean(axis=0)
    values = []
    for row in rows:
        known, means = np.array(background), [base]
        for places in together or [[place] for place in range(len(row))]:
            known[:, places] = row[places]
            means.append(score(known).astype(float).mean(axis=0))
        values.append(np.diff(means, axis=0))
    return Attributions(base, np.array(values))
