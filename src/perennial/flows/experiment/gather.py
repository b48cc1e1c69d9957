"""What happened in an A/B test: its users by arm, and the outcomes of each, from prediction log and feedback."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.core.experiment.analysis import Kind, Variant
from perennial.core.experiment.live_experiment import Experiment, VariantFigures, latest_experiment
from perennial.core.release.traffic import Units
from perennial.errors import DataError, UnknownRelease
from perennial.ports import FeedbackStore, Ledger, PredictionLog, ReleaseStore

if TYPE_CHECKING:
    import pandas as pd

POSITIVE = 0.5
OUTCOME_KINDS: dict[str, Kind] = {
    "right": "binary",
    "label": "binary",
    "reward": "continuous",
    "events": "count",
}
"""What is compared: share of right answers, share of positive labels, mean reward, positive labels per user."""


@dataclass(frozen=True)
class ExperimentData:
    """Attributes: arms: control first, one observation a user; units: all users, with an outcome or not."""

    arms: tuple[Variant, Variant]
    units: Units


def find_experiment(
    model: str, release_id: str | None, releases: ReleaseStore, ledger: Ledger, now: datetime
) -> Experiment:
    """The last split of a release, by default of the newest release of the model that had one.

    Raises:
        UnknownRelease: the model has no release of that id.
        DataError: nothing was ever split.
    """
    known = releases.latest(model)
    if release_id is not None:
        known = [one for one in known if one.release_id == release_id]
        if not known:
            raise UnknownRelease(
                f"{model} has no release {release_id}", hint="perennial release history MODEL"
            )
    for status in known:
        found = latest_experiment(status, ledger.rows(model, release_id=status.release_id), now)
        if found is not None:
            return found
    raise DataError(
        f"no release of {model} has split its users yet",
        hint="release.strategy: ab in its spec; see docs/guide/ab.md",
    )


def assigned_predictions(log: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The predictions that belong to an experiment; of a shadow none does."""
    return log[(log["experiment"] == experiment) & ~log["shadow"].astype(bool)]


def count_users(log: pd.DataFrame) -> Units:
    """Count users by the arm of their first prediction.

    Args:
        log: of one experiment, in order of time.
    """
    first = log.drop_duplicates("unit")
    both = log.groupby("unit")["arm"].nunique() > 1
    return Units(by_arm=first["arm"].value_counts().to_dict(), crossed=int(both.sum()))


def gather(
    experiment: Experiment, outcome: str, predictions: PredictionLog, feedback: FeedbackStore
) -> ExperimentData:
    """Outcomes by user. A user who was on both sides belongs to neither and is left out.

    Args:
        outcome: one of `KINDS`.
    """
    log = assigned_predictions(predictions.read(experiment.model, since=experiment.since), experiment.name)
    log = log[log["at"] < experiment.until]
    everybody = count_users(log)
    log = log[log.groupby("unit")["arm"].transform("nunique") == 1] if len(log) else log
    known = feedback.rewards if outcome == "reward" else feedback.labels
    values = log["prediction_id"].map(dict(known(since=experiment.since)))
    log = log.assign(value=values).dropna(subset=["value"])
    if outcome == "right":
        log["value"] = (log["decision"] == (log["value"] >= POSITIVE)).astype(float)
    by_user = log.groupby(["arm", "unit"])["value"].agg("sum" if outcome == "events" else "mean")
    control, treatment = (_arm(by_user, name) for name in (experiment.control, experiment.treatment))
    return ExperimentData((control, treatment), everybody)


def figures(
    model: str,
    releases: ReleaseStore,
    ledger: Ledger,
    predictions: PredictionLog,
    feedback: FeedbackStore,
    now: datetime,
) -> tuple[VariantFigures, ...]:
    """Of the experiment that runs now, by arm; empty: none does."""
    active = (one for one in releases.latest(model) if not one.phase.is_final())
    found = [latest_experiment(one, ledger.rows(model, release_id=one.release_id), now) for one in active]
    return tuple(
        figure
        for one in found
        if one is not None and one.running
        for figure in _figures(one, predictions, feedback)
    )


def _figures(
    experiment: Experiment, predictions: PredictionLog, feedback: FeedbackStore
) -> list[VariantFigures]:
    right = gather(experiment, "right", predictions, feedback)
    reward = gather(experiment, "reward", predictions, feedback)
    return [
        VariantFigures(
            experiment=experiment.name,
            version=seen.name,
            users=right.units.by_arm.get(seen.name, 0),
            accuracy=seen.mean if seen.n else None,
            reward=paid.mean if paid.n else None,
        )
        for seen, paid in zip(right.arms, reward.arms, strict=True)
    ]


def _arm(by_user: pd.Series, name: str) -> Variant:
    values = by_user[by_user.index.get_level_values("arm") == name].astype(float)
    return Variant(name=name, n=len(values), total=values.sum(), squares=(values**2).sum())
