"""Newest mature labelled answers of a model, with what the trained weights and the champion answer to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from perennial.core.monitoring.dependence import clusters
from perennial.core.monitoring.worth.prospects import LATEST
from perennial.core.spec import ModelSpec
from perennial.core.training.examples import Examples
from perennial.errors import NotRecalibrable
from perennial.flows.evaluation.answer_again import answer_again
from perennial.flows.evaluation.offline_features import OfflineSource, logged_slices
from perennial.flows.evaluation.served_features import served_features
from perennial.flows.feedback.labelled_answers import labelled_answers
from perennial.flows.monitoring.prospects import look_back
from perennial.flows.training.package import version_features
from perennial.ports import FeedbackStore, PredictionLog, Scorer


@dataclass(frozen=True)
class LabelledAnswers:
    """Labelled requests in order of time, n rows."""

    features: np.ndarray
    """float32 [n, features], as served, in the order of the weights' inputs."""
    label: np.ndarray
    """float [n]."""
    group: np.ndarray
    """int [n], rising: rows of a request have the same."""
    request: np.ndarray
    """str [n]."""
    trained: np.ndarray
    """Answers of the trained weights, [n] or [n, k]."""
    champion: np.ndarray
    """Answers of the champion."""
    slices: dict[str, np.ndarray]
    """Columns of `evaluation.slices` that the log has, [n] each."""

    @property
    def later(self) -> np.ndarray:
        """Return whether each row judges, bool [n]; the earlier ones fit. A request is on one side only."""
        return np.asarray(self.group >= np.ceil((1 - LATEST) * (self.group.max(initial=-1) + 1)))

    def examples(self, chosen: np.ndarray, target: np.ndarray) -> Examples:
        """Return chosen rows with their targets, [n], for an evaluation."""
        return Examples(self.features[chosen], target[chosen].astype(np.float32), self.group[chosen])


def read_labelled(
    spec: ModelSpec,
    weights: Path,
    champion: Path,
    predictions: PredictionLog,
    feedback: FeedbackStore,
    scorer: Scorer,
    offline: OfflineSource,
    now: datetime,
) -> LabelledAnswers:
    """Return the newest mature labelled answers, whichever version gave them; both versions answer them again.

    A prediction is mature when `monitoring.label_delay` is over: before, those with quick labels stand for all.

    Args:
        weights, champion: folders with the files of these versions.

    Raises:
        NotRecalibrable: there are fewer than `recalibration.fewest_labels`.
        ModelFileError, ShapeError, WrongAnswer: a version cannot be scored.
    """
    policy = spec.recalibration
    known = labelled_answers(spec, None, look_back(now), predictions, feedback)
    mature = known["at"] <= now - (spec.monitoring.label_delay or timedelta(0))
    known = known[mature].tail(policy.rows).reset_index(drop=True)
    _refuse_few(spec, len(known))
    base, live = (answer_again(spec, files, known, scorer, offline) for files in (weights, champion))
    places = np.intersect1d(base.places, live.places)
    _refuse_few(spec, len(places))
    rows = known.iloc[places].reset_index(drop=True)
    values = served_features(version_features(spec, weights), rows, offline).values
    request = rows["request"].to_numpy(dtype=str)
    return LabelledAnswers(
        features=np.ascontiguousarray(values, dtype=np.float32),
        label=rows["value"].to_numpy(dtype=float),
        group=clusters(request),
        request=request,
        trained=base.answers[np.isin(base.places, places)],
        champion=live.answers[np.isin(live.places, places)],
        slices=logged_slices(rows, spec.evaluation.slices),
    )


def _refuse_few(spec: ModelSpec, labels: int) -> None:
    if labels < spec.recalibration.fewest_labels:
        raise NotRecalibrable(
            f"{labels} mature labelled answers of {spec.name} that both versions can give again, "
            f"{spec.recalibration.fewest_labels} are needed",
            hint="wait for labels, or lower recalibration.fewest_labels in its spec",
        )
