"""Evaluate a candidate and today's champion afresh, on labelled requests that came after both trainings.

A registered evaluation compares with the champion of its day. Where another version is champion by now, both answer the
newest labelled requests again, and the gate judges these figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from perennial.core.evaluation.evaluation import CHAMPION, MODEL, evaluate_scores
from perennial.core.monitoring.dependence import clusters
from perennial.core.release.afresh import Afresh
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Scored, Task
from perennial.core.tasks.score import POSITIVE, ScoreTask
from perennial.core.training.registration import VersionRecord
from perennial.errors import DataError
from perennial.flows.evaluation.answer_again import answer_again
from perennial.flows.evaluation.offline_features import OfflineSource, logged_slices
from perennial.flows.feedback.labelled_answers import labelled_answers
from perennial.ports import FeedbackStore, PredictionLog, Registry, Scorer


@dataclass(frozen=True)
class AfreshPorts:
    predictions: PredictionLog
    feedback: FeedbackStore
    registry: Registry
    scorer: Scorer
    offline: OfflineSource


def evaluate_afresh(
    spec: ModelSpec, candidate: VersionRecord, champion: VersionRecord, ports: AfreshPorts
) -> Afresh:
    """Return the figures of the candidate beside the champion on labelled requests since both were registered.

    Both answer each row from the values as served, whoever answered it then. Rows of a request are resampled together.

    Raises:
        UnknownVersion: the registry no longer has one of them.
        ModelFileError, ShapeError, WrongAnswer: one of them cannot be scored.
    """
    since: datetime = max(candidate.created, champion.created)
    known = labelled_answers(spec, None, since, ports.predictions, ports.feedback)
    least = spec.monitoring.min_labels
    if len(known) < least:
        return Afresh(since=since, labels=len(known), needed=least)
    with TemporaryDirectory() as folder:
        new, old = (
            answer_again(
                spec,
                ports.registry.fetch(record.ref, Path(folder) / name),
                known,
                ports.scorer,
                ports.offline,
            )
            for name, record in ((MODEL, candidate), (CHAMPION, champion))
        )
    places = np.intersect1d(new.places, old.places)
    if len(places) < least:
        return Afresh(since=since, labels=len(places), needed=least)
    rows = known.iloc[places].reset_index(drop=True)
    target = rows["value"].to_numpy(dtype=float)
    if isinstance(spec.task, ScoreTask):  # a source that is not sure may have sent a number between 0 and 1
        target = (target >= POSITIVE).astype(float)
    group = clusters(rows["request"].to_numpy(dtype=str))

    def scored(task: Task, at: np.ndarray, answers: np.ndarray) -> Scored:
        comparable = task if task.as_specified() == spec.task else spec.task
        return comparable.scored(target, answers[np.isin(at, places)], group)

    slices = logged_slices(rows, spec.evaluation.slices)
    scores = {
        MODEL: scored(new.task, new.places, new.answers),
        CHAMPION: scored(old.task, old.places, old.answers),
    }
    try:
        evaluation = evaluate_scores(
            candidate.ref.digest, scores, slices, spec.gate.improvement.metric, spec.evaluation.slice_min_rows,
            spec.evaluation.bootstrap, spec.tuning.seed,
        )  # fmt: skip
    except DataError as error:  # all labels are the same: no ranking can be measured
        return Afresh(since=since, labels=len(places), needed=least, note=error.message)
    return Afresh(since=since, labels=len(places), needed=least, metrics=evaluation.flat())
