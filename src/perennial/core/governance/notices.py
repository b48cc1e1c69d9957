"""Notices about ledger entries, and the delivery state of each channel. Pure.

The ledger is the outbox: an entry is written in the transaction of the change that it records. So a killed process
loses no notice, and no notice is sent about a change that did not happen. `Delivery` has the last entry that a
channel got.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from perennial.core.alerting.alert_messages import KINDS as ALERT_KINDS
from perennial.core.alerting.alert_messages import AlertFact
from perennial.core.assets import Reason
from perennial.core.display import shown
from perennial.core.events import Entry, Event, LedgerRow, SystemActor
from perennial.core.frozen import Frozen
from perennial.core.monitoring.worth.prospects import Withheld
from perennial.core.payloads import LevelChange, RouteDifferences, TrafficMove, VersionFact
from perennial.core.release.status import ReleaseStatus

ENDS = {
    Event.RELEASE_SUCCEEDED.value: "is champion",
    Event.RELEASE_ROLLED_BACK.value: "was rolled back",
    Event.RELEASE_REJECTED.value: "was rejected",
}
NOTABLE = frozenset(
    (
        Event.RELEASE_AWAITING_APPROVAL,
        Event.RELEASE_PAUSED,
        Event.EMERGENCY_ROLLBACK,
        Event.SHARE_WITHDRAWN,
        Event.ROUTE_CHANGED_OUTSIDE,
        Event.RELEASE_UNATTENDED,
        Event.MONITOR_LEVEL,
        Event.RETRAIN_WITHHELD,
        *ALERT_KINDS,
        *ENDS,
    )
)
"""Kinds of entries that may need a notice."""
MONITORED = (Event.MONITOR_LEVEL, Event.RETRAIN_WITHHELD)
"""Kinds of entries about the newest predictions of a champion, not about a release."""
ALARM = "retrain"
"""Level of the monitor that is an alarm."""
EVIDENCE = 12
"""Most rules in a notice, the worst first."""
FIRST_RETRY = timedelta(seconds=10)
LONGEST_WAIT = timedelta(minutes=10)
GIVE_UP = timedelta(hours=24)
"""A notice older than this is dropped, with an entry in the ledger."""
FRESH = timedelta(minutes=15)
"""A new channel gets notices about entries that are not older than this."""


class Notice(Frozen):
    """A message in plain text."""

    title: str
    body: str


class Links(Frozen):
    """Addresses of the web pages, without a slash at the end."""

    mlflow: str
    airflow: str


class Delivery(Frozen):
    """Delivery state of a channel."""

    channel: str = Field(description="number and service; holds no secret")
    seq: int = Field(ge=0, description="last ledger entry that was sent or skipped")
    attempts: int = Field(0, ge=0, description="failed attempts to send the next notice")
    retry_at: AwareDatetime | None = None
    sent_at: AwareDatetime | None = Field(None, description="when a message was last delivered")
    error: str = Field("", description="error of the last attempt; empty after a success")

    def delivered(self, seq: int, at: datetime) -> Delivery:
        """Return the state after a notice was sent."""
        return Delivery(channel=self.channel, seq=seq, sent_at=at)

    def skipped(self, seq: int) -> Delivery:
        """Return the state after entries without a notice, or with a dropped notice."""
        return self.model_copy(update={"seq": seq, "attempts": 0, "retry_at": None})

    def failed(self, why: str, now: datetime) -> Delivery:
        """Return the state after a failure: the wait doubles with each attempt."""
        wait = min(LONGEST_WAIT, FIRST_RETRY * 2 ** min(self.attempts, 10))
        update = {"attempts": self.attempts + 1, "retry_at": now + wait, "error": why}
        return self.model_copy(update=update)


def is_notable(entry: Entry) -> bool:
    """Return whether the entry needs a notice. Pauses by a person and levels below the alarm do not."""
    if entry.kind == Event.RELEASE_PAUSED:
        return entry.actor == SystemActor.MACHINE
    if entry.kind == Event.MONITOR_LEVEL:
        return LevelChange.read(entry).to == ALARM
    if entry.kind in ALERT_KINDS:
        return bool(AlertFact.read(entry).untold)
    return entry.kind in NOTABLE


def compose(row: LedgerRow, status: ReleaseStatus | None, links: Links) -> Notice:
    """Return the message about a notable entry.

    Args:
        status: current status of the entry's release; None if unknown.
    """
    entry = row.entry
    version = _version(entry, status)
    who = " ".join(filter(None, (entry.model, version))) or "The plant"
    lines = [
        f"{who} {_what(entry)}.",
        *_why(entry),
        *_evidence(entry, status),
        "",
        *_pages(entry, status, links),
        f"Here: {_command(entry)}",
        f"Entry {row.seq} of the ledger, {entry.at:%Y-%m-%d %H:%M:%S} UTC, by {entry.actor}"
        + (f", digest {entry.digest[:12]}." if entry.digest else "."),
    ]
    return Notice(title=shown(f"{who} {_what(entry)}"), body="\n".join(map(shown, lines)))


def _what(entry: Entry) -> str:
    if entry.kind == Event.RELEASE_AWAITING_APPROVAL:
        return "awaits approval"
    if entry.kind == Event.RELEASE_PAUSED:
        return "is paused and asks a person"
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        return f"took over again from {TrafficMove.read(entry).left} in an emergency rollback"
    if entry.kind == Event.SHARE_WITHDRAWN:
        return f"lost its share in an emergency rollback, {TrafficMove.read(entry).to} stays champion"
    if entry.kind == Event.ROUTE_CHANGED_OUTSIDE:
        return "has traffic that was changed from outside"
    if entry.kind == Event.RELEASE_UNATTENDED:
        return "has a release that nobody walked"
    if entry.kind == Event.MONITOR_LEVEL:
        return "raises a drift alarm"
    if entry.kind == Event.RETRAIN_WITHHELD:
        labels = Withheld.read(entry).reason is Reason.LABELS
        asked = "has enough new labels, but" if labels else "raises an alarm that"
        return f"{asked} a retraining would not help"
    if entry.kind in ALERT_KINDS:
        names = ", ".join(sorted({alert.name for alert in AlertFact.read(entry).untold}))
        return f"has no longer {names}" if entry.kind == Event.ALERT_RESOLVED else f"raises {names}"
    return ENDS[entry.kind]


def _version(entry: Entry, status: ReleaseStatus | None) -> str:
    version = None
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        version = TrafficMove.read(entry).to
    elif entry.kind not in (*MONITORED, *ALERT_KINDS):
        version = VersionFact.read(entry).version
    return version or (status.candidate.version if status is not None else "")


def _why(entry: Entry) -> Iterable[str]:
    reason = VersionFact.read(entry).reason or "; ".join(LevelChange.read(entry).reasons)
    if reason:
        yield f"Why: {reason}"
    yield from (f"  {text}" for text in RouteDifferences.read(entry).differences)


def _evidence(entry: Entry, status: ReleaseStatus | None) -> Iterable[str]:
    """Yield the entry's evidence; for an approval prompt the gate's, for a pause the release's."""
    rules = list(VersionFact.read(entry).evidence)
    if (
        not rules
        and status is not None
        and entry.kind == Event.RELEASE_AWAITING_APPROVAL
        and status.gate is not None
    ):
        rules = list(status.gate.rules)
    if not rules and status is not None and entry.kind == Event.RELEASE_PAUSED:
        rules = list(status.evidence)
    rules.sort(key=lambda rule: -rule.verdict.badness)
    if rules:
        yield "Evidence:"
    for rule in rules[:EVIDENCE]:
        yield f"  {rule.verdict.value} {rule.rule}: {rule.observed} (needed: {rule.needed})"
    if len(rules) > EVIDENCE:
        yield f"  and {len(rules) - EVIDENCE} more"
    yield from _drift(LevelChange.read(entry).psi)
    for alert in AlertFact.read(entry).untold[:EVIDENCE]:
        yield f"  {alert.state} {alert.severity} {alert.name} since {alert.since:%Y-%m-%d %H:%M:%S}: {alert.summary}"
        yield from (f"    {text}" for text in (alert.description, alert.runbook) if text)


