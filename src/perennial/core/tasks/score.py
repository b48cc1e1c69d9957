"""The base of the kinds whose answer is a score: a number in [0, 1], positive from a threshold on."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from perennial.core.frozen import Share
from perennial.core.tasks.task import Task
from perennial.core.tasks.values import without_gaps
from perennial.errors import DataError

POSITIVE = 0.5
"""Targets and labels from this value on are positive (failures)."""

FEW = 8
"""Scores up to which a loop is faster than NumPy."""


class ScoreTask(Task):
    """A kind whose answer is a score in [0, 1]."""

    output: ClassVar[str] = "score"
    explained: ClassVar[str] = "score"
    valid: ClassVar[str] = "a number in [0, 1]"
    has_positive: ClassVar[bool] = True
    one_number: ClassVar[bool] = True
    fairness: ClassVar[frozenset[str]] = frozenset(
        {"error_rate", "selection_rate", "false_positive_rate", "false_negative_rate"}
    )

    threshold: Share = Field(description="score from which the answer is positive")

    def invalid(self, answer: np.ndarray) -> np.ndarray:
        return np.asarray(~((answer >= 0) & (answer <= 1)))

    def decisions(self, answer: np.ndarray) -> np.ndarray:
        """Return 1 at or above the threshold."""
        return (np.asarray(answer) >= self.threshold).astype(np.int64)

    def decided(self, answer: np.ndarray) -> list[int]:
        """Return the decisions; for few scores of a model without NumPy's comparison, which costs more than they do."""
        if answer.dtype == np.float32 and len(answer) <= FEW:
            threshold = self._rounded_threshold
            return [1 if score >= threshold else 0 for score in answer.tolist()]
        return super().decided(answer)

    @cached_property
    def _rounded_threshold(self) -> float:
        """Return the threshold as NumPy compares float32 with it."""
        return float(np.float32(self.threshold))

    def right(
        self,
        summary: np.ndarray,
        decision: np.ndarray,
        label: np.ndarray,
        answer: np.ndarray | None = None,
    ) -> np.ndarray:
        return np.asarray(decision == (label >= POSITIVE), dtype=float)

    @property
    def truths(self) -> tuple[str, ...]:
        return "negative", "positive"

    def truth(self, label: np.ndarray) -> np.ndarray:
        return np.asarray(label >= POSITIVE, dtype=np.int64)

    def sides(
        self, summary: np.ndarray, decision: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        return np.asarray(label >= POSITIVE), np.asarray(decision == 1)

    def baselines(
        self,
        target: np.ndarray,
        rows: int,
        known: np.ndarray | None = None,
        judged: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        return {}

    def from_feature(self, column: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return a rate or a flag in [0, 1] as a score; missing values rank neither first nor last."""
        score = without_gaps(column, known)
        if score.min() < 0 or score.max() > 1:
            raise DataError(
                f"a baseline's feature reaches from {score.min():g} to {score.max():g}: it is no rate",
                hint="name features within 0..1 under evaluation.baselines of the spec",
            )
        return score

    def rule(self, column: str) -> str:
        return f"A score from {self.threshold:g} on is answered as positive ({column})."

    def fields(self, answer: np.ndarray) -> list[dict[str, Any]]:
        pairs = zip(answer, self.decided(answer), strict=True)
        return [{"score": score, "decision": decision} for score, decision in pairs]

    def columns(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        return {"score": answer, "decision": self.decisions(answer)}

    def derived(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return the decision."""
        return {"decision": self.decisions(answer)}
