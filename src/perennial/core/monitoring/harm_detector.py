"""Sequential detector of harm: a version answers worse than its reference, or than it did before.

The state holds sums only, so that a killed monitor goes on where it stopped. Batches enter in order of the time of
their predictions. Beside the evidence (`harm_evidence`), each bet has a CUSUM since which its gains are positive
(Page 1954): the start of the one with the most evidence tells since about when, and its sums how much was lost.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import cache

import numpy as np
import scipy  # loads its parts, here those of a second, when they are first used
from pydantic import AwareDatetime, Field

from perennial.core.frozen import Frozen
from perennial.core.monitoring.batches import BatchedReference, OpenBatch, batch_weight
from perennial.core.monitoring.harm_evidence import (
    AGAINST,
    FIRST,
    REFERENCE_MARGIN,
    SHAPE,
    Figures,
    History,
    RunSums,
    bets,
    deviation,
    grown,
    learnt_mean,
    limits,
    mean_error,
    total,
)

MONTH = timedelta(days=30)
BETS = SHAPE[0] * SHAPE[1]


class Run(Frozen):
    """Batches since which the gains of a bet are positive together."""

    gain: float = Field(0.0, ge=0)
    since: AwareDatetime | None = None
    batches: int = Field(0, ge=0)
    rows: int = Field(0, ge=0)
    weight: float = 0.0
    off: float = Field(0.0, description="of weight times deviation from the mean of the reference")

    def with_batch(self, gain: float, weight: float, off: float, rows: int, begins: datetime) -> Run:
        """Return the run with one more batch, after which it has these sums; an empty one without a gain."""
        if gain <= 0:
            return Run()
        return Run(
            gain=gain,
            since=self.since or begins,
            batches=self.batches + 1,
            rows=self.rows + rows,
            weight=weight,
            off=off,
        )


class Alarm(Frozen):
    """Crossing of the evidence that has not ended."""

    number: int = Field(ge=1, description="of this version")
    at: AwareDatetime = Field(description="time of the last prediction that was needed")
    bet: int = Field(ge=0, lt=BETS)
    base: float = Field(description="what the version reached before")
    base_error: float = Field(ge=0)
    rows: int = Field(ge=0, description="rows between the change, as estimated, and the alarm")


class Harm(Frozen):
    """Statement of a standing alarm as of now."""

    number: int
    at: AwareDatetime
    since: AwareDatetime
    against: str
    base: float
    now: float
    low: float = Field(description="least loss, of a 95 % interval")
    high: float
    rows: int
    found_after: int = Field(description="rows from the change, as estimated, to the alarm")
    is_share: bool = True

    @property
    def loss_percent(self) -> float:
        """Return the loss relative to what was reached before, in percent."""
        return 100 * (self.base - self.now) / abs(self.base) if self.base else 0.0

    def __str__(self) -> str:
        when = f"since about {self.since:%Y-%m-%d %H:%M} UTC, found after {self.found_after} labels"
        if self.is_share:
            points = f"{100 * self.low:.1f} to {100 * self.high:.1f} points"
            return f"accuracy {self.base:.1%} -> {self.now:.1%} (loss {points}) {when}"
        more = f"{self.low:.3g} to {self.high:.3g} more"
        return f"mean error {-self.base:.4g} -> {-self.now:.4g} ({more}) {when}"


class DetectorState(Frozen):
    """State of the detector of a version."""

    digest: str
    reference: BatchedReference
    until: AwareDatetime = Field(description="predictions before it have been counted")
    reached: AwareDatetime = Field(description="end of the newest batch; at first the start")
    began: AwareDatetime
    batches: int = Field(0, ge=0)
    rows: int = Field(0, ge=0)
    weight: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    last: float = 0.0
    evidence: tuple[float, ...] = Field((0.0,) * BETS, min_length=BETS, max_length=BETS)
    runs: tuple[Run, ...] = Field((Run(),) * BETS, min_length=BETS, max_length=BETS)
    open: OpenBatch = OpenBatch()
    alarm: Alarm | None = None
    alarms: int = Field(0, ge=0, description="of this version")
    alarmed: tuple[AwareDatetime, ...] = Field(
        (), description="times of the alarms of a month, of earlier versions too"
    )
    seen: int = Field(0, ge=0, description="predictions that were old enough")
    labelled: int = Field(0, ge=0, description="of them, those with a label by then")

    @classmethod
    def begin(
        cls, digest: str, reference: BatchedReference, at: datetime, earlier: DetectorState | None = None
    ) -> DetectorState:
        """Return the state of a version that begins to be judged; `earlier` is that of the version before."""
        alarmed = () if earlier is None else earlier.alarmed
        return cls(digest=digest, reference=reference, until=at, reached=at, began=at, alarmed=alarmed)

    @property
    def history(self) -> History:
        return History(self.batches, self.weight, self.total, self.squares, self.products, self.last)

    @property
    def run_sums(self) -> RunSums:
        sums = [(run.gain, run.weight, run.off) for run in self.runs]
        gain, weight, off = np.array(sums).T
        return RunSums(gain.reshape(SHAPE), weight.reshape(SHAPE), off.reshape(SHAPE))

    @property
    def harm(self) -> Harm | None:
        """Return what the standing alarm says by all batches so far."""
        alarm = self.alarm
        if alarm is None or (since := self.runs[alarm.bet].since) is None:
            return None
        run = self.runs[alarm.bet]
        now = self.reference.mean + run.off / run.weight
        error = float(deviation(self.reference, self.history)) * math.sqrt(run.batches) / run.weight
        half = _quantile(0.975, self.reference.batches - 1 + run.batches) * math.hypot(
            error, alarm.base_error
        )
        loss = alarm.base - now
        return Harm(
            number=alarm.number, at=alarm.at, since=since, against=AGAINST[alarm.bet // SHAPE[1]],
            base=alarm.base, now=now, low=loss - half, high=loss + half, rows=run.rows, found_after=alarm.rows,
            is_share=self.reference.is_share,
        )  # fmt: skip

    def alarms_since(self, at: datetime) -> int:
        return sum(when > at for when in self.alarmed)

    def rows_per_month(self) -> float | None:
        """Return the labelled rows that a month brings; None before the first batch."""
        span = self.reached - self.began
        return self.rows / (span / MONTH) if self.batches and span > timedelta(0) else None

    def arl_rows(self, budget: float) -> float | None:
        """Return the labelled rows per false alarm, at least, at this traffic."""
        month = self.rows_per_month()
        return None if month is None or budget <= 0 else month / budget


def with_batch(
    state: DetectorState,
    mean: float,
    rows: int,
    begins: datetime,
    ends: datetime,
    tolerated: float,
    budget: float,
) -> DetectorState:
    """Return the state after a batch.

    Args:
        mean: of the batch; higher is better.
        begins, ends: times of its first and of its last prediction.
        tolerated: share of the reference that may be lost.
        budget: false alarms a month that this model may cost.
    """
    reference, history = state.reference, state.history
    weight = float(batch_weight(rows, reference.size))
    lines = limits(
        reference, history, state.run_sums, tolerated, _quantile(REFERENCE_MARGIN, reference.batches - 1)
    )
    gains = bets(lines, mean, weight, deviation(reference, history))
    accrued = budget * (max(ends - state.reached, timedelta(0)) / MONTH)
    evidence = grown(np.reshape(state.evidence, SHAPE), gains, accrued)
    sums = state.run_sums.with_batch(gains, mean - reference.mean, weight)
    after = zip(sums.gain.ravel(), sums.weight.ravel(), sums.off.ravel(), strict=True)
    runs = tuple(
        run.with_batch(float(gain), float(heavy), float(off), rows, begins)
        for run, (gain, heavy, off) in zip(state.runs, after, strict=True)
    )
    grown_history = history.with_batch(mean - reference.mean, weight)
    alarm, alarmed = state.alarm, state.alarmed
    if alarm is not None and not runs[alarm.bet].batches:
        alarm = None
    begun = np.array([run.batches > 0 for run in runs])
    if total(evidence) >= 1 and history.batches >= FIRST and begun.any():
        if alarm is None:
            bet = int(np.argmax(np.where(begun, evidence.ravel(), -1.0)))
            alarm = _alarm(state, grown_history, runs[bet], bet, ends)
            alarmed = (*(at for at in alarmed if at > ends - MONTH), ends)
        evidence = np.zeros(SHAPE)
    return state.model_copy(
        update={
            "reached": max(ends, state.reached),
            "batches": grown_history.batches,
            "rows": state.rows + rows,
            "weight": float(grown_history.weight),
            "total": float(grown_history.total),
            "squares": float(grown_history.squares),
            "products": float(grown_history.products),
            "last": float(grown_history.last),
            "evidence": tuple(evidence.ravel().tolist()),
            "runs": runs,
            "alarm": alarm,
            "alarms": state.alarms + (alarmed is not state.alarmed),
            "alarmed": alarmed,
        }
    )


@cache
def _quantile(share: float, freedom: int) -> float:
    return float(scipy.stats.t.ppf(share, freedom))


def _alarm(state: DetectorState, history: History, run: Run, bet: int, at: datetime) -> Alarm:
    """Return the alarm of a bet, with what the version reached before the run."""
    reference = state.reference
    base = reference.mean
    error: Figures = mean_error(reference)
    if AGAINST[bet // SHAPE[1]] == "history":
        before = History(history.batches - run.batches, history.weight - run.weight, history.total - run.off)
        base = float(learnt_mean(reference, before))
        spread = deviation(reference, history)
        error = spread * math.sqrt(reference.batches + before.batches) / (reference.weight + before.weight)
    return Alarm(number=state.alarms + 1, at=at, bet=bet, base=base, base_error=float(error), rows=run.rows)
