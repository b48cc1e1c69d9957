"""When a verdict becomes a retraining: cooldown, a budget of alarms, and never twice for one window.

A training costs compute and people's attention, and a monitor that looks often will now and then be wrong.
So an alarm is obeyed only when no retraining was asked for within the cooldown, and only so many alarms a
week; after that a person has to look. A person may always ask: people, like the schedule, spend nothing of
the alarm budget, but what they ask for starts the cooldown too, since a new model is then on its way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, Field

from perennial.core.events import Event, LedgerRow
from perennial.core.monitoring.levels import Level, MonitorVerdict
from perennial.core.payloads import RetrainRequest
from perennial.core.spec import Frozen, Reason, RetrainingSpec

ALARMS = frozenset({Reason.DRIFT, Reason.ACCURACY})
WEEK = timedelta(days=7)


class RetrainingRequest(Frozen):
    """One retraining that somebody asked for."""

    at: AwareDatetime
    reason: Reason
    window: str | None = Field(None, description="key of the window that alarmed")


class Retrain(Frozen):
    """Ask for a training now."""

    reason: Reason
    text: str


class Hold(Frozen):
    """Do not, and why."""

    why: str


def retraining_requests(rows: Iterable[LedgerRow]) -> list[RetrainingRequest]:
    """What was asked for so far, out of the rows of one model's ledger, in their order."""
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
    """Whether this verdict asks for a training.

    Args:
        window: names the predictions that were judged.
        past: every earlier request, whoever made it.
        now: aware; requests after it count as just made.
    """
    if verdict.level is not Level.RETRAIN or verdict.cause is None:
        return Hold(why=f"the level is {verdict.level.value}")
    past = list(past)
    if any(one.window == window for one in past):
        return Hold(why="this window has asked for a retraining before")
    newest = max((one.at for one in past), default=None)
    if newest is not None and now < newest + spec.cooldown:
        return Hold(
            why=f"a retraining was asked for at {_time(newest)}; quiet until {_time(newest + spec.cooldown)}"
        )
    alarms = sorted(one.at for one in past if one.reason in ALARMS and one.at > now - WEEK)
    if len(alarms) >= spec.max_alarms_per_week:
        free = alarms[-spec.max_alarms_per_week] + WEEK
        return Hold(
            why=f"{len(alarms)} alarms within a week, no more than {spec.max_alarms_per_week} are obeyed; "
            f"the next one from {_time(free)}, or by a person: perennial retrain"
        )
    return Retrain(reason=verdict.cause, text=verdict.reasons[0])


def retraining_event(
    reason: Reason, text: str, *, who: str, key: str, digest: str | None = None, window: str | None = None,
    psi: dict[str, float] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What the asset event and the ledger say of one request: plain JSON values.

    `key` is the same for the same request: whoever gets it twice can tell.
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
