"""Estimate the accuracy of a window without its labels, from the reference rows of the version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.drift import DECISION, SCORE
from perennial.core.monitoring.estimated_accuracy import EstimatedAccuracy, estimate_accuracy
from perennial.core.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


def accuracy_estimated(
    spec: ModelSpec, reference: pd.DataFrame, window: pd.DataFrame
) -> EstimatedAccuracy | None:
    """Return the estimate; None for a kind whose answers say nothing of how sure they are, or for too few rows."""
    task = spec.task
    if not task.truths or DECISION not in reference:
        return None
    score, decision = (reference[column].to_numpy(dtype=float) for column in (SCORE, DECISION))
    label = task.targets(reference[spec.target.column].to_numpy(), spec.target.column)
    known = window[[SCORE, DECISION]].dropna()
    return estimate_accuracy(
        score,
        decision,
        np.asarray(task.right(score, decision, label), dtype=float),
        known[SCORE].to_numpy(dtype=float),
        known[DECISION].to_numpy(dtype=float),
        of_positive=task.has_positive,
    )
