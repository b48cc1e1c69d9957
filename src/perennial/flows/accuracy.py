"""How right each version was where the truth came back: the prediction log joined with the labels."""

from __future__ import annotations

from datetime import datetime

from perennial.core.release import Labelled
from perennial.ports import FeedbackStore, PredictionLog

NEEDED = ["prediction_id", "request_id", "entity", "digest", "decision", "shadow"]
POSITIVE = 0.5


def accuracy(
    model: str, since: datetime, feedback: FeedbackStore, predictions: PredictionLog
) -> dict[str, Labelled]:
    """By digest, of the predictions made since then whose labels came since then.

    A mirrored prediction has an id that no client ever saw: its truth is that of the answered prediction
    of the same request and entity. So SHADOW compares both versions on the very same requests.
    """
    labels = feedback.labels(since=since)
    if not labels:
        return {}
    log = predictions.read(model, since=since)
    if log.empty:
        return {}
    import pandas as pd

    log = log[NEEDED].astype({"shadow": bool})
    answered = log[~log["shadow"]].assign(truth=log["prediction_id"].map(labels)).dropna(subset=["truth"])
    truths = answered[["request_id", "entity", "truth"]].drop_duplicates(["request_id", "entity"])
    mirrored = log[log["shadow"]].merge(truths, on=["request_id", "entity"])
    known = pd.concat([answered, mirrored], ignore_index=True)
    known["right"] = (known["decision"] == (known["truth"] >= POSITIVE)).astype(float)
    shares = known.groupby(["digest", "request_id"])["right"].agg(["mean", "count"])
    totals = shares.groupby(level="digest").agg(
        right=("mean", "sum"), requests=("mean", "size"), labels=("count", "sum")
    )
    return {
        str(row.Index): Labelled(right=min(row.right, row.requests), requests=row.requests, labels=row.labels)
        for row in totals.itertuples()
    }
