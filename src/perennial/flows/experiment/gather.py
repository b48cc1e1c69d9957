"""Read the users and outcomes of an A/B test from the prediction log and the feedback."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.experiment.design import Kind
from perennial.core.experiment.live_experiment import Experiment, VariantFigures, latest_experiment
from perennial.core.experiment.posterior import Variant
from perennial.core.release.traffic import UserCounts
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks.stored import logged_task
from perennial.errors import DataError, UnknownRelease
from perennial.flows.feedback.votes import counted, known_labels, right, votes
from perennial.ports import FeedbackStore, Ledger, PredictionLog, ReleaseStore

if TYPE_CHECKING:
    import pandas as pd

OUTCOME_KINDS: dict[str, Kind] = {
    "right": "binary",
    "label": "binary",
    "reward": "continuous",
    "events": "count",
}
"""Outcomes: share of right answers, share of positive labels, mean reward, positive labels per user."""


@dataclass(frozen=True)
class ExperimentData:
    """Users and outcomes of an A/B test.

    Attributes:
        variants: the control first; a user is an observation.
        units: all users, with or without an outcome.
        sources: source -> its outcomes that count.
    """

    variants: tuple[Variant, Variant]
    units: UserCounts
    sources: Mapping[str, int] = field(default_factory=dict)


def find_experiment(
    model: str, release_id: str | None, releases: ReleaseStore, ledger: Ledger, now: datetime
) -> Experiment:
    """Return the last split of a release, by default of the newest release of the model that had a split.

    Raises:
        UnknownRelease: the model has no release with this id.
        DataError: no release has split its users.
    """
    candidates = releases.latest(model)
    if release_id is not None:
        candidates = [release for release in candidates if release.release_id == release_id]
        if not candidates:
            raise UnknownRelease(
                f"{model} has no release {release_id}", hint="perennial release history MODEL"
            )
    for status in candidates:
        experiment = latest_experiment(status, ledger.rows(model, release_id=status.release_id), now)
        if experiment is not None:
            return experiment
    raise DataError(
        f"no release of {model} has split its users yet",
        hint="release.strategy: ab in its spec; see docs/guide/ab.md",
    )


def assigned_predictions(log: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of the log that belong to an experiment, without mirrored predictions."""
    return log[(log["experiment"] == experiment) & ~log["shadow"].astype(bool)]


def count_users(log: pd.DataFrame) -> UserCounts:
    """Count users by the variant of their first prediction.

    Args:
        log: rows of an experiment, in order of time.
    """
    first = log.drop_duplicates("unit")
    both = log.groupby("unit")["arm"].nunique() > 1
    return UserCounts(by_variant=first["arm"].value_counts().to_dict(), crossed=int(both.sum()))


def gather(
    experiment: Experiment,
    outcome: str,
    predictions: PredictionLog,
    feedback: FeedbackStore,
    policy: FeedbackSpec,
) -> ExperimentData:
    """Return the outcomes by user. Users with predictions of both variants are left out.

    Args:
        outcome: a key of `OUTCOME_KINDS`.
        policy: whose labels and rewards count.
    """
    return outcomes_of(experiment, outcome, read_experiment(experiment, predictions), feedback, policy)


def read_experiment(experiment: Experiment, predictions: PredictionLog) -> pd.DataFrame:
    """Return the rows of the log that belong to an A/B test; no file from before its start is read."""
    log = assigned_predictions(predictions.read(experiment.model, since=experiment.since), experiment.name)
    return log[log["at"] < experiment.until]


def outcomes_of(
    experiment: Experiment, outcome: str, log: pd.DataFrame, feedback: FeedbackStore, policy: FeedbackSpec
) -> ExperimentData:
    """Return what `gather` does, from the rows of `read_experiment`."""
    users = count_users(log)
    log = log[log.groupby("unit")["arm"].transform("nunique") == 1] if len(log) else log
    since = experiment.since
    sent = feedback.rewards(since) if outcome == "reward" else known_labels(policy, feedback, since)
    log = counted(log.merge(votes(sent), on="prediction_id"), policy, "arm")
    sources = {str(source): int(count) for source, count in log["source"].value_counts().items()}
    if outcome == "right":
        log = log.assign(value=right(log))
    elif outcome != "reward" and not all(logged_task(text).has_positive for text in log["task"].unique()):
        raise DataError(
            f"the answers of {experiment.model} have no positive label for the outcome {outcome!r}",
            hint="compare `right` or `reward`",
        )
    log = log.groupby(["arm", "unit", "prediction_id"])["value"].mean().reset_index()
    by_user = log.groupby(["arm", "unit"])["value"].agg("sum" if outcome == "events" else "mean")
    variants = _variant(by_user, experiment.control), _variant(by_user, experiment.treatment)
    return ExperimentData(variants, users, sources)


def running_figures(
    model: str,
    releases: ReleaseStore,
    ledger: Ledger,
    predictions: PredictionLog,
    feedback: FeedbackStore,
    now: datetime,
    policy: FeedbackSpec,
) -> tuple[VariantFigures, ...]:
    """Return the figures of each variant of the running A/B test; empty if no test runs."""
    experiments = [
        latest_experiment(release, ledger.rows(model, release_id=release.release_id), now)
        for release in releases.active(model)
    ]
    return tuple(
        figure
        for experiment in experiments
        if experiment is not None and experiment.running
        for figure in _figures(experiment, predictions, feedback, policy)
    )


def _figures(
    experiment: Experiment, predictions: PredictionLog, feedback: FeedbackStore, policy: FeedbackSpec
) -> list[VariantFigures]:
    log = read_experiment(experiment, predictions)
    right = outcomes_of(experiment, "right", log, feedback, policy)
    reward = outcomes_of(experiment, "reward", log, feedback, policy)
    return [
        VariantFigures(
            experiment=experiment.name,
            version=answers.name,
            users=right.units.by_variant.get(answers.name, 0),
            accuracy=answers.mean if answers.n else None,
            reward=rewards.mean if rewards.n else None,
        )
        for answers, rewards in zip(right.variants, reward.variants, strict=True)
    ]


def _variant(by_user: pd.Series[float], name: str) -> Variant:
    values = by_user[by_user.index.get_level_values("arm") == name]
    return Variant.of(name, np.asarray(values, dtype=np.float64))
