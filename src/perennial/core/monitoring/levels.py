"""Alarm level of a window of predictions: unsure, ok, watch, warn or retrain.

The levels of the spec are compared with figures that noise alone does not reach:

- harm asks for a retraining: the sequential detector (`harm_detector`) has found a loss beyond the `watch` level, and
  the loss since then is estimated at the `retrain` level or more; a smaller one is a warning;
- drift of the inputs is at most a warning, as is drift of the score: both also move when the model stays right. Feature
  drift reaches a level when at least `features_needed` columns are proven to have moved by more than it (`measured`); a
  single one, or all of them together where none moved alone, is a watch. What is proven, but not certain enough for the
  budget of false warnings of a month (`alarm_budget`), is a watch too;
- the accuracy of the window is at most a warning. It reaches a level when a one-sided 95 % test says that the drop,
  relative to the reference, is larger than the level: at every look one in twenty such tests errs, so it asks for
  nothing. Neighbouring rows are not independent, so its standard error comes from batch means (Schmeiser 1982, "Batch
  size effects in the analysis of simulation output").

Too few predictions give UNSURE, never an alarm; with too few labels the accuracy is not judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used
from pydantic import Field

from perennial.core.assets import Reason
from perennial.core.frozen import Frozen
from perennial.core.monitoring.batch_means import BATCHES, batch_mean
from perennial.core.monitoring.drift import JOINT, ColumnDrift
from perennial.core.monitoring.estimated_accuracy import EstimatedAccuracy
from perennial.core.monitoring.harm_detector import Harm
from perennial.core.monitoring_spec import Levels, MonitoringSpec, ShareLevels

CONFIDENCE = 0.95
UNCERTAIN = "; no warning, since chance does this more often than the budget of false drift warnings allows"


class Level(StrEnum):
    """Alarm level of a window, rising."""

    UNSURE = "unsure"
    OK = "ok"
    WATCH = "watch"
    WARN = "warn"
    RETRAIN = "retrain"

    @property
    def rank(self) -> int:
        """Return -1 for UNSURE, 0 for OK, then rising; this is also the exported metric."""
        return list(Level).index(self) - 1


class AccuracyEstimate(Frozen):
    """Share of right answers with its standard error."""

    value: float = Field(ge=0, le=1)
    error: float = Field(ge=0, description="standard error by batch means")
    labels: int = Field(ge=0)
    batches: int = Field(BATCHES, ge=2, description="number of batches that the error is from")

    @classmethod
    def of(cls, right: np.ndarray, group: np.ndarray) -> AccuracyEstimate | None:
        """Estimate from right or wrong answers, whose groups are right or wrong together (`batch_mean`).

        Args:
            right: from 0 to 1, [n], in time order.
            group: [n], the group of each answer.

        Returns:
            None where `batch_mean` has none.
        """
        mean = batch_mean(right, group)
        if mean is None:
            return None
        return cls(value=mean.value, error=mean.error, labels=len(right), batches=mean.batches)


class Coverage(Frozen):
    """Share of the labels inside the intervals of their answers, beside the share that was claimed."""

    seen: AccuracyEstimate
    claimed: float = Field(gt=0, lt=1)

    @property
    def is_short(self) -> bool:
        """Return True if a one-sided t test shows that fewer labels than claimed are inside."""
        t = float(scipy.stats.t.ppf(CONFIDENCE, self.seen.batches - 1))
        return self.claimed - self.seen.value > t * self.seen.error

    def __str__(self) -> str:
        return f"the {self.claimed:.0%} intervals hold {self.seen.value:.1%} of {self.seen.labels} labels"


class Cause(Frozen):
    """Finding that alone is a reason to retrain."""

    reason: Reason
    text: str


class MonitorVerdict(Frozen):
    """Judgement of a window, with its evidence."""

    level: Level
    causes: tuple[Cause, ...] = Field((), description="all findings at RETRAIN, in the order of `reasons`")
    reasons: tuple[str, ...] = Field(description="a sentence per finding, the worst first")
    rows: int
    drifts: tuple[ColumnDrift, ...] = ()
    reference: AccuracyEstimate | None = None
    window: AccuracyEstimate | None = None
    coverage: Coverage | None = Field(None, description="of answers with intervals, where labels came")
    harm: Harm | None = Field(None, description="loss that the detector has found and that lasts")
    estimated: EstimatedAccuracy | None = Field(None, description="without labels; no level depends on it")
    unknown_share: float | None = Field(None, description="of the predictions: without any known feature")
    refused_share: float | None = Field(None, description="of the requests: 4xx")
    faults: tuple[str, ...] = Field((), description="of the source, which look like drift")

    @property
    def drop_percent(self) -> float | None:
        """Return the loss of accuracy relative to the reference, in percent; a negative loss is a gain."""
        if self.reference is None or self.window is None or self.reference.value == 0:
            return None
        return 100 * (self.reference.value - self.window.value) / self.reference.value


def verdict(
    spec: MonitoringSpec,
    drifts: Sequence[ColumnDrift],
    reference: AccuracyEstimate | None,
    window: AccuracyEstimate | None,
    rows: int,
    requests: int | None = None,
    unknown: float | None = None,
    refused: float | None = None,
    coverage: Coverage | None = None,
    harm: Harm | None = None,
) -> MonitorVerdict:
    """Judge a window of predictions.

    Args:
        spec: monitoring policy of the model.
        drifts: drift of each watched column and of the score.
        reference: accuracy on the evaluation data.
        window: accuracy on the labelled rows of the window; None with too few labels.
        rows: number of predictions in the window.
        requests: number of requests in the window; None: as many as predictions.
        unknown: share of predictions without any known feature, which are not in the window.
        refused: share of refused requests.
        coverage: of the labelled rows of the window; too narrow intervals are at most a warning.
        harm: loss that the detector has found.
    """
    apart = {"unknown_share": unknown, "refused_share": refused}
    shares = [
        (*traffic_share(spec.unknown_share, unknown, "predictions without any known feature"), None),
        (*traffic_share(spec.refused_share, refused, "requests refused"), None),
    ]
    if rows < spec.min_window or (requests is not None and requests < spec.min_requests):
        text = f"{rows} predictions since the release, {spec.min_window} needed"
        if rows >= spec.min_window:
            text = f"{rows} predictions of {requests} requests, {spec.min_requests} requests needed"
        reasons = (text, *(reason for level, reason, _ in shares if level is not Level.OK))
        return MonitorVerdict(level=Level.UNSURE, reasons=reasons, rows=rows, **apart)
    judged = window if window is not None and window.labels >= spec.min_labels else None
    moved = _features(spec, drifts)
    findings: list[tuple[Level, str, Reason | None]] = [
        *_harm(spec.accuracy_drop_percent, harm, moved),
        (*moved, None),
        (*_score(spec, drifts), None),
        (*_accuracy(spec.accuracy_drop_percent, reference, judged), None),
        *(share for share in shares if share[0] is not Level.OK),
    ]
    if coverage is not None and coverage.seen.labels >= spec.min_labels:
        findings.append((Level.WARN if coverage.is_short else Level.OK, str(coverage), None))
    findings.sort(key=lambda finding: -finding[0].rank)
    return MonitorVerdict(
        level=findings[0][0],
        causes=tuple(
            Cause(reason=reason, text=text)
            for level, text, reason in findings
            if level is Level.RETRAIN and reason is not None
        ),
        reasons=tuple(text for _, text, _ in findings),
        rows=rows,
        drifts=tuple(drifts),
        reference=reference,
        window=judged,
        coverage=coverage,
        harm=harm,
        **apart,
    )


def traffic_share(levels: ShareLevels, share: float | None, what: str) -> tuple[Level, str]:
    """Return the level that a share of the traffic reaches, with a sentence; at most a warning."""
    if share is None or share < levels.watch:
        return Level.OK, ""
    return Level.WARN if share >= levels.warn else Level.WATCH, f"{share:.0%} of the {what}"


def reached(levels: Levels, value: float) -> Level:
    """Return the highest level that a value reaches."""
    for level in (Level.RETRAIN, Level.WARN, Level.WATCH):
        if value >= getattr(levels, level.value):
            return level
    return Level.OK


def _at_most_warn(level: Level) -> Level:
    return min(level, Level.WARN, key=lambda level: level.rank)


def _harm(
    levels: Levels, harm: Harm | None, moved: tuple[Level, str]
) -> list[tuple[Level, str, Reason | None]]:
    """Return the finding of the detector, with the drift that may explain it."""
    if harm is None:
        return []
    level = max(reached(levels, harm.loss_percent), Level.WARN, key=lambda level: level.rank)
    cause = f"; perhaps since {moved[1]}" if moved[0].rank >= Level.WATCH.rank else ""
    return [(level, f"{harm}{cause}", Reason.ACCURACY)]


def is_held_back(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> bool:
    """Return whether drift is proven as far as a warning, and only the budget of false warnings forbids one."""
    return _reaches_warn(spec, drifts) and not _reaches_warn(
        spec, [drift for drift in drifts if drift.is_certain]
    )


def _reaches_warn(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> bool:
    score = any(drift.of_prediction and drift.excess >= spec.psi.warn for drift in drifts)
    return score or _features_reach_warn(spec, drifts)


def _features_reach_warn(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> bool:
    far = sum(drift.of_feature and drift.excess >= spec.psi.warn for drift in drifts)
    return far >= spec.features_needed


def _features(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> tuple[Level, str]:
    features = sorted((drift for drift in drifts if drift.of_feature), key=lambda drift: -drift.excess)
    moved = [drift for drift in features if drift.excess >= spec.psi.watch]
    together = next((drift for drift in drifts if drift.column == JOINT), None)
    texts = [str(drift) for drift in moved[:3]]
    level = Level.OK
    far = unsure = ""
    if len(features) >= spec.features_needed:
        level = reached(spec.psi, features[spec.features_needed - 1].excess)
        far = ", as far as level retrain" if level is Level.RETRAIN else ""
        held = not _features_reach_warn(spec, [drift for drift in features if drift.is_certain])
        if level.rank >= Level.WARN.rank and held:
            level, unsure = Level.WATCH, UNCERTAIN
    if together is not None and together.excess >= spec.psi.watch and not moved:
        texts = [f"none alone, but how they depend on each other: {together}"]
    if texts and level is Level.OK:
        level = Level.WATCH
    text = f"{len(moved)} of {len(features)} features moved{far}{': ' if texts else ''}{', '.join(texts)}{unsure}"
    return _at_most_warn(level), text


def _score(spec: MonitoringSpec, drifts: Sequence[ColumnDrift]) -> tuple[Level, str]:
    scores = [drift for drift in drifts if drift.of_prediction]
    if not scores:
        return Level.OK, "the score was not compared"
    worst = max(scores, key=lambda drift: (drift.excess, drift.psi))
    level = _at_most_warn(reached(spec.psi, worst.excess))
    if level is Level.WARN and not any(s.is_certain and s.excess >= spec.psi.warn for s in scores):
        return Level.WATCH, f"{worst}{UNCERTAIN}"
    return level, str(worst)


def _accuracy(
    levels: Levels, reference: AccuracyEstimate | None, window: AccuracyEstimate | None
) -> tuple[Level, str]:
    if reference is None or window is None:
        return Level.OK, "too few labels to judge the accuracy"
    text = f"accuracy {reference.value:.1%} -> {window.value:.1%} on {window.labels} labels"
    for level in (Level.RETRAIN, Level.WARN, Level.WATCH):
        if _dropped(reference, window, getattr(levels, level.value) / 100):
            return _at_most_warn(level), text
    return Level.OK, text


def _dropped(reference: AccuracyEstimate, window: AccuracyEstimate, share: float) -> bool:
    """Return True if a one-sided t test shows that window < reference * (1 - share)."""
    limit = reference.value * (1 - share)
    error = math.hypot((1 - share) * reference.error, window.error)
    freedom = min(reference.batches, window.batches) - 1
    return limit - window.value > float(scipy.stats.t.ppf(CONFIDENCE, freedom)) * error
