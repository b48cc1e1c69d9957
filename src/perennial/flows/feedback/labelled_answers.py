"""Answers to clients whose labels came, a row per prediction."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from perennial.core.spec import ModelSpec
from perennial.flows.feedback.votes import counted, known_labels, request_of, votes
from perennial.ports import FeedbackStore, PredictionLog

if TYPE_CHECKING:
    import pandas as pd


def labelled_answers(
    spec: ModelSpec,
    digest: str | None,
    since: datetime,
    predictions: PredictionLog,
    feedback: FeedbackStore,
) -> pd.DataFrame:
    """Return the answers of a version, or of all, to clients since then that have a label, in order of time.

    The columns are those of the log, `value` (the label of the first source that counts) and `request`; in a log
    without request ids each prediction is a request.
    """
    log = predictions.read(spec.name, since=since)
    log = log[~log["shadow"].astype(bool)]
    log = log if digest is None else log[log["digest"] == digest]
    known = log.merge(votes(known_labels(spec.release.feedback, feedback, since)), on="prediction_id")
    known = counted(known, spec.release.feedback).drop_duplicates("prediction_id").reset_index(drop=True)
    return known.assign(request=request_of(known)).reindex(
        columns=[*known.columns, *({"answer", "request"} - set(known.columns))]
    )
