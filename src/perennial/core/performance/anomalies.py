"""Periods whose figures are unlike those of the others, by an isolation forest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np

from perennial.core.performance.figures import Anomaly

FEWEST_PERIODS = 20
"""Below this, being alone is no news."""
LEAST_SCORE = 0.5
"""Score of the forest below which a period is ordinary (Liu, Ting and Zhou 2008)."""
LEAST_DEVIATION = 6.0
"""Robust deviations that one of the figures must have, too: some period is always the most alone. With six heavy-tailed
figures (Student's t, 8 degrees) of 40 periods, 1 report in 25 names an ordinary one."""
NAMED = 3
MAD_TO_SD = 1.4826


def anomalies(
    begins: Sequence[datetime], figures: Mapping[str, Sequence[float | None]], seed: int
) -> tuple[Anomaly, ...]:
    """Return the periods that an isolation forest finds alone, each with the figures that are farthest off.

    Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation Forest", ICDM 2008 (scikit-learn's implementation).

    Args:
        figures: name -> value of each period; None is not known, and counts as the median.
        seed: the same figures and seed give the same result.
    """
    names = [name for name, values in figures.items() if len({v for v in values if v is not None}) > 1]
    if len(begins) < FEWEST_PERIODS or not names:
        return ()
    from sklearn.ensemble import IsolationForest

    deviations = np.stack([_deviations(figures[name]) for name in names], axis=1)
    forest = IsolationForest(random_state=seed).fit(deviations)
    scores = -forest.score_samples(deviations)
    alone = (scores >= LEAST_SCORE) & (np.abs(deviations).max(axis=1) >= LEAST_DEVIATION)
    return tuple(
        Anomaly(
            begin=begins[place],
            score=round(float(scores[place]), 3),
            figures={
                names[column]: round(float(deviations[place, column]), 1)
                for column in np.argsort(-np.abs(deviations[place]))[:NAMED]
                if abs(deviations[place, column]) >= LEAST_DEVIATION
            },
        )
        for place in np.flatnonzero(alone).tolist()
    )


def _deviations(values: Sequence[float | None]) -> np.ndarray:
    """Return the distance from the median in robust standard deviations, float [periods]."""
    known = np.array([np.nan if value is None else value for value in values], dtype=float)
    off = known - np.nanmedian(known)
    spread = MAD_TO_SD * float(np.nanmedian(np.abs(off)))
    # Where most periods have the same figure, the spread of the others counts.
    spread = spread or float(np.nanstd(off)) or 1.0
    return np.asarray(np.nan_to_num(off / spread))
