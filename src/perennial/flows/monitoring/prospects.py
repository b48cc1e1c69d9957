"""Look ahead before an alarm starts a training: would one help, and what gain is likely?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.events import Event, LedgerRow
from perennial.core.monitoring.dependence import clusters
from perennial.core.monitoring.drift import SCORE
from perennial.core.monitoring.levels import AccuracyEstimate
from perennial.core.monitoring.worth.effect import Measure, PairedDifference, paired_difference
from perennial.core.monitoring.worth.prospects import (
    LATEST,
    Backtest,
    Doubt,
    few_labels,
    no_gain,
    prior_shift,
)
from perennial.core.recalibration.attempt import weights_of
from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.tasks.score import ScoreTask
from perennial.core.training.examples import Examples
from perennial.flows.feedback.labelled_answers import labelled_answers
from perennial.flows.feedback.votes import losses, right
from perennial.flows.monitoring.window import LOOK_BACK
from perennial.ports import FeedbackStore, PredictionLog, Reference

if TYPE_CHECKING:
    import pandas as pd

CHEAP = "gradient_boosting"
"""Reference model of the back-test."""
FEATURE = "feature:"


@dataclass(frozen=True)
class Prospects:
    """Reasons against a training, and its back-test."""

    doubts: tuple[Doubt, ...]
    backtest: Backtest | None


def look_ahead(
    spec: ModelSpec,
    target: Target,
    reference: pd.DataFrame,
    known_accuracy: AccuracyEstimate | None,
    lost_accuracy: bool,
    answered: pd.DataFrame,
    labels_since: int | None,
    references: Callable[[Task], Mapping[str, Reference]],
    now: datetime,
    broken: tuple[Doubt, ...] = (),
) -> Prospects:
    """Return the reasons why a training would not help, and the back-test where there are none.

    Args:
        target: champion. reference: its rows.
        known_accuracy: in the reference. lost_accuracy: the alarm is about a loss of it.
        answered: from `labelled_answers`.
        broken: of the source; what lacks a feature cannot be learnt from.
        labels_since: labels since the champion's training; None: not counted.
    """
    policy = spec.retraining.prospects
    answers = [few_labels(labels_since, policy)]
    if lost_accuracy and isinstance(spec.task, ScoreTask):
        newest = answered.tail(spec.monitoring.window)
        score, label = newest[SCORE].to_numpy(dtype=float), newest["value"].to_numpy(dtype=float)
        positives = float(
            np.mean(spec.task.targets(reference[spec.target.column].to_numpy(), spec.target.column))
        )
        answers.append(
            prior_shift(
                score, label, newest["request"].to_numpy(dtype=str), spec.task.threshold, positives,
                known_accuracy, spec.monitoring, _recalibration(spec),
            )
        )  # fmt: skip
    doubts = [*broken, *(doubt for doubt in answers if doubt is not None)]
    if doubts or not policy.backtest_rows:
        return Prospects(tuple(doubts), None)
    backtest = back_test(spec, target, answered.tail(policy.backtest_rows), references, now)
    doubt = no_gain(backtest, policy)
    return Prospects(() if doubt is None else (doubt,), backtest)


def _recalibration(spec: ModelSpec) -> str:
    """Return what to do about a prior shift, in words."""
    command = f"perennial recalibrate {spec.name}"
    return (
        command
        if spec.recalibration.enabled
        else f"{command}, once recalibration.enabled is true in its spec"
    )


def since_training(rows: list[LedgerRow], digest: str, now: datetime) -> datetime:
    """Return when the release of the version's weights was opened, after their training; else the longest look back."""
    digest = weights_of(rows, digest)
    opened = [
        row.entry.at for row in rows if row.entry.kind == Event.RELEASE_OPENED and row.entry.digest == digest
    ]
    return min(opened, default=look_back(now))


def look_back(now: datetime) -> datetime:
    """Return from when on answers describe today."""
    longest: timedelta = LOOK_BACK[-1]
    return now - longest


def newest_labelled(
    spec: ModelSpec, digest: str, oldest: datetime, predictions: PredictionLog, feedback: FeedbackStore,
    now: datetime,
) -> pd.DataFrame:  # fmt: skip
    """Return labelled answers of a version, as `labelled_answers` does: all that an alarm needs, or all since a time.

    The log is read an hour back first, then a day, a week, a month, and only where these have too few since `oldest`.
    """
    policy = spec.retraining.prospects
    needed = max(policy.backtest_rows, policy.fewest_labels, spec.monitoring.window)
    for span in LOOK_BACK:
        since = max(now - span, oldest)
        answered = labelled_answers(spec, digest, since, predictions, feedback)
        if len(answered) >= needed or since == oldest:
            return answered
    return labelled_answers(spec, digest, oldest, predictions, feedback)


def back_test(
    spec: ModelSpec,
    target: Target,
    known: pd.DataFrame,
    references: Callable[[Task], Mapping[str, Reference]],
    now: datetime,
) -> Backtest:
    """Train a cheap model on labelled answers, judge it on the latest beside the champion's logged answers.

    It gets the features as served and the champion's score, so it can be as good as the champion and shows what the
    recent labels add. Requests stay whole: one is on one side only.

    Args:
        known: from `labelled_answers`.
    """
    request = known["request"].to_numpy(dtype=str)
    order = clusters(request)
    later = order >= np.ceil((1 - LATEST) * (order.max(initial=-1) + 1))
    learnt, judged = int((~later).sum()), int(later.sum())
    cheap = references(spec.task).get(CHEAP)
    label = known["value"].to_numpy(dtype=np.float32)
    gain = None
    if (
        cheap is not None
        and min(learnt, judged) >= spec.monitoring.min_labels
        and len(np.unique(label[~later])) > 1
    ):
        columns = [column for column in known.columns if column.startswith(FEATURE)]
        inputs = known[[*columns, SCORE]].to_numpy(dtype=np.float32)
        train = Examples(inputs[~later], label[~later], order[~later])
        answers = np.asarray(cheap(spec.task, train, inputs[later]), dtype=float)
        gain = _gain(spec.task, answers, known[later], request[later])
    return Backtest(at=now, version=target.version, learnt=learnt, judged=judged, gain=gain)


def _gain(
    task: Task, answers: np.ndarray, known: pd.DataFrame, request: np.ndarray
) -> PairedDifference | None:
    """Return the gain of a cheap model's answers over the logged ones; in loss where the task has one."""
    label, summary = known["value"].to_numpy(dtype=float), task.summary(answers)
    loss, logged = task.losses(summary, label), losses(known)
    if loss is not None and np.isfinite(logged).all():
        return paired_difference(Measure.LOSS, logged, loss, request)
    wide = answers if task.width() is not None else None
    share = task.right(summary, task.decisions(answers), label, wide)
    return paired_difference(Measure.ACCURACY, right(known), np.asarray(share, dtype=float), request)
