"""Measure what a release has brought: the champion before it answers the logged requests of its successor again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.events import Event
from perennial.core.monitoring.worth.effect import (
    SERVING,
    Effect,
    Measure,
    PairedDifference,
    effect_entry,
    effect_tags,
    judge_effect,
    paired_difference,
    period,
)
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.spec import ModelSpec
from perennial.core.version import VersionRef
from perennial.errors import UnknownRelease
from perennial.flows.evaluation.answer_again import answer_again
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.feedback.votes import counted, known_labels, losses, request_of, right, votes
from perennial.flows.versions import find_version
from perennial.ports import FeedbackStore, Labels, Ledger, PredictionLog, Registry, ReleaseStore, Scorer

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class EffectPorts:
    releases: ReleaseStore
    ledger: Ledger
    predictions: PredictionLog
    feedback: FeedbackStore
    registry: Registry
    labels: Labels
    scorer: Scorer
    offline: OfflineSource


def measure_effect(
    spec: ModelSpec, release_id: str | None, ports: EffectPorts, folder: Path, now: datetime
) -> Effect:
    """Measure the effect of a release on the labelled requests that its version answered as champion.

    The answers of the version before are computed from its own file and the feature values as served; a feature that
    the log lacks is recomputed from the history. Nothing of the traffic changes.

    Args:
        release_id: None: the newest that replaced a champion.
        folder: empty; the version before is fetched into it.

    Raises:
        UnknownRelease: no such release has replaced a champion.
        UnknownVersion: the registry no longer has the version before.
        ModelFileError, ShapeError, WrongAnswer: the version before cannot be scored.
    """
    status, previous = measurable_release(spec.name, release_id, ports.releases.latest(spec.name))
    since, until = _period(spec, status, ports.ledger)
    log = ports.predictions.read(spec.name, since=since)
    mine = (log["digest"] == status.candidate.digest) & ~log["shadow"].astype(bool) & (log["at"] < until)
    log = log[mine].reset_index(drop=True)
    known = counted(
        log.merge(votes(known_labels(spec.release.feedback, ports.feedback, since)), on="prediction_id"),
        spec.release.feedback,
    )
    measured, labels, left_out = None, 0, 0
    if len(known):
        files = ports.registry.fetch(previous, folder)
        known, left_out = answered_again(spec, files, known.reset_index(drop=True), ports)
        labels = known["prediction_id"].nunique()
        measured = _difference(known) if labels else None
    return Effect(
        model=spec.name,
        release_id=status.release_id,
        version=status.candidate.version,
        digest=status.candidate.digest,
        against=previous.version,
        since=since,
        until=until,
        complete=_is_over(spec, until, now),
        requests=log["request_id"].nunique(),
        labels=labels,
        left_out=left_out,
        measured=measured,
        verdict=judge_effect(measured, labels, spec.monitoring.min_labels),
    )


def is_due(spec: ModelSpec, release_id: str | None, ports: EffectPorts, now: datetime) -> bool:
    """Return whether a release has an effect that can be recorded and is not."""
    try:
        status, _ = measurable_release(spec.name, release_id, ports.releases.latest(spec.name))
    except UnknownRelease:
        return False
    _, until = _period(spec, status, ports.ledger)
    return _is_over(spec, until, now) and not recorded(spec.name, status.release_id, ports.ledger)


def _period(spec: ModelSpec, status: ReleaseStatus, ledger: Ledger) -> tuple[datetime, datetime]:
    rows = ledger.rows(spec.name, kinds=SERVING)
    return period(status.release_id, status.entered_at, spec.retraining.effect.duration, rows)


def _is_over(spec: ModelSpec, until: datetime, now: datetime) -> bool:
    """Return whether the period and the known delay of its labels are over."""
    return now >= until + (spec.monitoring.label_delay or timedelta(0))


def record_effect(effect: Effect, ports: EffectPorts, actor: str, now: datetime) -> bool:
    """Write a complete effect into the version's tags and the ledger, once; return True if it was new.

    The tags come first: killed between the two, the next call writes the same tags again.

    Raises:
        UnknownVersion: the registry no longer has the version.
    """
    if not effect.complete or recorded(effect.model, effect.release_id, ports.ledger):
        return False
    record = find_version(effect.model, effect.version, ports.registry)
    ports.labels.tag(effect.model, record.ref.key, effect_tags(effect))
    ports.ledger.append(effect_entry(effect, actor, now))
    return True


def recorded(model: str, release_id: str, ledger: Ledger) -> bool:
    """Return whether the effect of a release is in the ledger."""
    return bool(ledger.rows(model, kinds=(Event.RETRAIN_EFFECT,), release_id=release_id))


def measurable_release(
    model: str, release_id: str | None, releases: Sequence[ReleaseStatus]
) -> tuple[ReleaseStatus, VersionRef]:
    """Return the release with this id, or the newest, that replaced a champion, and that champion.

    Args:
        releases: of the model, newest first.

    Raises:
        UnknownRelease: no such release has replaced a champion.
    """
    for status in releases:
        if release_id in (None, status.release_id) and status.phase is Phase.SUCCEEDED and status.champion:
            return status, status.champion
    which = "no release" if release_id is None else f"no release {release_id}"
    raise UnknownRelease(
        f"{model} has {which} that replaced a champion", hint=f"perennial release history {model}"
    )


def answered_again(
    spec: ModelSpec, files: Path, known: pd.DataFrame, ports: EffectPorts
) -> tuple[pd.DataFrame, int]:
    """Return labelled answers with the columns old_right, new_right, old_loss and new_loss, and how many had no answer.

    Args:
        files: of the version that answers again.
        known: logged answers with labels that count (`votes`), index 0 .. n-1.
    """
    again = answer_again(spec, files, known, ports.scorer, ports.offline)
    task, answers = again.task, again.answers
    rows = known.iloc[again.places].reset_index(drop=True)
    if rows.empty:
        return rows, len(known)
    label, summary = rows["value"].to_numpy(), task.summary(answers)
    wide = answers if task.width() is not None else None
    loss = task.losses(summary, label)
    rows = rows.assign(
        new_right=right(rows),
        new_loss=losses(rows),
        old_right=task.right(summary, task.decisions(answers), label, wide),
        old_loss=np.nan if loss is None else loss,
    )
    return rows, len(known) - len(rows)


def _difference(known: pd.DataFrame) -> PairedDifference | None:
    """Return the difference of the losses, where both versions have them, else of the shares of right answers.

    The votes of a prediction are averaged. In a log without request ids each prediction is a request.
    """
    known = known.assign(request=request_of(known))
    by_prediction = known.groupby("prediction_id", sort=False)
    request = by_prediction["request"].first().to_numpy(dtype=str)
    mean = by_prediction[["old_right", "new_right", "old_loss", "new_loss"]].mean()
    has_loss = bool(np.isfinite(mean[["old_loss", "new_loss"]].to_numpy(dtype=float)).all())
    measure = Measure.LOSS if has_loss else Measure.ACCURACY
    kind = "loss" if has_loss else "right"
    old, new = (mean[f"{version}_{kind}"].to_numpy(dtype=float) for version in ("old", "new"))
    return paired_difference(measure, old, new, request)
