"""Replay logged requests on a candidate before it gets any traffic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation.disagreement import PairedAnswers, measure_disagreement, rate
from perennial.core.evaluation.replay_report import (
    ReplayReport,
    ScoringTime,
    SegmentDisagreement,
)
from perennial.core.feature_spec import FeatureSpec
from perennial.core.monitoring.skew import FeatureSkew, feature_skew, worst_first
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.training.artifacts import ModelManifest
from perennial.errors import DataError
from perennial.flows.evaluation.offline_features import OfflineSource, logged_requests
from perennial.flows.evaluation.served_features import ServedFeatures, served_features
from perennial.flows.training.package import version_features
from perennial.flows.training.workdir import read_record
from perennial.flows.versions import find_version
from perennial.ports import PredictionLog, Registry, Scorer

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 10
SEGMENTS = 20
"""Number of segments to keep; a column may have thousands of values."""


@dataclass(frozen=True)
class ReplayPorts:
    predictions: PredictionLog
    registry: Registry
    scorer: Scorer
    offline: OfflineSource
    stopwatch: Callable[[], float]
    """Monotonic clock, in seconds."""


def replay_requests(
    spec: ModelSpec, which: str, since: datetime | None, last: int | None, ports: ReplayPorts, folder: Path
) -> ReplayReport:
    """Score logged requests with their logged feature values, and compare the scores with the logged answers.

    Features that are not in the log are recomputed from the history. If that is impossible too, nothing is
    scored: the answer of a model that lacks a feature cannot be compared.

    Args:
        which: semantic version or alias.
        since: only predictions from this time on.
        last: only the newest predictions, at most this number.
        folder: empty; the version is fetched into it.

    Raises:
        UnknownVersion: the registry has no such version.
        DataError: there are no requests in this time.
        ModelFileError, ShapeError, WrongAnswer: the version cannot be scored.
    """
    record = find_version(spec.name, which, ports.registry)
    files = ports.registry.fetch(record.ref, folder)
    features = version_features(spec, files)
    log = _logged(spec, since, last, ports.predictions)
    inputs = served_features(features, log, ports.offline, always_recompute=True)
    usable = inputs.usable
    answers, scoring = None, None
    segments: tuple[SegmentDisagreement, ...] = ()
    if all(schema_break.recomputed for schema_break in inputs.breaks):
        task = read_record(files / "manifest.json", ModelManifest, "train").task
        scores, scoring = _score(files, inputs.values[usable], ports)
        pairs = _pairs(log[usable], scores, task)
        confidence = spec.release.criteria.confidence
        answers = measure_disagreement(pairs, confidence, EXAMPLES)
        segments = _segments(spec, log[usable], pairs, confidence)
    skew = _skew(spec, features, inputs)
    return ReplayReport(
        candidate=record.ref.version,
        digest=record.ref.digest,
        first=log["at"].iloc[0],
        last=log["at"].iloc[-1],
        answered_by={str(name): int(count) for name, count in log["version"].value_counts().items()},
        breaks=inputs.breaks,
        answers=answers,
        segments=segments,
        scoring=scoring,
        skew=skew,
        skew_rows=int(inputs.joined.sum()),
        skew_note=inputs.note,
    )


def _logged(
    spec: ModelSpec, since: datetime | None, last: int | None, predictions: PredictionLog
) -> pd.DataFrame:
    """Return the answered predictions, oldest first, without mirrored copies."""
    log = predictions.read(spec.name, since=since)
    log = log[~log["shadow"].astype(bool)]
    log = (log.tail(last) if last is not None else log).reset_index(drop=True)
    if log.empty:
        when = f"since {since:%Y-%m-%d %H:%M}" if since is not None else "ever"
        raise DataError(f"nothing was asked of {spec.name} {when}", hint="increase --hours")
    return log


def _score(files: Path, features: np.ndarray, ports: ReplayPorts) -> tuple[np.ndarray, ScoringTime]:
    rows = np.ascontiguousarray(features, dtype=np.float32)
    begun = ports.stopwatch()
    ports.scorer.score(files, rows[:1])
    opened = ports.stopwatch()
    scores = ports.scorer.score(files, rows)
    # Both calls open the file, so the difference is the scoring itself.
    spent = max(0.0, ports.stopwatch() - opened - (opened - begun))
    scoring = ScoringTime(load_ms=1e3 * (opened - begun), per_1000_rows_ms=1e6 * spent / len(rows))
    return np.asarray(scores, dtype=float), scoring


def _pairs(log: pd.DataFrame, answers: np.ndarray, task: Task) -> PairedAnswers:
    task.wrong_rows(answers, len(log))  # refuses another shape; wrong values are counted as unusable
    return PairedAnswers(
        request_id=log["request_id"].tolist(),
        entity=log["entity"].tolist(),
        champion=log["score"].to_numpy(dtype=float),
        candidate=task.summary(answers),
        champion_decision=log["decision"].to_numpy(dtype=np.int64),
        candidate_decision=task.decisions(answers),
        task=task,
    )


def _segments(
    spec: ModelSpec, log: pd.DataFrame, pairs: PairedAnswers, confidence: float
) -> tuple[SegmentDisagreement, ...]:
    """Return the disagreement by slice columns in the requests, else by all entity keys but the first."""
    logged = logged_requests(log)
    named = set().union(*logged)
    columns = [name for name in spec.evaluation.slices if name in named]
    columns = columns or [name for name in spec.features.entities[1:] if name in named]
    changed = pairs.changed
    requests = log["request_id"].to_numpy()
    segments = []
    for column in columns:
        values = np.array([str(request.get(column, "")) for request in logged], dtype=object)
        for value in sorted(set(values)):
            inside = values == value
            share = rate(changed[inside], requests[inside], confidence)
            segments.append(SegmentDisagreement(column=column, value=value, changed=share))
    return tuple(sorted(segments, key=lambda part: (-(part.changed.value or 0.0), part.value))[:SEGMENTS])


def _skew(spec: ModelSpec, features: FeatureSpec, inputs: ServedFeatures) -> tuple[FeatureSkew, ...]:
    if inputs.offline is None:
        return ()
    skews = []
    for place, name in enumerate(features.names):
        both = inputs.joined & ~inputs.lacking[:, place]
        served, offline = inputs.served[both, place], inputs.offline[both, place]
        skews.append(feature_skew(name, served, offline, spec.monitoring.bins))
    return worst_first(skews)
