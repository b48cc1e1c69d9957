"""Run logged requests through a candidate before it gets any traffic."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation.disagreement import PairedAnswers, measure_disagreement, rate
from perennial.core.evaluation.replay_report import (
    ReplayReport,
    SchemaBreak,
    ScoringTime,
    SegmentDisagreement,
)
from perennial.core.monitoring.skew import FeatureSkew, feature_skew, worst_first
from perennial.core.spec import FeatureSpec, ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.errors import DataError, DatasetMissing
from perennial.flows.evaluation.offline_features import OfflineSource, recompute
from perennial.flows.training.package import version_features
from perennial.flows.training.workdir import read_record
from perennial.flows.versions import find_version
from perennial.ports import PredictionLog, Registry, Scorer

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 10
SEGMENTS = 20
"""The most changed ones are shown; a column may have thousands of values."""


@dataclass(frozen=True)
class ReplayPorts:
    predictions: PredictionLog
    registry: Registry
    scorer: Scorer
    offline: OfflineSource
    stopwatch: Callable[[], float]
    """Seconds of a clock that only goes forward."""


def replay_requests(
    spec: ModelSpec,
    which: str,
    since: datetime | None,
    last: int | None,
    ports: ReplayPorts,
    folder: Path,
) -> ReplayReport:
    """Score what was asked with the feature values that were used then, and compare with what was answered.

    Features that the log lacks are computed from the history; where that is not possible either, nothing is
    scored, for a model given a hole for a feature answers another question.

    Args:
        which: semantic version or alias.
        since: only predictions from then on.
        last: only the newest so many of them.
        folder: empty; the version is fetched into it.

    Raises:
        UnknownVersion: the registry has none of that name.
        DataError: nothing was asked in that time.
        ModelFileError, ShapeError: the version cannot be scored at all.
    """
    record = find_version(spec.name, which, ports.registry)
    files = ports.registry.fetch(record.ref, folder)
    wanted = version_features(spec, files)
    log = _logged(spec, since, last, ports.predictions)
    served, lacking = _served(log, wanted)
    offline, joined, note = _offline(wanted, log, ports.offline)
    breaks = tuple(_breaks(wanted, lacking, offline, joined))
    usable = joined if breaks else np.ones(len(log), dtype=bool)
    features = np.where(lacking, offline, served) if offline is not None else served
    answers, segments, scoring = None, (), None
    if all(one.recomputed for one in breaks):
        threshold = read_record(files / "manifest.json", ModelManifest, "train").threshold
        scores, scoring = _score(files, features[usable], ports)
        pairs = _pairs(log[usable], scores, threshold)
        confidence = spec.release.criteria.confidence
        answers = measure_disagreement(pairs, confidence, EXAMPLES)
        segments = _segments(spec, log[usable], pairs, confidence)
    skew = () if offline is None else _skew(spec, wanted, log, served, lacking, offline, joined)
    return ReplayReport(
        candidate=record.ref.version,
        digest=record.ref.digest,
        first=log["at"].iloc[0],
        last=log["at"].iloc[-1],
        answered_by={str(name): int(count) for name, count in log["version"].value_counts().items()},
        breaks=breaks,
        answers=answers,
        segments=segments,
        scoring=scoring,
        skew=skew,
        skew_rows=int(joined.sum()),
        skew_note=note,
    )


def _logged(
    spec: ModelSpec, since: datetime | None, last: int | None, predictions: PredictionLog
) -> pd.DataFrame:
    """Answered predictions, oldest first: mirrored ones are copies of them."""
    log = predictions.read(spec.name, since=since)
    log = log[~log["shadow"].astype(bool)]
    log = (log.tail(last) if last is not None else log).reset_index(drop=True)
    if log.empty:
        when = f"since {since:%Y-%m-%d %H:%M}" if since is not None else "ever"
        raise DataError(f"nothing was asked of {spec.name} {when}", hint="give more --hours")
    return log


def _served(log: pd.DataFrame, wanted: FeatureSpec) -> tuple[np.ndarray, np.ndarray]:
    """The values used, float [n, features], and bool [n, features] where the version that answered
    takes no such feature: a value not known at the time is no hole in the log, not even in every row."""
    served = np.full((len(log), len(wanted.names)), np.nan)
    lacking = np.ones_like(served, dtype=bool)
    had = {text: frozenset(json.loads(text)) for text in log["names"].unique()}
    for place, name in enumerate(wanted.names):
        column = f"feature:{name}"
        if column in log:
            served[:, place] = log[column].to_numpy(dtype=float)
            has = {text: name in names for text, names in had.items()}
            lacking[:, place] = ~log["names"].map(has).to_numpy(dtype=bool)
    return served, lacking


def _offline(wanted: FeatureSpec, log: pd.DataFrame, source: OfflineSource):
    nothing = np.zeros(len(log), dtype=bool)
    try:
        values, joined = recompute(wanted, log, source)
    except DatasetMissing as error:
        return None, nothing, f"nothing could be recomputed: {error.message}"
    left = int((~joined).sum())
    note = f"{left} rows name no entity or lack a request value" if left else ""
    return values, joined, note


def _breaks(wanted: FeatureSpec, lacking: np.ndarray, offline: np.ndarray | None, joined: np.ndarray):
    for place, name in enumerate(wanted.names):
        if lacking[:, place].any():
            yield SchemaBreak(feature=name, recomputed=offline is not None and bool(joined.any()))


def _score(files: Path, features: np.ndarray, ports: ReplayPorts) -> tuple[np.ndarray, ScoringTime]:
    rows = np.ascontiguousarray(features, dtype=np.float32)
    begun = ports.stopwatch()
    ports.scorer.score(files, rows[:1])
    opened = ports.stopwatch()
    scores = ports.scorer.score(files, rows)
    # The file is opened in both calls: what is left is the scoring itself.
    spent = max(0.0, ports.stopwatch() - opened - (opened - begun))
    scoring = ScoringTime(load_ms=1e3 * (opened - begun), per_1000_rows_ms=1e6 * spent / len(rows))
    return np.asarray(scores, dtype=float), scoring


def _pairs(log: pd.DataFrame, scores: np.ndarray, threshold: float) -> PairedAnswers:
    return PairedAnswers(
        request_id=log["request_id"].tolist(),
        entity=log["entity"].tolist(),
        champion=log["score"].to_numpy(dtype=float),
        candidate=scores,
        champion_decision=log["decision"].to_numpy(dtype=np.int64),
        candidate_decision=(scores >= threshold).astype(np.int64),
    )


def _segments(
    spec: ModelSpec, log: pd.DataFrame, pairs: PairedAnswers, confidence: float
) -> tuple[SegmentDisagreement, ...]:
    """By the spec's slices that the requests name, else by every entity key but the one that is scored."""
    asked = [
        {**json.loads(entity), **json.loads(context)}
        for entity, context in zip(log["entity"], log["context"], strict=True)
    ]
    named = set().union(*asked)
    columns = [name for name in spec.evaluation.slices if name in named]
    columns = columns or [name for name in spec.features.entities[1:] if name in named]
    changed = pairs.champion_decision != pairs.candidate_decision
    requests = log["request_id"].to_numpy()
    found = []
    for column in columns:
        values = np.array([str(one.get(column, "")) for one in asked], dtype=object)
        for value in sorted(set(values)):
            inside = values == value
            share = rate(changed[inside], requests[inside], confidence)
            found.append(SegmentDisagreement(column=column, value=value, changed=share))
    return tuple(sorted(found, key=lambda one: (-(one.changed.value or 0.0), one.value))[:SEGMENTS])


def _skew(
    spec: ModelSpec,
    wanted: FeatureSpec,
    log: pd.DataFrame,
    served: np.ndarray,
    lacking: np.ndarray,
    offline: np.ndarray,
    joined: np.ndarray,
) -> tuple[FeatureSkew, ...]:
    found = []
    for place, name in enumerate(wanted.names):
        both = joined & ~lacking[:, place]
        found.append(feature_skew(name, served[both, place], offline[both, place], spec.monitoring.bins))
    return worst_first(found)
