"""The parts of a spec that follow from its target: the task, and what a model must reach to beat no learning."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.core.training.drafts.table_columns import ColumnSummary
from perennial.core.training.drafts.table_profile import TableProfile

LEVEL, ROWS_OF_INTERVAL = 0.9, 200
"""Interval of the answers of a regression, and fewest rows from which it can be measured."""


@dataclass(frozen=True)
class Thresholds:
    """Values of the gate that follow from the target: what an answer without learning reaches."""

    task: str
    metrics: str
    improvement: str
    tolerance: str
    epochs: int


def quote(value: Any) -> str:
    """Return a value as YAML on one line: JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)


def rounded(value: float) -> float:
    """Return three significant digits."""
    return float(f"{value:.3g}")


def thresholds(unit: str, profile: TableProfile) -> Thresholds:
    """Return the part of the spec that depends on the kind of task."""
    target = profile.target
    epochs = 60 if profile.rows < 50_000 else 20
    if profile.task == "regression":
        deviation = target.deviation or 1.0
        interval = covered = ""
        if profile.rows >= ROWS_OF_INTERVAL:
            interval = f"\n  interval: {LEVEL}  # chance that the interval of an answer holds the value"
            covered = f"\n    coverage: {{min: {rounded(LEVEL - 0.15)}}}  # share of values in the intervals"
        return Thresholds(
            task=(
                "task:\n  kind: regression\n"
                f"  unit: {quote(unit)}\n"
                f"  tolerance: {rounded(deviation / 2)}  # an answer this near to the label counts as right"
                f"{interval}"
            ),
            metrics=(
                f"    rmse: {{max: {rounded(deviation)}}}  # the target's standard deviation\n"
                f"    r2: {{min: 0.05}}{covered}"
            ),
            improvement=f"{{metric: rmse, min_delta: {-rounded(0.02 * deviation)}}}",
            tolerance=f"{{rmse: {rounded(0.01 * deviation)}}}",
            epochs=epochs,
        )
    shares = np.array(_counts(target, profile), dtype=float) / profile.rows
    if profile.task == "binary":
        negative, positive = profile.labels
        return Thresholds(
            task=(
                f"task: {{kind: binary, positive: {quote(positive)}, negative: {quote(negative)}, threshold: 0.5}}"
            ),
            metrics=(
                f"    roc_auc: {{min: 0.6}}\n    brier: {{max: {rounded(float(shares[0] * shares[1]))}}}"
                "  # that of the share of positive rows"
            ),
            improvement="{metric: roc_auc, min_delta: -0.02}",
            tolerance="{roc_auc: 0.005, brier: 0.005}",
            epochs=epochs,
        )
    entropy = float(-(shares * np.log(shares)).sum())
    return Thresholds(
        task=f"task: {{kind: multiclass, classes: {quote(list(profile.labels))}}}",
        metrics=(
            f"    log_loss: {{max: {rounded(entropy)}}}  # that of the class frequencies\n"
            f"    accuracy: {{min: {rounded(float(shares.max()))}}}  # that of the most frequent class"
        ),
        improvement="{metric: log_loss, min_delta: -0.05}",
        tolerance="{log_loss: 0.02, accuracy: 0.01}",
        epochs=epochs,
    )


def _counts(target: ColumnSummary, profile: TableProfile) -> list[int]:
    by_label = dict(zip(target.labels(), target.counts, strict=True))
    return [by_label[label] for label in profile.labels]


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
