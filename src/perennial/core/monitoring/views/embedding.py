"""Many columns that mean something together only, such as pixels or counts of n-grams, as a few numbers for each row.

The principal components of the ranks (Hotelling 1933; of counts of words this is latent semantic analysis, Deerwester
et al. 1990): the directions in which the rows differ most, whatever the units and however far an outlier lies. They are
computed from reference and window together, anew at each look. Nothing is stored with the version, and no row is
projected by a fit that saw the other sample only: blocks may change places between both, as the test assumes.
"""

from __future__ import annotations

import numpy as np
import scipy  # loads its parts when they are first used

COMPONENTS = 8
MOST_COLUMNS = 512
"""More columns are first mixed into so many, at random (Johnson and Lindenstrauss 1984)."""
SEED = 8


def components(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first components of the rows of both, float [n, k] and [m, k], k at most `COMPONENTS`.

    Args:
        reference, window: float [n, columns] and [m, columns]; NaN where missing, which counts as a middle value.
    """
    random, scores = np.random.default_rng(SEED), np.zeros(())
    for start in range(
        0, reference.shape[1], MOST_COLUMNS
    ):  # ranks of all columns at once are a gigabyte of pixels
        part = slice(start, start + MOST_COLUMNS)
        grades = _grades(np.vstack([reference[:, part], window[:, part]]))
        if reference.shape[1] > MOST_COLUMNS:
            grades = grades @ random.normal(size=(grades.shape[1], MOST_COLUMNS))
        scores = scores + grades
    scores -= scores.mean(axis=0)
    _, directions = np.linalg.eigh(scores.T @ scores)
    first = directions[:, ::-1][:, :COMPONENTS]
    largest = np.abs(first).argmax(axis=0)
    found = scores @ (first * np.where(first[largest, np.arange(first.shape[1])] < 0, -1.0, 1.0))
    return found[: len(reference)], found[len(reference) :]


def _grades(pooled: np.ndarray) -> np.ndarray:
    """Return the ranks within each column, from -0.5 to 0.5; 0 where a value is missing."""
    pooled = pooled.astype(np.float32).astype(float)
    known = np.maximum(1, (~np.isnan(pooled)).sum(axis=0))
    ranks = scipy.stats.rankdata(pooled, axis=0, nan_policy="omit")
    return np.where(np.isnan(pooled), 0.0, (ranks - 0.5) / known - 0.5)
