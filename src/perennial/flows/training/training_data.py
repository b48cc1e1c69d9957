"""The data of a training: the joined rows of a validated revision, split in time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.data_spec import RollingSpec, RowsSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.data import DataRevision, Validation
from perennial.core.training.examples import Examples, first_later_group
from perennial.errors import DataError, ValidationFailed
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
    origins: tuple[int, ...] = ()
    """First group of each later block of validation rows, of a rolling split."""
    window: int | None = None
    """Groups before an origin that train; None: all."""

    @property
    def folds(self) -> list[tuple[Examples, Examples]]:
        """Rows to learn from and rows to judge by, of each origin; one pair but for a rolling split."""
        bounds = (self.validation_from, *self.origins, self.calibration_from)
        return [(self._before(start), self._between(start, end)) for start, end in itertools.pairwise(bounds)]

    @property
    def learn(self) -> Examples:
        return self._before(self.validation_from)

    @property
    def validation(self) -> Examples:
        return self._between(self.validation_from, self.calibration_from)

    @property
    def training(self) -> Examples:
        return self._before(self.calibration_from)

    @property
    def calibration(self) -> Examples:
        return self._between(self.calibration_from, self.holdout_from)

    def _before(self, origin: int) -> Examples:
        """Return the rows before an origin that train."""
        group = self.everything.group
        first = group.min() if self.window is None else origin - self.window
        return self.everything.where((group >= first) & (group < origin))

    def _between(self, start: int, end: int) -> Examples:
        group = self.everything.group
        return self.everything.where((group >= start) & (group < end))

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
    return split_at(spec, everything, first_later_group(everything.group, fraction))


def split_at(spec: ModelSpec, everything: Examples, holdout: int) -> TimeSplit:
    """Split the rows before a holdout, as the training with that holdout did; `holdout` is its first group."""
    training = everything.group[everything.group < holdout]
    calibration = calibration_from(spec, training, holdout)
    learnt = training[training < calibration]
    validation = first_later_group(learnt, 1 - spec.tuning.validation_fraction)
    rolling = _rolling(spec)
    if rolling is None:
        return TimeSplit(everything, holdout, calibration, validation)
    judged = np.unique(learnt[learnt >= validation])
    if len(judged) < rolling.origins:
        raise DataError(
            f"{len(judged)} groups of validation rows cannot be cut into {rolling.origins} blocks",
            hint="lower data.source.rolling.origins, raise tuning.validation_fraction, or bring more data",
        )
    starts = [int(block[0]) for block in np.array_split(judged, rolling.origins)]
    split = TimeSplit(everything, holdout, calibration, starts[0], tuple(starts[1:]), rolling.window)
    if not all(len(learn) for learn, _ in split.folds) or not len(split.training):
        raise DataError(
            f"no row lies within the {rolling.window} groups before an origin",
            hint="raise data.source.rolling.window",
        )
    return split


def training_rows(spec: ModelSpec, everything: Examples, holdout_from: int) -> Examples:
    """Return the rows that the final model of a split with this holdout is fitted to."""
    before = everything.group[everything.group < holdout_from]
    until = calibration_from(spec, before, holdout_from)
    rolling = _rolling(spec)
    window = None if rolling is None else rolling.window
    return TimeSplit(everything, holdout_from, until, until, window=window).training


def _rolling(spec: ModelSpec) -> RollingSpec | None:
    source = spec.data.source
    return source.rolling if isinstance(source, RowsSpec) else None


def calibration_from(spec: ModelSpec, group: np.ndarray, holdout_from: int) -> int:
    """Return the first group that is kept for calibration; `holdout_from` where nothing is calibrated.

    Args:
        group: groups of the rows before the holdout.
    """
    if not spec.task.needs_calibration:
        return holdout_from
    return first_later_group(group, 1 - spec.tuning.validation_fraction)
