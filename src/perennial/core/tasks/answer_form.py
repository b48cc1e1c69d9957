"""Shape and validity of the answers of a kind of task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from perennial.core.frozen import Frozen
from perennial.core.tasks.values import Label
from perennial.errors import WrongAnswer


class AnswerForm(Frozen, ABC):
    """Form of the answers of a kind, and the refusal of others."""

    output: ClassVar[str]
    """Name of the output in the ONNX file."""
    valid: ClassVar[str]
    """Valid answer in words."""
    explained: ClassVar[str]
    """Name of the number that an explanation of an answer is of."""

    @abstractmethod
    def invalid(self, answer: np.ndarray) -> np.ndarray:
        """Return the rows whose answer is not valid, bool [n], of an answer of the right shape."""

    def width(self) -> int | None:
        """Return the number of columns of an answer; None for one number per row."""
        return None

    @property
    def truths(self) -> tuple[str, ...]:
        """Return the names of what a label can say, in the order of the decisions; none where it is a number."""
        return ()

    def truth(self, label: np.ndarray) -> np.ndarray:
        """Return the place of each label among `truths`, int [n]."""
        raise ValueError("a label of this kind is a number")

    @property
    def explained_classes(self) -> tuple[Label, ...]:
        """Return the classes of which an explanation names one; none where an answer has one number to explain."""
        return ()

    def explained_numbers(self, answer: np.ndarray) -> np.ndarray:
        """Return the numbers of each answer that can be explained, [n, k]: one of each explained class, or one."""
        return np.reshape(answer, (len(answer), -1))

    @property
    def shape(self) -> str:
        """Return the shape of the output in words."""
        return "[batch]" if self.width() is None else f"[batch, {self.width()}]"

    def wrong_rows(self, answer: np.ndarray, rows: int) -> np.ndarray:
        """Return the numbers of the rows whose answer is not valid.

        Raises:
            WrongAnswer: the shape is not that of this kind.
        """
        width = self.width()
        shape = (rows,) if width is None else (rows, width)
        if np.shape(answer) != shape:
            raise WrongAnswer(
                f"the answers have the shape {list(np.shape(answer))}, not {list(shape)}",
                hint=f"a model must give {self.valid}",
            )
        with np.errstate(invalid="ignore"):  # infinities of opposite sign
            return np.flatnonzero(self.invalid(np.asarray(answer, dtype=float)))

    def checked(self, answer: np.ndarray, rows: int) -> np.ndarray:
        """Return the answers as float64.

        Raises:
            WrongAnswer: shape or values are not those of this kind; names the first row.
        """
        values, bad = np.asarray(answer, dtype=float), self.wrong_rows(answer, rows)
        if len(bad):
            raise WrongAnswer(
                f"{len(bad)} of {rows} answers are not valid; row {bad[0]}: {values[bad[0]].tolist()}",
                hint=f"a model must give {self.valid} for missing features too",
            )
        return values
