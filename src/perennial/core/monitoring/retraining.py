"""Rules that transition an alarm into a retraining: a cooldown, a weekly budget of alarms, and once per window.

A training costs compute and attention, and a monitor that runs often is sometimes wrong. So an alarm starts a
retraining only if none was requested within the cooldown and the weekly budget of alarms is not spent; after
that a person must look. A person may always request a retraining. Requests of people and of the schedule do not
count against the alarm budget, but they start the cooldown too, since a new model is then on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.assets import Reason
from perennial.core.events import Event, LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.monitoring.levels import Level, MonitorVerdict
from perennial.core.monitoring_spec import RetrainingSpec
from perennial.core.payloads import RetrainRequest

ALARMS = frozenset({Reason.DRIFT, Reason.ACCURACY})
WEEK = timedelta(days=7)


class RetrainingRequest(Frozen):
    """Earlier request for a retraining."""

    at: AwareDatetime
    reason: Reason
    window: str | None = Field(None, description="key of the window that raised the alarm")


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
        RetrainingRequest(at=row.entry.at, reason=request.reason, window=request.window)
        for row in rows
        if row.entry.kind == Event.RETRAIN_REQUESTED
        for request in (RetrainRequest.read(row.entry),)
    ]


def decide_retrain(
    spec: RetrainingSpec,
    verdict: MonitorVerdict,
    window: str,
    past: Iterable[RetrainingRequest],
    now: datetime,
) -> Retrain | Hold:
    """Decide if this verdict requests a training.

    Args:
        window: key of the judged predictions.
        past: all earlier requests of the monitor, of people and of the schedule.
        now: aware; requests after it count as just made.
    """
    if verdict.level is not Level.RETRAIN or verdict.cause is None:
        return Hold(why=f"the level is {verdict.level.value}")
    past = list(past)
    if any(request.window == window for request in past):
        return Hold(why="this window has already requested a retraining")
    newest = max((request.at for request in past), default=None)
    if newest is not None and now < newest + spec.cooldown:
        return Hold(
            why=f"a retraining was requested at {_time(newest)}; quiet until {_time(newest + spec.cooldown)}"
        )
    alarms = sorted(request.at for request in past if request.reason in ALARMS and request.at > now - WEEK)
    if len(alarms) >= spec.max_alarms_per_week:
        free = alarms[-spec.max_alarms_per_week] + WEEK
        return Hold(
            why=f"{len(alarms)} alarms within a week, the budget is {spec.max_alarms_per_week}; "
            f"next possible at {_time(free)}, or by a person: perennial retrain"
        )
    return Retrain(reason=verdict.cause, text=verdict.reasons[0])


def retraining_event(
    reason: Reason, text: str, *, who: str, key: str, digest: str | None = None, window: str | None = None,
    psi: dict[str, float] | None = None,
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
    }


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
