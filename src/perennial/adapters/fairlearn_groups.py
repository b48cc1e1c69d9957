"""GroupFigures port over Fairlearn's `MetricFrame`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from fairlearn.metrics import MetricFrame, false_negative_rate, false_positive_rate, selection_rate
from sklearn.metrics import zero_one_loss

from perennial.core.evaluation.fairness import Answers
from perennial.core.gate_spec import GroupMeasure

METRICS: dict[GroupMeasure, Callable[..., Any]] = {
    GroupMeasure.ERROR_RATE: zero_one_loss,
    GroupMeasure.SELECTION_RATE: selection_rate,
    GroupMeasure.FALSE_POSITIVE_RATE: false_positive_rate,
    GroupMeasure.FALSE_NEGATIVE_RATE: false_negative_rate,
}


def group_figures(answers: Answers, measure: GroupMeasure) -> dict[str, float]:
    """Return the measure of each group, by the name of the group."""
    frame = MetricFrame(
        metrics=METRICS[measure],
        y_true=answers.target.astype(np.int8),
        y_pred=answers.answer.astype(np.int8),
        sensitive_features=answers.values,
    )
    return {str(name): float(figure) for name, figure in frame.by_group.items()}