def _drift(psi: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    for column, (value, allowance) in sorted(psi.items(), key=lambda item: -item[1][0])[:EVIDENCE]:
        yield f"  PSI {column}: {value:g} (allowance {allowance:g})"


def _pages(entry: Entry, status: ReleaseStatus | None, links: Links) -> Iterable[str]:
    if entry.model:
        dag = "monitor" if entry.kind in (*MONITORED, *ALERT_KINDS) else "release"
        yield f"MLflow: {_page(entry, status, links)}"
        yield f"Airflow: {links.airflow}/dags/{dag}_{entry.model}"


def _page(entry: Entry, status: ReleaseStatus | None, links: Links) -> str:
    """Return the page of the version, or of the model if the version is unknown."""
    page = f"{links.mlflow}/#/models/{entry.model}"
    if status is None or status.candidate.digest != entry.digest:
        return page
    return f"{page}/versions/{status.candidate.key}"


def _command(entry: Entry) -> str:
    if entry.kind == Event.RETRAIN_WITHHELD:
        return f"perennial retrain status {entry.model}"
    if not entry.model:
        return "perennial doctor"
    if entry.kind in (Event.MONITOR_LEVEL, *ALERT_KINDS):
        return f"perennial monitor run {entry.model}"
    return f"perennial release status {entry.model}"
