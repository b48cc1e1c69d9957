"""What people are told, made of entries of the ledger. Pure.

The ledger is the outbox: an entry is written in the transaction of the fact that it tells, so a notice is
neither lost with a killed process nor sent of what never happened. Per channel is kept up to which entry it
has been told (`Delivery`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from pydantic import AwareDatetime, Field

from perennial.core.events import Entry, Event, LedgerRow, SystemActor
from perennial.core.frozen import Frozen
from perennial.core.payloads import LevelChange, TrafficMove, VersionFact
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
        Event.MONITOR_LEVEL,
        *ENDS,
    )
)
"""Kinds of entries that may be worth a notice."""
ALARM = "retrain"
"""The monitor's level that is an alarm."""
EVIDENCE = 12
"""Rules that one notice tells at most, the worst first."""
FIRST_RETRY = timedelta(seconds=10)
LONGEST_WAIT = timedelta(minutes=10)
GIVE_UP = timedelta(hours=24)
"""What could not be told so long is told no more: the ledger says so."""
FRESH = timedelta(minutes=15)
"""A channel that is seen for the first time is told what is not older than this."""


class Notice(Frozen):
    """One message, as plain text."""

    title: str
    body: str


class Links(Frozen):
    """Where a person looks: addresses without a slash at the end."""

    mlflow: str
    airflow: str


class Delivery(Frozen):
    """How far one channel has been told, and how it fares."""

    channel: str = Field(description="its name, which holds no secret: number and service")
    seq: int = Field(ge=0, description="of the last entry of the ledger that it was told, or that it skipped")
    attempts: int = Field(0, ge=0, description="to tell the next one that failed")
    retry_at: AwareDatetime | None = None
    told_at: AwareDatetime | None = Field(None, description="when a message was last delivered")
    error: str = Field("", description="why the last attempt failed; empty: it did not")

    def told(self, seq: int, at: datetime) -> Delivery:
        return Delivery(channel=self.channel, seq=seq, told_at=at)

    def skipped(self, seq: int) -> Delivery:
        """Nothing to tell in the entries up to here, or no more."""
        return self.model_copy(update={"seq": seq, "attempts": 0, "retry_at": None})

    def failed(self, why: str, now: datetime) -> Delivery:
        """To be tried again, later each time."""
        wait = min(LONGEST_WAIT, FIRST_RETRY * 2 ** min(self.attempts, 10))
        update = {"attempts": self.attempts + 1, "retry_at": now + wait, "error": why}
        return self.model_copy(update=update)


def is_notable(entry: Entry) -> bool:
    """A pause that a person asked for, and a level that is no alarm, are not."""
    if entry.kind == Event.RELEASE_PAUSED:
        return entry.actor == SystemActor.MACHINE
    if entry.kind == Event.MONITOR_LEVEL:
        return LevelChange.read(entry).to == ALARM
    return entry.kind in NOTABLE


def compose(row: LedgerRow, status: ReleaseStatus | None, links: Links) -> Notice:
    """The message about one notable entry.

    Args:
        status: the release that the entry is about, as it is now; None where it is not known.
    """
    entry = row.entry
    version = _version(entry, status)
    who = " ".join(filter(None, (entry.model, version)))
    lines = [
        f"{who} {_what(entry)}.",
        *_why(entry),
        *_evidence(entry, status),
        "",
        f"MLflow: {_page(entry, status, links)}",
        f"Airflow: {links.airflow}/dags/{'monitor' if entry.kind == Event.MONITOR_LEVEL else 'release'}_{entry.model}",
        f"Here: {_command(entry)}",
        f"Entry {row.seq} of the ledger, {entry.at:%Y-%m-%d %H:%M:%S} UTC, by {entry.actor}"
        + (f", digest {entry.digest[:12]}." if entry.digest else "."),
    ]
    return Notice(title=f"{who} {_what(entry)}", body="\n".join(lines))


def _what(entry: Entry) -> str:
    if entry.kind == Event.RELEASE_AWAITING_APPROVAL:
        return "awaits approval"
    if entry.kind == Event.RELEASE_PAUSED:
        return "is paused and asks a person"
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        return f"took over again from {TrafficMove.read(entry).left} in an emergency rollback"
    if entry.kind == Event.SHARE_WITHDRAWN:
        return f"lost its share in an emergency rollback, {TrafficMove.read(entry).to} stays champion"
    if entry.kind == Event.MONITOR_LEVEL:
        return "raises a drift alarm"
    return ENDS[entry.kind]


def _version(entry: Entry, status: ReleaseStatus | None) -> str:
    version = None
    if entry.kind == Event.EMERGENCY_ROLLBACK:
        version = TrafficMove.read(entry).to
    elif entry.kind != Event.MONITOR_LEVEL:
        version = VersionFact.read(entry).version
    return version or (status.candidate.version if status is not None else "")


def _why(entry: Entry) -> Iterable[str]:
    reason = VersionFact.read(entry).reason or "; ".join(LevelChange.read(entry).reasons)
    if reason:
        yield f"Why: {reason}"


def _evidence(entry: Entry, status: ReleaseStatus | None) -> Iterable[str]:
    """The entry's own; of a question the gate's, of a pause the release's."""
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
    rules.sort(key=lambda one: -one.verdict.badness)
    if rules:
        yield "Evidence:"
    for one in rules[:EVIDENCE]:
        yield f"  {one.verdict.value} {one.rule}: {one.observed} (needed: {one.needed})"
    if len(rules) > EVIDENCE:
        yield f"  and {len(rules) - EVIDENCE} more"
    yield from _drift(LevelChange.read(entry).psi)


def _drift(psi: Mapping[str, tuple[float, float]]) -> Iterable[str]:
    for column, (value, allowance) in sorted(psi.items(), key=lambda one: -one[1][0])[:EVIDENCE]:
        yield f"  PSI {column}: {value:g} (allowance {allowance:g})"


def _page(entry: Entry, status: ReleaseStatus | None, links: Links) -> str:
    """Of the version; of the model where the version is not known."""
    page = f"{links.mlflow}/#/models/{entry.model}"
    known = status is not None and status.candidate.digest == entry.digest
    return f"{page}/versions/{status.candidate.key}" if known else page


def _command(entry: Entry) -> str:
    if entry.kind == Event.MONITOR_LEVEL:
        return f"perennial monitor run {entry.model}"
    return f"perennial release status {entry.model}"
