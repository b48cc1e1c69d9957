"""Calibrations: maps of the answers of trained weights, fitted to labels that came later, and bounded for every input.

Scores: slope and shift of the log-odds (J. Platt, "Probabilistic outputs for support vector machines", 1999, with his
targets). Probabilities of classes: temperature and a shift of each log-probability (A. Alexandari, A. Kundaje,
A. Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label shift adaptation", ICML
2020). Numbers: an offset, the median of the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used
from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.tasks import Task
from perennial.core.tasks.multiclass import Multiclass
from perennial.core.tasks.regression import Regression
from perennial.core.tasks.score import ScoreTask

SMALLEST = 2.0**-20
"""Probabilities are kept this far from 0 before a logarithm."""
GREATEST = 1 - 2.0**-12
"""Scores above have these log-odds. Near 1 float32 has steps of 2**-24: the last digit, which differs with the rows of
a request, would move a calibrated answer by more than an explanation may miss it."""
SLOPES = (0.2, 5.0)
SHIFTS = (-10.0, 10.0)
FLAT = 1e-30
"""Stands for a change of zero as a divisor."""


class Form(StrEnum):
    """Form of the answers that a calibration maps."""

    SCORE = "score"
    CLASSES = "classes"
    NUMBER = "number"


class Calibration(Frozen):
    """A map of answers; `largest` bounds it in the model file itself, so for every input that may come."""

    form: Form
    slope: float = Field(1.0, gt=0)
    shift: tuple[float, ...] = Field(
        min_length=1, description="of the log-odds, of each class, of the number"
    )
    largest: float = Field(
        gt=0, description="largest change: of a probability, else in the unit of the target"
    )

    def apply(self, answer: np.ndarray) -> np.ndarray:
        """Return the calibrated answers, float64 with the shape of `answer`; order and valid answers stay."""
        answer = np.asarray(answer, dtype=float)
        if self.form is Form.NUMBER:
            return answer + self.shift[0]
        if self.form is Form.SCORE:
            wanted = scipy.special.expit(self.slope * _log_odds(answer) + self.shift[0])
            moved = np.clip(wanted - np.clip(answer, SMALLEST, GREATEST), -self.largest, self.largest)
            return np.asarray(
                np.clip(answer + moved, 0.0, 1.0)
            )  # beyond the ends the order of the answers stays
        moved = scipy.special.softmax(self.slope * _logs(answer) + np.array(self.shift), axis=1) - answer
        distance = np.abs(moved).sum(axis=1, keepdims=True) / 2
        return np.asarray(answer + moved * np.minimum(1.0, self.largest / np.maximum(distance, FLAT)))

    def __str__(self) -> str:
        shift = ", ".join(f"{value:+.4g}" for value in self.shift)
        if self.form is Form.NUMBER:
            return f"offset {shift}"
        where = "log-odds" if self.form is Form.SCORE else "log-probabilities"
        return f"{where} x {self.slope:.4g} and {shift}, at most {self.largest:g} from the trained answer"


def form_of(task: Task) -> Form | None:
    """Return the form of a task's answers; None for a kind that has no calibration here."""
    if isinstance(task, ScoreTask):
        return Form.SCORE
    if isinstance(task, Multiclass):
        return Form.CLASSES
    return Form.NUMBER if isinstance(task, Regression) else None


def fit(form: Form, answer: np.ndarray, target: np.ndarray, largest: float) -> Calibration:
    """Fit a calibration to labelled answers.

    Args:
        answer: of the trained weights, float [n] or [n, k].
        target: labels, [n]: from 0 to 1, the place of a class, or a number.
        largest: in the unit of `Calibration.largest`.
    """
    if form is Form.NUMBER:
        offset = float(np.clip(np.median(target - np.asarray(answer, dtype=float)), -largest, largest))
        return Calibration(form=form, shift=(offset,), largest=largest)
    if form is Form.SCORE:
        slope, shift = _fit_score(_log_odds(answer), np.asarray(target, dtype=float))
        return Calibration(form=form, slope=slope, shift=(shift,), largest=largest)
    slope, *shifts = _fit_classes(_logs(answer), np.asarray(target, dtype=int))
    return Calibration(form=form, slope=slope, shift=tuple(shifts), largest=largest)


def losses(form: Form, answer: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return a proper loss of each answer, float [n]: the log loss of probabilities, the absolute error of numbers."""
    answer, target = np.asarray(answer, dtype=float), np.asarray(target, dtype=float)
    if form is Form.NUMBER:
        return np.asarray(np.abs(answer - target))
    if form is Form.SCORE:
        known = np.clip(answer, SMALLEST, 1 - SMALLEST)
        return np.asarray(-(target * np.log(known) + (1 - target) * np.log1p(-known)))
    return np.asarray(-_logs(answer)[np.arange(len(target)), target.astype(int)])


def _log_odds(score: np.ndarray) -> np.ndarray:
    known = np.clip(np.asarray(score, dtype=float), SMALLEST, GREATEST)
    return np.asarray(np.log(known / (1 - known)))


def _logs(probabilities: np.ndarray) -> np.ndarray:
    return np.asarray(np.log(np.clip(np.asarray(probabilities, dtype=float), SMALLEST, 1.0)))


def _fit_score(odds: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return slope and shift of the largest likelihood of Platt's targets, which no label makes certain."""
    positive = float(target.sum())
    high, low = (positive + 1) / (positive + 2), 1 / (len(target) - positive + 2)
    wanted = target * high + (1 - target) * low

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        raw = parameters[0] * odds + parameters[1]
        off = scipy.special.expit(raw) - wanted
        return float((np.logaddexp(0.0, raw) - wanted * raw).mean()), np.array(
            [(off * odds).mean(), off.mean()]
        )

    slope, shift = _smallest(loss, 1)
    return slope, shift


def _fit_classes(logs: np.ndarray, target: np.ndarray) -> list[float]:
    """Return slope and shifts of the largest likelihood; a class without labels keeps its shift near zero."""
    count, classes = logs.shape
    truth = np.zeros((count, classes))
    truth[np.arange(count), target] = 1.0

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        raw = parameters[0] * logs + parameters[1:]
        chance = scipy.special.log_softmax(raw, axis=1)
        off = (np.exp(chance) - truth) / count
        ridge = parameters[1:] / count
        value = -float((chance * truth).sum() / count) + float(parameters[1:] @ ridge) / 2
        return value, np.array([(off * logs).sum(), *(off.sum(axis=0) + ridge)])

    return _smallest(loss, classes)


def _smallest(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], shifts: int) -> list[float]:
    """Return slope and shifts of the smallest convex loss; `loss` returns its value and gradient."""
    bounds = [SLOPES, *[SHIFTS] * shifts]
    result = scipy.optimize.minimize(loss, [1.0, *[0.0] * shifts], jac=True, method="L-BFGS-B", bounds=bounds)
    parameters: list[float] = result.x.tolist()
    return parameters
