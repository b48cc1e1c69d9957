"""Rules that transition an alarm into a retraining: a cooldown, a weekly limit, and once per finding.

What an alarm is, and how often it may be wrong, the detector's budget says (`harm_detector`, `alarm_budget`). These
rules bound what alarms cost: an alarm starts a retraining only if none was requested within the cooldown and fewer than
`max_alarms_per_week` alarms asked within a week, whatever their truth; after that a person must look. A finding that
lasts asks once a week while the champion is the same. A person may always request a retraining. Requests of people and
of the schedule do not count against the limit, but they start the cooldown too, since a new model is then on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.assets import Reason
from perennial.core.events import Event, LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.monitoring.levels import MonitorVerdict
from perennial.core.monitoring.worth.prospects import Backtest
from perennial.core.monitoring_spec import MonitoringSpec, RetrainingSpec
from perennial.core.payloads import RetrainRequest

ALARMS = frozenset({Reason.DRIFT, Reason.ACCURACY})
"""Reasons of the monitor; no drift asks any more, but the ledger has earlier ones that did."""
WEEK = timedelta(days=7)
ASK_AGAIN = timedelta(days=7)
"""A lasting finding asks again after it: its training may have failed, or a rollback brought its champion back."""


class RetrainingRequest(Frozen):
    """Earlier request for a retraining."""

    at: AwareDatetime
    reason: Reason
    window: str | None = Field(None, description="key of the window that raised the alarm")
    digest: str | None = Field(None, description="champion that the alarm was about")
    moved: frozenset[str] = Field(frozenset(), description="features that moved as far as level retrain")


class JudgedWindow(Frozen):
    """Window of predictions that a verdict judges."""

    key: str
    digest: str = Field(description="of the champion")
    moved: frozenset[str] = frozenset()

    @classmethod
    def of(cls, key: str, digest: str, policy: MonitoringSpec, drifts: Iterable[ColumnDrift]) -> JudgedWindow:
        """Return the window with the features whose drift reaches level retrain."""
        far = (drift for drift in drifts if drift.of_feature and drift.excess >= policy.psi.retrain)
        return cls(key=key, digest=digest, moved=frozenset(drift.column for drift in far))


class Retrain(Frozen):
    """Decision to request a training now."""

    reason: Reason
    text: str


class Hold(Frozen):
    """Decision to request no training, with the reason."""

    why: str


def retraining_requests(rows: Iterable[LedgerRow]) -> list[RetrainingRequest]:
    """Return the earlier requests from the ledger rows of a model, in their order."""
    return [
        RetrainingRequest(
            at=row.entry.at,
            reason=request.reason,
            window=request.window,
            digest=row.entry.digest,
            moved=frozenset(request.moved),
        )
        for row in rows
        if row.entry.kind == Event.RETRAIN_REQUESTED
        for request in (RetrainRequest.read(row.entry),)
    ]


def decide_retrain(
    spec: RetrainingSpec,
    verdict: MonitorVerdict,
    window: JudgedWindow,
    past: Iterable[RetrainingRequest],
    now: datetime,
) -> Retrain | Hold:
    """Decide if this verdict requests a training.

    Args:
        past: all earlier requests of the monitor, of people and of the schedule.
        now: aware; requests after it count as just made.
    """
    if not verdict.causes:
        return Hold(why=f"the level is {verdict.level.value}")
    past = list(past)
    if any(request.window == window.key for request in past):
        return Hold(why="this window has already requested a retraining")
    held = [_lasting(cause.reason, window, past, now) for cause in verdict.causes]
    new = next((cause for cause, hold in zip(verdict.causes, held, strict=True) if hold is None), None)
    if new is None:
        return Hold(why="; ".join(hold for hold in held if hold is not None))
    newest = max((request.at for request in past), default=None)
    if newest is not None and now < newest + spec.cooldown:
        return Hold(
            why=f"a retraining was requested at {_time(newest)}; quiet until {_time(newest + spec.cooldown)}"
        )
    alarms = sorted(request.at for request in past if request.reason in ALARMS and request.at > now - WEEK)
    if len(alarms) >= spec.max_alarms_per_week:
        free = alarms[-spec.max_alarms_per_week] + WEEK
        return Hold(
            why=f"{len(alarms)} alarms within a week, the limit is {spec.max_alarms_per_week}; "
            f"next possible at {_time(free)}, or by a person: perennial retrain"
        )
    return Retrain(reason=new.reason, text=new.text)


def _lasting(
    reason: Reason, window: JudgedWindow, past: Iterable[RetrainingRequest], now: datetime
) -> str | None:
    """Return why a finding that asked for this champion within ASK_AGAIN is held; None where it is new."""
    recent = (request for request in past if request.at > now - ASK_AGAIN)
    same = [request for request in recent if (request.digest, request.reason) == (window.digest, reason)]
    if not same:
        return None
    newest = max(request.at for request in same)
    return (
        f"the same alarm of this champion asked at {_time(newest)}; next after {_time(newest + ASK_AGAIN)}; "
        "sooner by a new champion, or a person: perennial retrain"
    )


def retraining_event(
    reason: Reason, text: str, *, who: str, key: str, digest: str | None = None, window: str | None = None,
    psi: dict[str, float] | None = None, moved: Iterable[str] = (), backtest: Backtest | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return the payload of a request for the asset event and the ledger, as plain JSON values.

    `key` identifies the request, so that a receiver can recognise a repeated event.
    """
    return {
        "reason": reason.value,
        "text": text,
        "who": who,
        "key": key,
        "digest": digest,
        "window": window,
        "psi": dict(psi or {}),
        "moved": sorted(moved),
        **(
            {}
            if backtest is None
            else {"likely": backtest.in_words, "backtest": backtest.model_dump(mode="json")}
        ),
    }


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
