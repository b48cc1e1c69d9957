"""Move the detector of a champion on: its labelled predictions since the last look enter once, in order."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.batches import BatchedReference
from perennial.core.monitoring.drift import SCORE
from perennial.core.monitoring.harm_detector import MONTH, DetectorState
from perennial.core.monitoring.harm_intake import with_predictions
from perennial.core.spec import ModelSpec
from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.flows.monitoring.reference import right_on_reference
from perennial.ports import DetectorStore, FeedbackStore

if TYPE_CHECKING:
    import pandas as pd


def harm_seen(
    spec: ModelSpec,
    digest: str,
    reference: pd.DataFrame,
    detectors: DetectorStore,
    watched: WatchedLog,
    feedback: FeedbackStore,
    now: datetime,
    budget: float,
) -> DetectorState | None:
    """Return the state after the mature predictions of the champion, and store it.

    A kill before it is stored leaves the earlier state, from which the next look counts the same predictions. Where
    another process was first, its state counts.

    Args:
        digest: of the champion; another one than that of the stored state begins anew.
        reference: its reference rows.
        budget: false alarms a month that this model may cost.

    Returns:
        None where the reference has too few groups to judge anything.
    """
    stored = detectors.load(spec.name)
    revision, before = stored if stored is not None else (None, None)
    state = before
    if state is None or state.digest != digest:
        known = batched_reference(spec, reference)
        if known is None:
            return None
        begin = now - MONTH if before is None else max(before.until, now - MONTH)
        state = DetectorState.begin(digest, known, begin, before)
    rows = watched.rows(spec, digest, state.until, now).unjudged(state.until)
    if len(rows):
        value = watched.votes(spec, feedback).values(rows)
        state = with_predictions(
            state,
            rows["at"].to_numpy(dtype="datetime64[us]").astype(np.int64),
            rows["cluster"].to_numpy(),
            value,
            now,
            spec.monitoring.label_delay,
            spec.monitoring.accuracy_drop_percent.watch / 100,
            budget,
        )
    if state == before or detectors.save(spec.name, state, revision):
        return state
    return harm_stored(spec.name, digest, detectors)


def harm_stored(model: str, digest: str, detectors: DetectorStore) -> DetectorState | None:
    """Return the stored state of this champion; None where it is of another."""
    stored = detectors.load(model)
    return stored[1] if stored is not None and stored[1].digest == digest else None


def batched_reference(spec: ModelSpec, reference: pd.DataFrame) -> BatchedReference | None:
    """Return how right the reference rows are; for a number, minus how far off they are."""
    group = reference[spec.evaluation.group].to_numpy()
    score = reference[SCORE].to_numpy()
    label = spec.task.targets(reference[spec.target.column].to_numpy(), spec.target.column)
    loss = spec.task.losses(score, label)
    if loss is not None:
        return BatchedReference.of(-loss, group, is_share=False)
    return BatchedReference.of(right_on_reference(spec, reference), group)
