"""The data of a training: the joined rows of a validated revision, split in time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.spec import ModelSpec
from perennial.core.training.data import DataRevision, Validation
from perennial.core.training.examples import Examples, first_later_group
from perennial.errors import ValidationFailed
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.prepare import DataSource
from perennial.flows.training.revision import read_revision
from perennial.flows.training.workdir import Workdir, read_record, read_table
from perennial.ports import Features

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_ROWS = 5000
"""Newest holdout rows that the monitor compares with: enough for its bins, few enough for every version."""


@dataclass(frozen=True)
class TimeSplit:
    """Rows to learn from, the later ones of them for validation, and the holdout that comes last.

    Where answers are calibrated, the rows before the holdout are kept for that; nothing learns from them.
    """

    everything: Examples
    holdout_from: int
    calibration_from: int
    """`holdout_from` where nothing is calibrated."""
    validation_from: int

    @property
    def learn(self) -> Examples:
        return self.everything.where(self.everything.group < self.validation_from)

    @property
    def validation(self) -> Examples:
        group = self.everything.group
        return self.everything.where((group >= self.validation_from) & (group < self.calibration_from))

    @property
    def training(self) -> Examples:
        return self.everything.where(self.everything.group < self.calibration_from)

    @property
    def calibration(self) -> Examples:
        group = self.everything.group
        return self.everything.where((group >= self.calibration_from) & (group < self.holdout_from))

    @cached_property
    def reference(self) -> np.ndarray:
        """Row numbers of the newest holdout rows."""
        holdout: np.ndarray = (self.everything.group >= self.holdout_from).nonzero()[0]
        return holdout[-REFERENCE_ROWS:]


@dataclass(frozen=True)
class TrainingData:
    """A validated revision with its rows."""

    revision: DataRevision
    source: str
    """Name of the data's source for people."""
    rows: pd.DataFrame
    """Examples in time order with a float32 column per feature."""
    split: TimeSplit


def load_training_data(spec: ModelSpec, work: Workdir, features: Features, retrain: bool) -> TrainingData:
    """Join the prepared examples of `work` with their features and split them in time.

    Args:
        retrain: the model has a champion already (see `split_rows`).

    Raises:
        DatasetMissing: `prepare` or `validate` has not run.
        ValidationFailed: `validate` has checked another revision, or the tables are not those of the revision.
        DataError: the history is too short to split.
    """
    revision = read_revision(spec, work)
    checked = read_record(work.validation, Validation, "validate")
    if checked.revision != revision.revision:
        raise ValidationFailed(
            f"{work.folder}: checked is the data revision {checked.revision[:12]}, "
            f"prepared is {revision.revision[:12]}",
            hint="run `perennial validate` again",
        )
    source = read_record(work.source, DataSource, "prepare").source
    rows = join(spec, read_table(work.examples, "prepare"), features, work.read_views())
    return TrainingData(revision, source, rows, split_rows(spec, as_examples(spec, rows), retrain))


def split_rows(spec: ModelSpec, everything: Examples, retrain: bool) -> TimeSplit:
    """Split the rows in time; a retraining holds out fewer rows, because it must learn the recent past."""
    evaluation = spec.evaluation
    fraction = evaluation.retrain_train_fraction if retrain else evaluation.train_fraction
    holdout = first_later_group(everything.group, fraction)
    training = everything.group[everything.group < holdout]
    calibration = calibration_from(spec, training, holdout)
    learnt = training[training < calibration]
    validation = first_later_group(learnt, 1 - spec.tuning.validation_fraction)
    return TimeSplit(everything, holdout, calibration, validation)


def calibration_from(spec: ModelSpec, group: np.ndarray, holdout_from: int) -> int:
    """Return the first group that is kept for calibration; `holdout_from` where nothing is calibrated.

    Args:
        group: groups of the rows before the holdout.
    """
    if not spec.task.needs_calibration:
        return holdout_from
    return first_later_group(group, 1 - spec.tuning.validation_fraction)
