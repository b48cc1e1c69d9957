"""Newest mature labelled answers of a model, with what the trained weights and the champion answer to them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from perennial.core.monitoring.dependence import clusters
from perennial.core.monitoring.worth.prospects import LATEST
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.tasks.stored import logged_task
from perennial.core.training.examples import Examples
from perennial.core.training.registration import VersionRecord
from perennial.errors import NotRecalibrable
from perennial.flows.evaluation.answer_again import answer_again
from perennial.flows.evaluation.offline_features import OfflineSource, logged_slices
from perennial.flows.evaluation.served_features import served_features
from perennial.flows.feedback.labelled_answers import labelled_answers
from perennial.flows.monitoring.prospects import look_back
from perennial.flows.recalibration.weights import Weights
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
    champion_task: Task
    """Task of the champion, with what its training has measured."""
    slices: dict[str, np.ndarray]
    """Columns of `evaluation.slices` that the log has, [n] each."""
    unseen: np.ndarray
    """bool [n]: rows of requests that came after the champion was made, so that it was not fitted to them."""

    @property
    def later(self) -> np.ndarray:
        """Return whether each row judges, bool [n]; the others fit. A request is on one side only."""
        newest = self.group >= np.ceil((1 - LATEST) * (self.group.max(initial=-1) + 1))
        return np.asarray(newest & self.unseen)

    def examples(self, chosen: np.ndarray, target: np.ndarray) -> Examples:
        """Return chosen rows with their targets, [n], for an evaluation."""
        return Examples(self.features[chosen], target[chosen].astype(np.float32), self.group[chosen])


def read_labelled(
    spec: ModelSpec,
    weights: Weights,
    champion: VersionRecord,
    files: Path,
    predictions: PredictionLog,
    feedback: FeedbackStore,
    scorer: Scorer,
    offline: OfflineSource,
    now: datetime,
) -> LabelledAnswers:
    """Return the newest mature labelled answers since the training, whichever version gave them.

    Both versions answer them again. Earlier ones are left out, since the weights may have learnt them, and those that
    were answered under another task, since a label of several classes is stored as its place among them. A prediction
    is mature when `monitoring.label_delay` is over: before, those with quick labels stand for all.

    Args:
        files: folder with the files of the champion.

    Raises:
        NotRecalibrable: there are fewer than `recalibration.fewest_labels`, or too few since a recalibrated champion
            was made.
        ModelFileError, ShapeError, WrongAnswer: a version cannot be scored.
    """
    policy = spec.recalibration
    since = max(look_back(now), weights.record.created)
    known = labelled_answers(spec, None, since, predictions, feedback)
    mature = known["at"] <= now - (spec.monitoring.label_delay or timedelta(0))
    known = known[mature & known["task"].isin(_same_tasks(known["task"].unique(), weights.manifest.task))]
    known = known.tail(policy.rows).reset_index(drop=True)
    _refuse_few(spec, len(known), since)
    base, live = (answer_again(spec, folder, known, scorer, offline) for folder in (weights.files, files))
    places = np.intersect1d(base.places, live.places)
    _refuse_few(spec, len(places), since)
    rows = known.iloc[places].reset_index(drop=True)
    values = served_features(version_features(spec, weights.files), rows, offline).values
    request = rows["request"].to_numpy(dtype=str)
    group = clusters(request)
    unseen = group > group[(rows["at"] < champion.created).to_numpy()].max(initial=-1)
    _refuse_seen(spec, champion, int(unseen.sum()))
    return LabelledAnswers(
        features=np.ascontiguousarray(values, dtype=np.float32),
        label=rows["value"].to_numpy(dtype=float),
        group=group,
        request=request,
        trained=base.answers[np.isin(base.places, places)],
        champion=live.answers[np.isin(live.places, places)],
        champion_task=live.task,
        slices=logged_slices(rows, spec.evaluation.slices),
        unseen=unseen,
    )


def _same_tasks(logged: Iterable[str], task: Task) -> list[str]:
    """Return those of the logged tasks, JSON, that are specified as `task` is."""
    return [text for text in logged if logged_task(str(text)).as_specified() == task.as_specified()]


def _refuse_few(spec: ModelSpec, labels: int, since: datetime) -> None:
    if labels < spec.recalibration.fewest_labels:
        raise NotRecalibrable(
            f"{labels} mature labelled answers of {spec.name} under the task of the weights since "
            f"{since:%Y-%m-%d %H:%M} UTC that both versions can give again, {spec.recalibration.fewest_labels} are "
            "needed; the weights may have learnt earlier ones",
            hint="wait for labels, or lower recalibration.fewest_labels in its spec",
        )


def _refuse_seen(spec: ModelSpec, champion: VersionRecord, labels: int) -> None:
    """Refuse fewer unseen rows than those that judge beside a champion that was not recalibrated."""
    needed = math.ceil(LATEST * spec.recalibration.fewest_labels)
    if labels < needed:
        raise NotRecalibrable(
            f"{labels} mature labelled answers of {spec.name} since its recalibrated champion {champion.ref.version} "
            f"was made, {needed} are needed to judge another; the champion was fitted to earlier ones",
            hint="wait for labels, or lower recalibration.fewest_labels in its spec",
        )
