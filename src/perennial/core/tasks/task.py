"""The protocol of a kind of task, and its measured answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from perennial.core.tasks.answer_form import AnswerForm
from perennial.core.tasks.values import Label, Metric
from perennial.core.tasks.windows import Windows
from perennial.errors import DataError, WrongTarget

SHOWN = 5


class Task(AnswerForm):
    """A kind of task with its keys in the spec.

    `answer` is what a model gives for n rows, float [n] or [n, k]; `target` is a target as `targets` returns it,
    float [n]. The log and the reference rows keep two numbers per answer: its `summary` (the number that drifts) and
    its decision.
    """

    kind: str
    has_positive: ClassVar[bool]
    """Labels are positive or not: their share and number can be compared between variants."""
    one_number: ClassVar[bool]
    """The answer is one number per row: it can be compared by behavioural cases and with a feature."""
    is_number: ClassVar[bool] = False
    """The target is a number with a unit, not a label."""
    fairness: ClassVar[frozenset[str]]
    """Measures that can be compared between groups (`core.gate_spec.GroupMeasure`)."""

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, Metric]:
        """Return the metrics by name, in the order to show."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Return the labels that the spec names; none where the data gives them."""
        return ()

    @abstractmethod
    def valid_label(self) -> str:
        """Return in words which values a target and a label may have."""

    @abstractmethod
    def label(self, value: Any) -> float | None:
        """Return a value of the target column, or of a client's label, as a number; None if it is not valid."""

    def valid_vote(self) -> str:
        """Return in words which labels a client may send."""
        return self.valid_label()

    def vote(self, value: Any) -> float | None:
        """Return the label that a client sent as a number; None if it is not valid."""
        return self.label(value)

    @abstractmethod
    def scored(
        self, target: np.ndarray, answer: np.ndarray, group: np.ndarray, features: np.ndarray | None = None
    ) -> Scored:
        """Prepare answers to be measured.

        Args:
            features: [n, features]; a kind whose metrics depend on the inputs of a row needs them.

        Raises:
            DataError: there are no rows, or the lengths differ. WrongAnswer: an answer is not valid.
        """

    @abstractmethod
    def decisions(self, answer: np.ndarray) -> np.ndarray:
        """Return what a caller does with an answer, int [n]; `NO_DECISION` where it is the number itself."""

    def decided(self, answer: np.ndarray) -> list[int]:
        """Return `decisions` as Python's integers."""
        decided: list[int] = self.decisions(answer).tolist()
        return decided

    @abstractmethod
    def right(
        self,
        summary: np.ndarray,
        decision: np.ndarray,
        label: np.ndarray,
        answer: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the share of right in each answer, float [n] in [0, 1], as live quality counts it.

        Args:
            answer: [n, k] of a kind with several numbers per row.
        """

    @abstractmethod
    def baselines(
        self,
        target: np.ndarray,
        rows: int,
        known: np.ndarray | None = None,
        judged: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return answers without learning for `rows` rows, from the training targets.

        Args:
            known: features of the training rows; judged: those of the answered rows. A kind whose baselines repeat
                an input needs both.
        """

    @abstractmethod
    def from_feature(self, column: np.ndarray, known: np.ndarray) -> np.ndarray:
        """Return a feature as an answer; a missing value becomes the mean of `known` (the training rows).

        Raises:
            DataError: the feature is no valid answer, or is missing in all training rows.
        """

    @abstractmethod
    def fields(self, answer: np.ndarray) -> list[dict[str, Any]]:
        """Return each answer as the fields of a prediction in JSON."""

    @abstractmethod
    def columns(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return `fields` as columns, [n] each; a nested field has its path as name, with dots."""

    def derived(self, answer: np.ndarray) -> dict[str, np.ndarray]:
        """Return what follows from each answer, by name: float32 or int64 [n] or [n, k], or texts [n]."""
        return {}

    @abstractmethod
    def rule(self, column: str) -> str:
        """Return in a sentence how an answer becomes a decision about a target column."""

    def losses(self, summary: np.ndarray, label: np.ndarray) -> np.ndarray | None:
        """Return the loss of each answer, float [n] from 0 without an upper end, by which live traffic is judged too.

        None for a kind whose share of right answers says all.
        """
        return None

    @property
    def claimed(self) -> float | None:
        """Return the chance with which the interval of an answer claims to hold its label; None without intervals."""
        return None

    def covered(self, summary: np.ndarray, label: np.ndarray, answer: np.ndarray | None = None) -> np.ndarray:
        """Return whether the interval of each answer holds its label, float [n]; NaN without intervals."""
        return np.full(len(label), np.nan)

    @property
    def windows(self) -> Windows | None:
        """Return how the rows are made from a series; None where a row of the data is an example."""
        return None

    @property
    def answer_tells_right(self) -> bool:
        """Return whether an interval in the answer decides what is right, so that reference rows must keep it."""
        return False

    @property
    def needs_calibration(self) -> bool:
        """Return whether a training holds rows back to calibrate its answers (`calibrated`)."""
        return False

    def calibrated(self, target: np.ndarray, answer: np.ndarray) -> Self:
        """Return the task with what a training measures on rows that the model has not learnt from.

        Raises:
            DataError: there are too few rows.
        """
        return self

    def as_specified(self) -> Self:
        """Return the task without what a training measures."""
        return self

    def sides(
        self, summary: np.ndarray, decision: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return target and answer as positive or not, bool [n], to compare error rates of groups.

        A kind without a positive side counts every target as positive, and the right answers.
        """
        return np.ones(len(label), dtype=bool), self.right(summary, decision, label) > 0

    def summary(self, answer: np.ndarray) -> np.ndarray:
        """Return one number per answer, [n]: the one that drifts, and that disagreements compare."""
        return answer

    def valid_summary(self, summary: np.ndarray) -> np.ndarray:
        """Return whether each logged number can be of a valid answer, bool [n]."""
        return ~self.invalid(summary)

    def differs(
        self, summary: np.ndarray, decision: np.ndarray, other: np.ndarray, other_decision: np.ndarray
    ) -> np.ndarray:
        """Return whether two answers to the same row differ for the caller, bool [n]."""
        changed: np.ndarray = decision != other_decision
        return changed

    def change(self, before: np.ndarray, after: np.ndarray, scale: float) -> np.ndarray:
        """Return how far each answer has moved, [n].

        Args:
            scale: unit of a change, from `scale`.
        """
        moved: np.ndarray = np.abs(after - before)
        return moved

    def scale(self, target: np.ndarray) -> float:
        """Return the unit in which changes of an answer are counted: 1 for probabilities."""
        return 1.0

    def gain(self, metric: str, new: float, old: float) -> float:
        """Return the gain of `new` over `old`; positive is better for every metric."""
        return old - new if self.metrics[metric].lower_is_better else new - old

    def targets(self, values: np.ndarray, column: str) -> np.ndarray:
        """Return the values of the target column as float32 [n].

        Raises:
            WrongTarget: a value is not valid; names row (from 0), column and value.
        """
        numbers = [self.label(value) for value in values.tolist()]
        wrong = [place for place, number in enumerate(numbers) if number is None]
        if wrong:
            shown = ", ".join(f"row {place}: {values[place]!r}" for place in wrong[:SHOWN])
            raise WrongTarget(
                f"{len(wrong)} of {len(numbers)} targets in column {column!r} are not valid: {shown}",
                hint=f"a {self.kind} target is {self.valid_label()}: correct the data, or `task` in the spec",
            )
        return np.array(numbers, dtype=np.float32)


class Scored(ABC):
    """Answers and targets, summed by group once so that a resample costs a single pass.

    Args:
        task: the kind that checks and measures.
        target: [n], as `Task.targets` returns it.
        answer: [n] or [n, k].
        group: [n] integers.
        features: [n, features] of a kind that needs them.

    Raises:
        DataError: the lengths differ, or there are no rows. WrongAnswer: an answer is not valid.
    """

    def __init__(
        self,
        task: Task,
        target: np.ndarray,
        answer: np.ndarray,
        group: np.ndarray,
        features: np.ndarray | None = None,
    ) -> None:
        if not len(target) == len(answer) == len(group):
            raise DataError(f"{len(target)} targets, {len(answer)} scores, {len(group)} groups")
        if len(target) == 0:
            raise DataError("nothing to measure: no rows", hint="choose an earlier first cycle")
        self.task = task
        self.target = np.asarray(target, dtype=float)
        self.answer = task.checked(answer, len(target))
        self.group = np.asarray(group)
        self.features = features
        self.groups, self._group = np.unique(group, return_inverse=True)
        self._rows = np.bincount(self._group)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def score(self) -> np.ndarray:
        """Return one number per answer, [n]."""
        return self.task.summary(self.answer)

    def where(self, chosen: np.ndarray) -> Scored:
        """Return the rows of a mask [n]; it must select at least a row."""
        features = None if self.features is None else self.features[chosen]
        return self.task.scored(self.target[chosen], self.answer[chosen], self.group[chosen], features)

    @abstractmethod
    def measure(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Return every metric of the task; NaN where these rows do not define it.

        Args:
            weights: [groups], how often each group counts.
        """

    def _weights(self, weights: np.ndarray | None) -> np.ndarray:
        return np.ones(len(self.groups)) if weights is None else weights

    def _by_group(self, values: np.ndarray) -> np.ndarray:
        """Return the sum of a value per row in each group, [groups]."""
        return np.bincount(self._group, values)
