"""Messages of Alertmanager as ledger entries. They are shown and sent on; nothing decides by them. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from perennial.core.events import Entry, Event, LedgerRow, Payload, SystemActor
from perennial.core.frozen import Frozen
from perennial.errors import MalformedInput

LONGEST_TEXT, LONGEST_NAME = 1500, 200
MOST_ALERTS = 100
"""Alerts of a message that are kept; the others are counted."""
AGAIN = timedelta(minutes=10)
"""The same message within this time is one that was sent twice; later it is a reminder."""
KINDS = (Event.ALERT_FIRING, Event.ALERT_RESOLVED)
ALREADY_TOLD = ("ModelRetrain", "ReleaseUnattended")
"""Alerts about what an entry of the ledger, and so a notice, has said already."""

Text = Annotated[str, StringConstraints(max_length=50_000)]


class _Given(BaseModel):
    """A part of what Alertmanager sends, of which other keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _GivenAlert(_Given):
    status: Literal["firing", "resolved"]
    labels: dict[str, Text]
    annotations: dict[str, Text] = Field(default_factory=dict)
    startsAt: AwareDatetime  # noqa: N815 the key of Alertmanager
    fingerprint: Annotated[str, StringConstraints(max_length=LONGEST_NAME)]


class _Message(_Given):
    """Version 4 of the webhook of Alertmanager: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"""

    version: Literal["4"]
    groupKey: Text  # noqa: N815
    status: Literal["firing", "resolved"]
    groupLabels: dict[str, Text] = Field(default_factory=dict)  # noqa: N815
    truncatedAlerts: int = Field(0, ge=0)  # noqa: N815
    alerts: list[_GivenAlert] = Field(min_length=1)


class RecordedAlert(Frozen):
    """An alert of a message."""

    name: str
    severity: str
    state: str = Field(description="firing or resolved")
    since: AwareDatetime
    fingerprint: str = Field(description="of its labels, by Alertmanager")
    summary: str = ""
    description: str = ""
    runbook: str = ""


class AlertFact(Payload):
    """Payload of ALERT_FIRING and ALERT_RESOLVED."""

    group: str = Field("", description="of Alertmanager, as a hash")
    alerts: tuple[RecordedAlert, ...] = ()
    left_out: int = 0

    @property
    def states(self) -> frozenset[tuple[str, str]]:
        """Return fingerprint and state of each alert: what makes a message the same as another."""
        return frozenset((alert.fingerprint, alert.state) for alert in self.alerts)

    @property
    def untold(self) -> tuple[RecordedAlert, ...]:
        """Return the alerts that no other entry of the ledger is about."""
        return tuple(alert for alert in self.alerts if alert.name not in ALREADY_TOLD)


def entry_of(body: bytes, models: Collection[str], now: datetime) -> Entry:
    """Return the entry of a message; one about a model that has no spec is about no model.

    Raises:
        MalformedInput: it is no message of Alertmanager.
    """
    try:
        message = _Message.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise MalformedInput(
            f"no message of Alertmanager: {place}: {first['msg']}", hint="webhook_configs of version 4"
        ) from None
    model = message.groupLabels.get("model_name", "")
    kept = message.alerts[:MOST_ALERTS]
    fact = AlertFact(
        group=hashlib.sha256(message.groupKey.encode()).hexdigest()[:16],
        alerts=tuple(map(_recorded, kept)),
        left_out=message.truncatedAlerts + len(message.alerts) - len(kept),
    )
    return Entry(
        at=now,
        actor=SystemActor.ALERTMANAGER,
        kind=Event.ALERT_FIRING if message.status == "firing" else Event.ALERT_RESOLVED,
        model=model if model in models else "",
        payload=fact.model_dump(mode="json"),
    )


def _recorded(alert: _GivenAlert) -> RecordedAlert:
    return RecordedAlert(
        name=alert.labels.get("alertname", "")[:LONGEST_NAME],
        severity=alert.labels.get("severity", "")[:LONGEST_NAME],
        state=alert.status,
        since=alert.startsAt,
        fingerprint=alert.fingerprint,
        summary=alert.annotations.get("summary", "")[:LONGEST_TEXT],
        description=alert.annotations.get("description", "")[:LONGEST_TEXT],
        runbook=alert.annotations.get("runbook_url", "")[:LONGEST_TEXT],
    )


def is_repeated(entry: Entry, recent: Iterable[LedgerRow]) -> bool:
    """Return whether a message was recorded just now: Alertmanager sends again what it got no answer to.

    Args:
        recent: the newest entries of these kinds of the same model, oldest first.
    """
    fact = AlertFact.read(entry)
    of_group = [
        row.entry
        for row in recent
        if AlertFact.read(row.entry).group == fact.group and row.entry.kind in KINDS
    ]
    if not of_group:
        return False
    last = of_group[-1]
    return AlertFact.read(last).states == fact.states and entry.at - last.at < AGAIN
