"""Labels and rewards by source, joined with the predictions: each source has a vote per prediction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.monitoring.source_quota import quotas
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks import Task
from perennial.core.tasks.stored import logged_task

if TYPE_CHECKING:
    from datetime import datetime

    import pandas as pd

    from perennial.ports import BySource, FeedbackStore


def known_labels(policy: FeedbackSpec, feedback: FeedbackStore, since: datetime | None = None) -> BySource:
    """Return the labels by source, with the right values of reviews where the policy counts them.

    A source that sent a label about a prediction has that one, whatever its review says: a source has one vote.
    """
    labels = feedback.labels(since=since)
    return _with_reviews(labels, feedback.reviewed(since=since)) if policy.reviews else labels


def labels_of(policy: FeedbackSpec, feedback: FeedbackStore, predictions: Collection[str]) -> BySource:
    """Return what `known_labels` has of these predictions, whenever their labels were received."""
    labels = feedback.labels_of(predictions)
    return _with_reviews(labels, feedback.reviewed_of(predictions)) if policy.reviews else labels


def _with_reviews(labels: BySource, reviewed: BySource) -> BySource:
    return {
        source: {**reviewed.get(source, {}), **labels.get(source, {})}
        for source in labels.keys() | reviewed.keys()
    }


def votes(values: BySource) -> pd.DataFrame:
    """Return the columns prediction_id, source and value, a row per vote."""
    import pandas as pd

    rows = [(name, source, value) for source, named in values.items() for name, value in named.items()]
    return pd.DataFrame(rows, columns=["prediction_id", "source", "value"])


def right(rows: pd.DataFrame) -> np.ndarray:
    """Return how right each answer is under its own kind of task, float [n] in [0, 1].

    Args:
        rows: columns task, score, decision and answer of the log, and value, the label as the store has it.
    """
    shares = np.zeros(len(rows))
    for task, places, part in by_task(rows):
        score, decision, label = (part[name].to_numpy() for name in ("score", "decision", "value"))
        shares[places] = task.right(score, decision, label, _answers(task, part))
    return shares


def covered(rows: pd.DataFrame) -> np.ndarray:
    """Return whether the interval of each answer holds its label, float [n]; NaN without an interval.

    Args:
        rows: columns as for `right`.
    """
    shares = np.full(len(rows), np.nan)
    for task, places, part in by_task(rows):
        score, label = part["score"].to_numpy(), part["value"].to_numpy()
        shares[places] = task.covered(score, label, _answers(task, part))
    return shares


def losses(rows: pd.DataFrame) -> np.ndarray:
    """Return the loss of each answer under its own kind of task, float [n]; NaN where the kind has none.

    Args:
        rows: columns task, score and value, as for `right`.
    """
    losses = np.full(len(rows), np.nan)
    for task, places, part in by_task(rows):
        loss = task.losses(part["score"].to_numpy(), part["value"].to_numpy())
        if loss is not None:
            losses[places] = loss
    return losses


def request_of(rows: pd.DataFrame) -> pd.Series[Any]:
    """Return the request of each logged row; without a request id each prediction is a request."""
    named = rows["request_id"] if "request_id" in rows else rows["prediction_id"]
    return named.fillna(rows["prediction_id"])


def quality(rows: pd.DataFrame, labels: BySource, policy: FeedbackSpec) -> pd.DataFrame:
    """Return the columns right, loss and label of logged rows whose labels count, means over the votes.

    The index is the prediction id; a row without such a label is not in it.
    """
    known = counted(rows.merge(votes(labels), on="prediction_id"), policy)
    known = known.assign(right=right(known), loss=losses(known), label=known["value"].astype(float))
    return known.groupby("prediction_id")[["right", "loss", "label"]].mean()


def by_task(rows: pd.DataFrame) -> Iterator[tuple[Task, np.ndarray, pd.DataFrame]]:
    """Yield each task of the rows, the places of its rows, and these rows."""
    for text, places in rows.groupby("task", sort=False).indices.items():
        yield logged_task(str(text)), np.asarray(places), rows.iloc[places]


def _answers(task: Task, rows: pd.DataFrame) -> np.ndarray | None:
    wide = task.width() is not None and rows["answer"].notna().all()
    return np.array(rows["answer"].tolist(), dtype=float) if wide else None


def counted(rows: pd.DataFrame, policy: FeedbackSpec, *within: str) -> pd.DataFrame:
    """Return the votes that count by the policy.

    The votes that count of a source with too many are chosen by a hash of the prediction id, which the server
    made: the source cannot choose them.

    Args:
        rows: votes, joined with their predictions.
        within: columns; the cap holds for each combination of their values.
    """
    import pandas as pd

    if rows.empty:
        return rows
    sole = rows[rows["source"] == policy.sole_source]
    if len(sole):
        return sole
    kept = []
    for _, group in rows.groupby(list(within), sort=False) if within else [((), rows)]:
        quota = quotas(
            {str(source): int(count) for source, count in group["source"].value_counts().items()},
            policy.source_share,
        )
        for source, own in group.groupby("source", sort=False):
            kept.append(_chosen(own, quota[str(source)]))
    return pd.concat(kept).sort_index()


def _chosen(own: pd.DataFrame, count: int) -> pd.DataFrame:
    if count >= len(own):
        return own
    order = own["prediction_id"].map(lambda name: sha256(str(name).encode()).hexdigest())
    return own.loc[order.sort_values().index[:count]]
