"""Decide on an alarm: hold it, ask a person where a training would not help, or let it start one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from perennial.core.assets import Reason
from perennial.core.events import LedgerRow, SystemActor
from perennial.core.monitoring.levels import MonitorVerdict
from perennial.core.monitoring.retraining import (
    Hold,
    JudgedWindow,
    Retrain,
    decide_retrain,
    retraining_requests,
)
from perennial.core.monitoring.worth.prospects import (
    Backtest,
    Doubt,
    DoubtKind,
    Withheld,
    still_withheld,
    withheld_before,
    withheld_entry,
)
from perennial.core.monitoring.worth.reluctance import fruitless_in_a_row, reluctant, retrainings, why_longer
from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.flows.monitoring.prospects import look_ahead, look_back, newest_labelled, since_training
from perennial.ports import FeedbackStore, Ledger, PredictionLog, Reference

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Labelled:
    """Ports of labelled answers and cheap models."""

    ledger: Ledger
    predictions: PredictionLog
    feedback: FeedbackStore
    references: Callable[[Task], Mapping[str, Reference]]


@dataclass(frozen=True)
class Judged:
    """Subject of an alarm."""

    reference: pd.DataFrame
    key: str
    """Key of the window."""
    past: list[LedgerRow]
    """Rows of the ledger about the model."""


def decide(
    spec: ModelSpec, judged: MonitorVerdict, alarmed: JudgedWindow, rows: list[LedgerRow], now: datetime
) -> Retrain | Hold:
    """Decide on a retraining, more reluctantly after some that brought nothing."""
    if spec.entrypoint is None:
        return Hold(why="nothing trains this model here: its versions are imported")
    fruitless = fruitless_in_a_row(retrainings(rows))
    policy = reluctant(spec.retraining, fruitless)
    decision = decide_retrain(policy, judged, alarmed, retraining_requests(rows), now)
    longer = why_longer(spec.retraining, fruitless)
    if isinstance(decision, Hold) and judged.causes and longer:
        return Hold(why=f"{decision.why}; {longer}")
    return decision


def withhold_or_go_on(
    spec: ModelSpec,
    target: Target,
    judged: MonitorVerdict,
    decision: Retrain,
    rows: Judged,
    ports: Labelled,
    now: datetime,
) -> tuple[Retrain | Hold, Backtest | None]:
    """Hold a training that would not help, and alert a person once in a cooldown; else return it with its back-test."""
    if alert := still_withheld(rows.past, target.digest, decision.reason, spec.retraining.cooldown, now):
        return Hold(why=withheld_before(alert)), None
    trained = since_training(rows.past, target.digest, now)
    oldest = min(trained, look_back(now))
    answered = newest_labelled(spec, target.digest, oldest, ports.predictions, ports.feedback, now)
    broken = tuple(
        Doubt(kind=DoubtKind.UPSTREAM, text=f"{text}: mend what sends it") for text in judged.faults
    )
    ahead = look_ahead(
        spec,
        target,
        rows.reference,
        judged.reference,
        decision.reason is Reason.ACCURACY,
        answered,
        int((answered["at"] >= trained).sum()),
        ports.references,
        now,
        broken,
    )
    doubts = ahead.doubts
    if not doubts:
        return decision, ahead.backtest
    entry = withheld_entry(
        spec.name,
        SystemActor.MONITOR,
        target.digest,
        rows.key,
        decision.reason,
        decision.text,
        doubts,
        ahead.backtest,
        now,
    )
    ports.ledger.append(entry)
    return Hold(why=f"withheld: {Withheld.read(entry).why}"), ahead.backtest
