"""Let a version answer logged predictions again, from the feature values as served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.evaluation.served_features import served_features
from perennial.flows.training.package import version_features, version_task
from perennial.ports import Scorer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class AnsweredAgain:
    """Answers of a version to logged predictions."""

    task: Task
    """Of the version, with what its training has measured."""
    places: np.ndarray
    """int [m], ascending: rows of the log that it could answer."""
    answers: np.ndarray
    """float [m] or [m, k], all valid."""


def answer_again(
    spec: ModelSpec, files: Path, log: pd.DataFrame, scorer: Scorer, offline: OfflineSource
) -> AnsweredAgain:
    """Score logged predictions with the files of a version.

    Rows that lack a feature which cannot be recomputed, and rows with an answer that its task does not allow, are left
    out.

    Args:
        log: as returned by `ports.PredictionLog.read`, index 0 .. n-1.

    Raises:
        ModelFileError, ShapeError, WrongAnswer: the version cannot be scored.
    """
    task, asked = version_task(files), served_features(version_features(spec, files), log, offline)
    places = np.flatnonzero(asked.usable)
    width = task.width()
    if len(places) == 0:
        return AnsweredAgain(task, places, np.zeros(0 if width is None else (0, width)))
    inputs = np.ascontiguousarray(asked.values[places], dtype=np.float32)
    answers = np.asarray(scorer.score(files, inputs), dtype=float)
    sound = np.ones(len(places), dtype=bool)
    sound[task.wrong_rows(answers, len(places))] = False  # refuses another shape
    return AnsweredAgain(task, places[sound], answers[sound])
