"""Prospects of a retraining: reasons why one would not help, and what a cheap back-test says.

A retraining learns from data as it comes. It cannot mend values that an upstream system no longer sends, it is a slow
way to mend a share of positives that a recalibration of the scores mends at once, and it needs new labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
from pydantic import AwareDatetime, Field

from perennial.core.assets import Reason
from perennial.core.events import Entry, Event, LedgerRow, Payload
from perennial.core.frozen import Frozen
from perennial.core.monitoring.levels import AccuracyEstimate
from perennial.core.monitoring.worth.effect import FEWEST_CHANGES, PairedDifference
from perennial.core.monitoring_spec import MonitoringSpec, ProspectsSpec

LATEST = 0.3
"""Share of the labelled answers, the newest, on which a back-test judges."""


class DoubtKind(StrEnum):
    """Why a retraining would not help."""

    UPSTREAM = "upstream breakage"
    PRIOR = "prior shift"
    LABELS = "too few labels"
    BACKTEST = "no gain in the back-test"


class Doubt(Frozen):
    """Reason why a retraining would not help, with its figures."""

    kind: DoubtKind
    text: str


class Backtest(Frozen):
    """A cheap model, trained on recent labelled answers, beside the champion on the latest ones."""

    at: AwareDatetime
    version: str = Field(description="champion")
    learnt: int = Field(ge=0, description="labelled answers that the cheap model learnt from")
    judged: int = Field(ge=0, description="later labelled answers that judge both")
    gain: PairedDifference | None = Field(
        description="None: too few labels, or a kind of task without a cheap model"
    )

    @property
    def promises(self) -> bool:
        """Return whether a gain is likely: the whole interval is above zero, on enough requests answered otherwise."""
        return self.gain is not None and self.gain.changes >= FEWEST_CHANGES and self.gain.low > 0

    @property
    def in_words(self) -> str:
        """The likely gain in a sentence."""
        if self.gain is None:
            return f"no back-test: {self.learnt} and {self.judged} labelled answers, or no cheap model for this task"
        if self.promises:
            words = "a gain is likely"
        elif self.gain.high < 0:
            words = "no gain is likely"
        else:
            words = "no gain is proven"
        return f"{words}: {self.gain.measure.value} {self.gain} on {self.judged} answers"


class Withheld(Payload):
    """Payload of RETRAIN_WITHHELD."""

    why: str
    reason: Reason | None = Field(None, description="what would have asked; None: an alarm")
    doubts: tuple[Doubt, ...] = ()
    backtest: Backtest | None = None


def prior_shift(
    score: np.ndarray, label: np.ndarray, group: np.ndarray, threshold: float, known: float,
    reference: AccuracyEstimate | None, spec: MonitoringSpec, remedy: str,
) -> Doubt | None:  # fmt: skip
    """Return a doubt where a changed share of positives explains the loss of accuracy.

    The scores are corrected for the new share (M. Saerens, P. Latinne, C. Decaestecker, "Adjusting the outputs of a
    classifier to new a priori probabilities", Neural Computation 2002), as a recalibration would. If the corrected
    answers are as accurate as those of the reference, but for less than the level of a watch, that mends the loss.

    Args:
        score, label, group: of labelled answers in order of time, [n]; labels are 0 or 1.
        threshold: score from which the answer is positive.
        known: share of positives in the reference.
        reference: accuracy there.
        remedy: what recalibrates, in words.
    """
    seen = float(np.mean(label)) if len(label) else 0.0
    if reference is None or len(label) < spec.min_labels or not (0 < known < 1 and 0 < seen < 1):
        return None
    positive, negative = score * seen / known, (1 - score) * (1 - seen) / (1 - known)
    total = positive + negative
    corrected = np.divide(positive, total, out=np.zeros_like(total), where=total > 0)
    before = AccuracyEstimate.of((score >= threshold) == (label > 0), group)
    after = AccuracyEstimate.of((corrected >= threshold) == (label > 0), group)
    least = reference.value * (1 - spec.accuracy_drop_percent.watch / 100)
    if before is None or after is None or before.value >= least or after.value < least:
        return None
    return Doubt(
        kind=DoubtKind.PRIOR,
        text=f"the share of positives moved from {known:.1%} to {seen:.1%}, and scores corrected for it are right in "
        f"{after.value:.1%} instead of {before.value:.1%} (reference {reference.value:.1%}): {remedy}",
    )


def few_labels(labels: int | None, spec: ProspectsSpec) -> Doubt | None:
    """Return a doubt where too few labels came since the champion's training.

    Args:
        labels: number of labelled answers since; None: not counted.
    """
    if labels is None or labels >= spec.fewest_labels:
        return None
    return Doubt(
        kind=DoubtKind.LABELS,
        text=f"{labels} labels came since the champion's training, {spec.fewest_labels} are needed",
    )


def no_gain(backtest: Backtest, spec: ProspectsSpec) -> Doubt | None:
    """Return a doubt where a back-test proves that less than the least gain is to be had."""
    if spec.least_gain is None or backtest.gain is None or backtest.gain.high >= spec.least_gain:
        return None
    return Doubt(kind=DoubtKind.BACKTEST, text=f"{backtest.in_words}, {spec.least_gain:g} is needed")


def unpromising(backtest: Backtest, spec: ProspectsSpec) -> Doubt | None:
    """Return a doubt about a training that only new labels ask for, where one is not wanted without a likely gain.

    An alarm is evidence that something is wrong, so a back-test must exclude a gain to hold it (`no_gain`). Labels are
    evidence of nothing: the gain itself must be proven.
    """
    if spec.labels_need_gain and not backtest.promises:
        return Doubt(kind=DoubtKind.BACKTEST, text=backtest.in_words)
    return no_gain(backtest, spec)


def withheld_entry(
    model: str, actor: str, digest: str, window: str, reason: Reason, asked: str, doubts: Iterable[Doubt],
    backtest: Backtest | None, now: datetime,
) -> Entry:  # fmt: skip
    """Return the ledger entry of an alarm, or of enough labels, that started no training; it is the alert for a person.

    Args:
        digest: of the champion. window: key of the judged window. asked: finding that would have asked.
    """
    doubts = tuple(doubts)
    return Entry(
        at=now,
        actor=actor,
        kind=Event.RETRAIN_WITHHELD,
        model=model,
        digest=digest,
        payload={
            "why": f"{asked}; a retraining would not help: {'; '.join(doubt.text for doubt in doubts)}",
            "window": window,
            "reason": reason.value,
            "doubts": [doubt.model_dump(mode="json") for doubt in doubts],
            "backtest": None if backtest is None else backtest.model_dump(mode="json"),
        },
    )


def still_withheld(
    rows: Iterable[LedgerRow], digest: str, reason: Reason, cooldown: timedelta, now: datetime
) -> LedgerRow | None:
    """Return the alert about this champion within the cooldown, which is not raised again; None without one.

    What is said about new labels holds no alarm: a loss that is proven meanwhile is another matter.
    """
    alerts = [
        row
        for row in rows
        if row.entry.kind == Event.RETRAIN_WITHHELD
        and row.entry.digest == digest
        and now < row.entry.at + cooldown
        and (reason is Reason.LABELS or Withheld.read(row.entry).reason is not Reason.LABELS)
    ]
    return alerts[-1] if alerts else None


def withheld_before(alert: LedgerRow) -> str:
    """Return in words when and why an alert (`still_withheld`) was raised."""
    return f"withheld at {alert.entry.at:%Y-%m-%d %H:%M:%S} UTC: {Withheld.read(alert.entry).why}"
