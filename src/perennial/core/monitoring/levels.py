"""What a window of predictions says of a model: ok, watch, warn or retrain.

The spec's table is applied to figures that noise alone does not reach:

- feature drift reaches a level when at least `features_needed` columns exceed their allowance by it
  (`perennial.core.monitoring.drift`);
- drift of the score alone is at most a warning: answers also move when the world does and the model is right;
- an accuracy drop reaches a level when a one-sided 95 % test says that the drop, relative to the reference,
  is larger than the level. Neighbouring rows are not independent, so its standard error comes from batch
  means (Schmeiser 1982, "Batch size effects in the analysis of simulation output").

Too few predictions give UNSURE, never an alarm; too few labels leave the accuracy unjudged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
from pydantic import Field
from scipy import stats

from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.spec import Frozen, Levels, MonitoringSpec, Reason

BATCHES = 20
CONFIDENCE = 0.95


class Level(StrEnum):
    """How much a window asks for, rising."""

    UNSURE = "unsure"
    OK = "ok"
    WATCH = "watch"
    WARN = "warn"
    RETRAIN = "retrain"

    @property
    def rank(self) -> int:
        """-1 for UNSURE, 0 for OK, then rising; also the exported figure."""
        return list(Level).index(self) - 1


class AccuracyEstimate(Frozen):
    """Share of right answers and its standard error."""

    value: float = Field(ge=0, le=1)
    error: float = Field(ge=0, description="standard error by batch means")
    labels: int = Field(ge=0)

    @classmethod
    def of(cls, right: np.ndarray) -> AccuracyEstimate | None:
        """From verdicts on single answers (bool [n], in time order); None below two rows a batch."""
        if len(right) < 2 * BATCHES:
            return None
        means = [batch.mean() for batch in np.array_split(right.astype(float), BATCHES)]
        error = float(np.std(means, ddof=1)) / math.sqrt(BATCHES)
        return cls(value=float(right.mean()), error=error, labels=len(right))


class MonitorVerdict(Frozen):
    """The judgement on one window, with all that it rests on."""

    level: Level
    cause: Reason | None = Field(None, description="why to retrain; only at RETRAIN")
    reasons: tuple[str, ...] = Field(description="one sentence per finding, the worst first")
    rows: int
    drifts: tuple[ColumnDrift, ...] = ()
    reference: AccuracyEstimate | None = None
    window: AccuracyEstimate | None = None

    @property
    def drop_percent(self) -> float | None:
        """Loss of accuracy relative to the reference, in percent; negative is a gain."""
        if self.reference is None or self.window is None or self.reference.value == 0:
            return None
        return 100 * (self.reference.value - self.window.value) / self.reference.value


def verdict(
    spec: MonitoringSpec,
    drifts: Sequence[ColumnDrift],
    reference: AccuracyEstimate | None,
    window: AccuracyEstimate | None,
    rows: int,
) -> MonitorVerdict:
    """Judge one window.

    Args:
        spec: the model's monitoring policy.
        drifts: one per watched column and one of the score.
        reference: accuracy where the model was evaluated.
        window: accuracy on the labelled rows of the window; None where there are too few to say.
        rows: predictions in the window.
    """
    if rows < spec.min_window:
        text = f"{rows} predictions since the release, {spec.min_window} needed"
        return MonitorVerdict(level=Level.UNSURE, reasons=(text,), rows=rows)
    judged = window if window is not None and window.labels >= spec.min_labels else None
    found = [
        (*_features(spec, drifts), Reason.DRIFT),
        (*_score(spec, drifts), None),
        (*_accuracy(spec.accuracy_drop_percent, reference, judged), Reason.ACCURACY),
    ]
    found.sort(key=lambda one: -one[0].rank)
    level, _, cause = found[0]
    return MonitorVerdict(
        level=level,
        cause=cause if level is Level.RETRAIN else None,
        reasons=tuple(text for _, text, _ in found),
        rows=rows,
        drifts=tuple(drifts),
        reference=reference,
        window=judged,
    )


def reached(levels: Levels, value: float) -> Level:
    """The highest level that a value reaches."""
    for level in (Level.RETRAIN, Level.WARN, Level.WATCH):
        if value >= getattr(levels, level.value):
            return level
    return Level.OK


def _features(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> tuple[Level, str]:
    features = sorted((one for one in drifts if not one.of_prediction), key=lambda one: -one.excess)
    if len(features) < spec.features_needed:
        return Level.OK, "fewer columns are watched than have to move together"
    level = reached(spec.psi, features[spec.features_needed - 1].excess)
    moved = [one for one in features if one.excess >= spec.psi.watch]
    names = ", ".join(f"{one.column} {one.psi:.2f} (+{one.excess:.2f})" for one in moved[:3])
    return level, f"{len(moved)} of {len(features)} features moved{': ' if names else ''}{names}"


def _score(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> tuple[Level, str]:
    scores = [one for one in drifts if one.of_prediction]
    if not scores:
        return Level.OK, "the score was not compared"
    level = min(reached(spec.psi, scores[0].excess), Level.WARN, key=lambda one: one.rank)
    return level, f"score PSI {scores[0].psi:.2f} (+{scores[0].excess:.2f})"


def _accuracy(
    levels: Levels, reference: AccuracyEstimate | None, window: AccuracyEstimate | None
) -> tuple[Level, str]:
    if reference is None or window is None:
        return Level.OK, "too few labels to judge the accuracy"
    text = f"accuracy {reference.value:.1%} -> {window.value:.1%} on {window.labels} labels"
    for level in (Level.RETRAIN, Level.WARN, Level.WATCH):
        if _dropped(reference, window, getattr(levels, level.value) / 100):
            return level, text
    return Level.OK, text


def _dropped(reference: AccuracyEstimate, window: AccuracyEstimate, share: float) -> bool:
    """Whether window < reference * (1 - share) beyond chance: a one-sided t test of the difference."""
    kept = reference.value * (1 - share)
    error = math.hypot((1 - share) * reference.error, window.error)
    return kept - window.value > float(stats.t.ppf(CONFIDENCE, BATCHES - 1)) * error
