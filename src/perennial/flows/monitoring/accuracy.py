"""How right each version was where the truth came back: the prediction log joined with the labels."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from perennial.core.release.status import LabelCounts
from perennial.ports import FeedbackStore, PredictionLog

if TYPE_CHECKING:
    import pandas as pd

NEEDED = ["prediction_id", "request_id", "entity", "digest", "decision", "shadow"]
POSITIVE = 0.5
KEY = ["request_id", "entity", "place", "of"]
"""`place`: which of the `of` rows with that request id and entity, in the order in which they were logged."""


def accuracy(
    model: str, since: datetime, feedback: FeedbackStore, predictions: PredictionLog
) -> dict[str, LabelCounts]:
    """By digest, of the predictions made since then whose labels came since then.

    A mirrored prediction has an id that no client ever saw: its truth is that of the answered prediction
    of the same request, entity and place. So SHADOW compares both versions on the very same requests.

    The place tells apart the rows of a request by tensor, which names no entity, and requests of a client that
    uses an id again. Where one side has fewer rows of an id than the other, nobody knows which ones are
    lacking: the mirrored ones are left out.
    """
    labels = feedback.labels(since=since)
    if not labels:
        return {}
    log = predictions.read(model, since=since)
    if log.empty:
        return {}
    import pandas as pd

    log = log[NEEDED].astype({"shadow": bool})
    answered = _placed(log[~log["shadow"]]).assign(truth=log["prediction_id"].map(labels))
    answered = answered.dropna(subset=["truth"])  # placed before: one that got no label has its place too
    mirrored = _placed(log[log["shadow"]], "digest").merge(answered[[*KEY, "truth"]], on=KEY)
    known = pd.concat([answered, mirrored], ignore_index=True)
    known["right"] = (known["decision"] == (known["truth"] >= POSITIVE)).astype(float)
    shares = known.groupby(["digest", "request_id"])["right"].agg(["mean", "count"])
    totals = shares.groupby(level="digest").agg(
        right=("mean", "sum"), requests=("mean", "size"), labels=("count", "sum")
    )
    return {
        str(row.Index): LabelCounts(
            right=min(row.right, row.requests), requests=row.requests, labels=row.labels
        )
        for row in totals.itertuples()
    }


def _placed(rows: pd.DataFrame, *within: str) -> pd.DataFrame:
    """With `place` and `of`. Mirrored rows are counted within their version: an older candidate may have got
    copies of requests whose ids came again."""
    same = rows.groupby([*within, "request_id", "entity"])
    return rows.assign(place=same.cumcount(), of=same["prediction_id"].transform("size"))
