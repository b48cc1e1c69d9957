"""Request a retraining: raise the asset event, then record the request in the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from perennial.core.assets import Reason, retrain_asset
from perennial.core.events import Entry, Event
from perennial.core.monitoring.retraining import retraining_event
from perennial.errors import UsageError
from perennial.ports import Ledger, Scheduler


def request_retraining(
    model: str, reason: Reason, text: str, who: str, ledger: Ledger, scheduler: Scheduler, now: datetime
) -> Entry:
    """Request a retraining for a person or a part other than the monitor; no cooldown or budget applies.

    Raises:
        UsageError: the reason is empty.
        SchedulerUnavailable: nothing was started and nothing is recorded.
    """
    if not text.strip():
        raise UsageError(
            "a retraining needs a reason in words", hint='perennial retrain MODEL --reason "..."'
        )
    extra = retraining_event(reason, text.strip(), who=who, key=f"{who}-{now.isoformat()}")
    return raise_and_record(model, extra, who, ledger, scheduler, now)


def raise_and_record(
    model: str, extra: Mapping[str, Any], who: str, ledger: Ledger, scheduler: Scheduler, now: datetime
) -> Entry:
    """Raise the asset event, then append the request to the ledger.

    The event comes first: a recorded request that started nothing would silence the monitor for the cooldown.
    If the process is killed between the two, the monitor raises the same event again, with the same `key`. One
    run answers a key (`orchestration.trigger_provenance`), so a second event costs a failed run, never a training.
    """
    scheduler.raise_event(retrain_asset(model), extra)
    entry = Entry(
        at=now,
        actor=who,
        kind=Event.RETRAIN_REQUESTED,
        model=model,
        digest=extra.get("digest"),
        payload=dict(extra),
    )
    ledger.append(entry)
    return entry
