"""Ask for a training: raise the asset event, then remember it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from perennial.core.assets import retrain_asset
from perennial.core.events import Entry, Event
from perennial.core.monitoring.retraining import retraining_event
from perennial.core.spec import Reason
from perennial.errors import UsageError
from perennial.ports import Ledger, Scheduler


def request_retraining(
    model: str, reason: Reason, text: str, who: str, ledger: Ledger, scheduler: Scheduler, now: datetime
) -> Entry:
    """A person, or a part that is not the monitor, asks; no cooldown and no budget hold it back.

    Raises:
        UsageError: no reason in words was given.
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
    """The event first: a recorded request that started nothing would silence the monitor for the cooldown.

    Killed between the two, the monitor raises the same event again, told by its `key`; the training DAG
    runs one at a time, so the cost is a second training, never a missed one.
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
