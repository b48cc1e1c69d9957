"""Accuracy of each version on labelled predictions: the prediction log joined with the labels."""

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
"""`of` counts the rows with the same request id and entity; `place` is the position of a row among them."""


def accuracy(
    model: str, since: datetime, feedback: FeedbackStore, predictions: PredictionLog
) -> dict[str, LabelCounts]:
    """Return the label counts by digest, for predictions and labels since then.

    No client knows the id of a mirrored prediction: it takes the label of the answered prediction of the same
    request, entity and place. So SHADOW compares both versions on exactly the same requests.

    The place separates the rows of a tensor request, which names no entity, and requests of a client that
    uses an id again. If the mirrored and the answered rows of an id differ in number, the missing rows are not
    known, and the mirrored rows are left out.
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
    answered = answered.dropna(subset=["truth"])  # after `_placed`: a row without a label has a place too
    mirrored = _placed(log[log["shadow"]], "digest").merge(answered[[*KEY, "truth"]], on=KEY)
    known = pd.concat([answered, mirrored], ignore_index=True)
    known["right"] = (known["decision"] == (known["truth"] >= POSITIVE)).astype(float)
    shares = known.groupby(["digest", "request_id"])["right"].agg(["mean", "count"])
    totals = shares.groupby(level="digest").agg(
        right=("mean", "sum"), requests=("mean", "size"), labels=("count", "sum")
    )
    return {
        str(digest): LabelCounts(
            right=min(row["right"], row["requests"]), requests=row["requests"], labels=row["labels"]
        )
        for digest, row in totals.to_dict("index").items()
    }


def _placed(rows: pd.DataFrame, *within: str) -> pd.DataFrame:
    """Return the rows with the columns `place` and `of`, counted within the columns `within` too.

    Mirrored rows are counted by version: an older candidate may have received requests with the same ids.
    """
    same = rows.groupby([*within, "request_id", "entity"])
    return rows.assign(place=same.cumcount(), of=same["prediction_id"].transform("size"))
