"""Learn how late the labels of a model come, from its log and the times of its labels."""

from __future__ import annotations

from datetime import datetime

from perennial.core.monitoring.label_delay import LabelDelay, learn_delay
from perennial.flows.feedback.votes import votes
from perennial.flows.monitoring.truths import Truths
from perennial.flows.monitoring.window import LOOK_BACK
from perennial.ports import FeedbackStore, PredictionLog

MOST_ROWS = 300_000
"""Logged predictions from which no more are read: they tell enough."""
HOUR = 3600.0


def label_delay(
    model: str, predictions: PredictionLog, feedback: FeedbackStore, now: datetime
) -> LabelDelay | None:
    """Return how late the labels of answered predictions come, in each truth; None where it is not known yet."""
    for back in LOOK_BACK:
        received = feedback.label_times(since=now - back)
        if not received:  # the log, which is far larger, need not be read
            continue
        log = predictions.read(model, since=now - back)
        if log.empty:
            continue
        rows = log.loc[~log["shadow"].astype(bool)]
        rows = rows.merge(votes(feedback.labels(since=now - back)), on="prediction_id")
        rows = rows.drop_duplicates("prediction_id")
        rows = rows[rows["prediction_id"].isin(received)]  # others came between the two reads
        if len(rows):
            asked = rows["at"].astype("datetime64[ns, UTC]").astype("int64").to_numpy() / 1e9
            came = rows["prediction_id"].map(received).to_numpy(dtype=float)
            delay = learn_delay(
                (came - asked) / HOUR,
                (now.timestamp() - asked) / HOUR,
                Truths.of(rows).of_labels(rows).astype(str),
            )
            if delay is not None:
                return delay
        if len(log) >= MOST_ROWS:
            return None
    return None
