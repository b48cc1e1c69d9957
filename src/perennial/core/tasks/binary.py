"""Binary classification: the probability of the positive one of two labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from perennial.core.tasks.ranked_scores import ScoredProbabilities
from perennial.core.tasks.score import ScoreTask
from perennial.core.tasks.values import Label, Metric, plain


class Binary(ScoreTask):
    """Two labels; the answer is the probability of `positive`."""

    kind: Literal["binary"] = "binary"
    positive: Label = Field(description="value of the target that counts as positive")
    negative: Label = Field(description="the other value of the target")

    @model_validator(mode="after")
    def two_labels(self) -> Self:
        if plain(self.positive) == plain(self.negative):
            raise ValueError(f"positive and negative are both {self.positive!r}")
        return self

    @property
    def metrics(self) -> Mapping[str, Metric]:
        return {
            "roc_auc": Metric(),
            "pr_auc": Metric(),
            "brier": Metric(lower_is_better=True),
            "log_loss": Metric(lower_is_better=True),
            "f1": Metric(),
            "accuracy": Metric(),
        }

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.positive, self.negative

    def valid_label(self) -> str:
        return f"{self.positive!r} (positive) or {self.negative!r}"

    def label(self, value: Any) -> float | None:
        return {plain(self.positive): 1.0, plain(self.negative): 0.0}.get(plain(value))

    def baselines(
        self,
        target: np.ndarray,
        rows: int,
        known: np.ndarray | None = None,
        judged: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the share of positive training rows as the score of every row."""
        return {"class_frequency": np.full(rows, float(np.mean(target)))}

    def scored(
        self, target: np.ndarray, answer: np.ndarray, group: np.ndarray, features: np.ndarray | None = None
    ) -> ScoredProbabilities:
        return ScoredProbabilities(self, target, answer, group, self.threshold)

    def derived(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return the decision, and its label."""
        decisions = self.decisions(answer)
        return {"decision": decisions, "class": np.where(decisions, str(self.positive), str(self.negative))}
