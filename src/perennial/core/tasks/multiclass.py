"""Multiclass classification: a probability for each of several classes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from perennial.core.tasks.ranked_scores import SMALLEST
from perennial.core.tasks.task import Scored, Task
from perennial.core.tasks.values import Label, Metric, plain
from perennial.errors import DataError

ROUNDING = 1e-3
"""Largest distance of the sum of a row of float32 probabilities from 1."""
ODD = re.compile(r"[^\w.-]+")
"""Characters that MLflow does not take in the name of a metric."""


class Multiclass(Task):
    """One of several classes; the answer is a probability for each, in the order of `classes`."""

    kind: Literal["multiclass"] = "multiclass"
    output: ClassVar[str] = "probabilities"
    explained: ClassVar[str] = "probability"
    valid: ClassVar[str] = "a probability for each class of `task.classes`, in that order, with the sum 1"
    has_positive: ClassVar[bool] = False
    one_number: ClassVar[bool] = False
    fairness: ClassVar[frozenset[str]] = frozenset({"error_rate"})

    classes: Annotated[tuple[Label, ...], Field(min_length=2)] = Field(
        description="values of the target, in the order of the probabilities"
    )

    @model_validator(mode="after")
    def different(self) -> Self:
        labels = [plain(label) for label in self.classes]
        twice = sorted({str(label) for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"classes has {', '.join(twice)} twice")
        return self

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """Return log loss, macro F1, accuracy, and the recall of each class that has rows."""
        recalls = {name: Metric(required=False) for name in self.recall_names}
        return {
            "log_loss": Metric(lower_is_better=True),
            "macro_f1": Metric(),
            "accuracy": Metric(),
            **recalls,
        }

    @property
    def recall_names(self) -> tuple[str, ...]:
        names = [f"recall_{ODD.sub('_', str(label))}" for label in self.classes]
        return tuple(
            name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)
        )

    @property
    def labels(self) -> tuple[Label, ...]:
        return self.classes

    @property
    def explained_classes(self) -> tuple[Label, ...]:
        return self.classes

    def valid_label(self) -> str:
        return f"one of {', '.join(map(repr, self.classes))}"

    def label(self, value: Any) -> float | None:
        known = plain(value)
        places = (place for place, label in enumerate(self.classes) if plain(label) == known)
        return None if known is None else next(map(float, places), None)

    def targets(self, values: np.ndarray, column: str) -> np.ndarray:
        """Return the place of each class, float32 [n]."""
        return super().targets(values, column)

    def width(self) -> int:
        return len(self.classes)

    def invalid(self, answer: np.ndarray) -> np.ndarray:
        inside = ((answer >= -ROUNDING) & (answer <= 1 + ROUNDING)).all(axis=1)
        return np.asarray(~(inside & (np.abs(answer.sum(axis=1) - 1) <= ROUNDING)))

    def summary(self, answer: np.ndarray) -> np.ndarray:
        """Return the highest probability of each row."""
        return np.asarray(answer.max(axis=1))

    def valid_summary(self, summary: np.ndarray) -> np.ndarray:
        return np.asarray((summary >= 0) & (summary <= 1 + ROUNDING))

    def decisions(self, answer: np.ndarray) -> np.ndarray:
        """Return the place of the most probable class."""
        return np.asarray(answer.argmax(axis=1), dtype=np.int64)

    def right(
        self,
        summary: np.ndarray,
        decision: np.ndarray,
        label: np.ndarray,
        answer: np.ndarray | None = None,
    ) -> np.ndarray:
        return np.asarray(decision == label, dtype=float)

    @property
    def truths(self) -> tuple[str, ...]:
        return tuple(str(label) for label in self.classes)

    def truth(self, label: np.ndarray) -> np.ndarray:
        return np.asarray(label, dtype=np.int64)

    def change(self, before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
        """Return the total variation distance of the probabilities, in [0, 1]."""
        return np.asarray(np.abs(after - before).sum(axis=1) / 2)

    def baselines(
        self,
        target: np.ndarray,
        rows: int,
        known: np.ndarray | None = None,
        judged: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the class frequencies of the training rows; their decision is the majority class."""
        frequencies = np.bincount(target.astype(int), minlength=len(self.classes)) / len(target)
        return {"class_frequency": np.tile(frequencies, (rows, 1))}

    def from_feature(self, column: np.ndarray, known: np.ndarray) -> np.ndarray:
        raise DataError(
            "a feature is no answer of several probabilities", hint="evaluation.baselines of the spec"
        )

    def rule(self, column: str) -> str:
        return f"The most probable of {len(self.classes)} classes is the answer ({column})."

    def fields(self, answer: np.ndarray) -> list[dict[str, Any]]:
        names = [str(label) for label in self.classes]
        return [
            {"class": self.classes[place], "probabilities": dict(zip(names, row, strict=True))}
            for place, row in zip(self.decisions(answer).tolist(), answer, strict=True)
        ]

    def columns(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        names = [f"probabilities.{label}" for label in self.classes]
        return {
            "class": np.array(self.classes)[self.decisions(answer)],
            **dict(zip(names, answer.T, strict=True)),
        }

    def derived(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return the most probable class, its place among the classes and its probability."""
        places = self.decisions(answer)
        names = np.array([str(label) for label in self.classes])
        return {"class": names[places], "decision": places, "confidence": self.summary(answer)}

    def scored(
        self, target: np.ndarray, answer: np.ndarray, group: np.ndarray, features: np.ndarray | None = None
    ) -> ClassProbabilities:
        return ClassProbabilities(self, target, answer, group)


class ClassProbabilities(Scored):
    """Measured class probabilities: log losses and a confusion matrix for each group."""

    def __init__(self, task: Multiclass, target: np.ndarray, answer: np.ndarray, group: np.ndarray) -> None:
        super().__init__(task, target, answer, group)
        self.task: Multiclass = task
        self._names, size = task.recall_names, len(task.classes)
        actual, decided = self.target.astype(int), task.decisions(self.answer)
        likelihood = np.clip(self.answer[np.arange(len(self)), actual], SMALLEST, 1 - SMALLEST)
        self._log_losses = self._by_group(-np.log(likelihood))
        cells = (self._group * size + actual) * size + decided
        counts = np.bincount(cells, minlength=len(self.groups) * size * size)
        self._confusion = counts.reshape(len(self.groups), size, size).astype(float)

    def confusion(self, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the number of rows by class (rows of the matrix) and decision (columns), [k, k]."""
        return np.asarray(np.tensordot(self._weights(weights), self._confusion, axes=1))

    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        weights = self._weights(weights)
        matrix = self.confusion(weights)
        rows, hits = matrix.sum(), np.diag(matrix)
        actual, decided = matrix.sum(axis=1), matrix.sum(axis=0)
        seen = actual + decided > 0  # as in scikit-learn: the classes that occur in targets or decisions
        recalls = np.divide(hits, actual, out=np.full(len(hits), np.nan), where=actual > 0)
        return {
            "log_loss": float(weights @ self._log_losses / rows),
            "macro_f1": float((2 * hits[seen] / (actual + decided)[seen]).mean()),
            "accuracy": float(hits.sum() / rows),
            **dict(zip(self._names, recalls.tolist(), strict=True)),
        }
