"""Notice releases that no process walks any more, record it once, and walk them.

Airflow walks a release, and whoever may start DAGs there may also fail its task, delete its run or pause it. The
pass over a release is safe to repeat, from several processes too, so the failover watch takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.errors import PerennialError
from perennial.ports import Ledger, ReleaseStore

UNATTENDED = timedelta(minutes=5)
"""A release without a pass for longer is unattended; Airflow makes one every two seconds."""
NOTE_EVERY = timedelta(seconds=10)
"""The time of the last pass is stored to this precision, and the watch looks and walks as often."""
NEVER = datetime.min.replace(tzinfo=UTC)


def note_pass(status: ReleaseStatus, releases: ReleaseStore, now: datetime) -> None:
    """Store that a process makes a pass over a release."""
    last = releases.last_pass(status.release_id)
    if last is None or abs(now - last) >= NOTE_EVERY:
        releases.note_pass(status.release_id, now)


def last_look(status: ReleaseStatus, releases: ReleaseStore) -> datetime | None:
    """Return when a release was last walked, or entered its phase; None where nobody needs to walk it.

    While it is PENDING the gate works on it, and a pass does nothing.
    """
    if status.phase.is_final() or status.phase is Phase.PENDING:
        return None
    last = releases.last_pass(status.release_id)
    return status.entered_at if last is None else max(last, status.entered_at)


def is_unattended(status: ReleaseStatus, releases: ReleaseStore, now: datetime) -> bool:
    """Return whether no process has walked a release for longer than UNATTENDED."""
    last = last_look(status, releases)
    return last is not None and now - last > UNATTENDED


def was_unattended(status: ReleaseStatus, ledger: Ledger) -> bool:
    """Return whether the failover watch took a release over, as the ledger says; Airflow may walk it again since."""
    kinds = (Event.RELEASE_UNATTENDED,)
    return bool(ledger.rows(status.model, kinds=kinds, release_id=status.release_id, newest=1))


def attended(
    models: Iterable[str], releases: ReleaseStore, ledger: Ledger
) -> Iterator[tuple[str, str, datetime, bool]]:
    """Yield model, release id, last look and `was_unattended` of each release that needs to be walked."""
    watched = set(models)
    for status in releases.active():
        if status.model in watched and (last := last_look(status, releases)) is not None:
            yield status.model, status.release_id, last, was_unattended(status, ledger)


@dataclass(frozen=True)
class AttendancePorts:
    """Tools of the watch over releases that nobody walks."""

    releases: ReleaseStore
    ledger: Ledger
    walk: Callable[[str, datetime], ReleaseStatus]
    """Makes a pass over the release with this id (`flows.release.reconcile`)."""


class Attendance:
    """Watch over the releases of several models. What it walks is in the ledger, so a new process goes on."""

    def __init__(self, ports: AttendancePorts, once: bool = False) -> None:
        """Take the tools; `once` makes the first pass judge what is past, since it is also the last."""
        self._ports = ports
        self._once = once
        self._began: datetime | None = None
        self._looked: datetime | None = None

    def look(self, models: Collection[str], now: datetime) -> list[str]:
        """Record the releases that became unattended, and walk all that did; return lines for the log."""
        # Nobody walked while everything was down: what starts later than the watch gets its time, too.
        self._began = self._began or (NEVER if self._once else now)
        if self._looked is not None and abs(now - self._looked) < NOTE_EVERY:
            return []
        self._looked = now
        lines: list[str] = []
        for status in self._ports.releases.active():
            if status.model not in models:
                continue
            try:
                lines += self._attend(status, self._began, now)
            except (
                PerennialError
            ) as error:  # an entry of one model that cannot be read keeps no other from its walk
                lines.append(f"{status.model}: {type(error).__name__}: {error.message}")
        return lines

    def _attend(self, status: ReleaseStatus, began: datetime, now: datetime) -> list[str]:
        last = last_look(status, self._ports.releases)
        if last is None:
            return []
        if was_unattended(status, self._ports.ledger):
            return self._walk(status, now)
        if now - max(last, began) <= UNATTENDED:
            return []
        entry = _unattended(status, last, now)
        self._ports.ledger.append(entry)
        alarm = f"ALARM {entry.kind}: {status.model} {entry.payload['version']}: {entry.payload['why']}"
        return [alarm, *self._walk(status, now)]

    def _walk(self, status: ReleaseStatus, now: datetime) -> list[str]:
        try:
            self._ports.walk(status.release_id, now)
        except PerennialError as error:
            return [f"{status.model}: not walked: {type(error).__name__}: {error.message}"]
        except Exception as error:  # noqa: BLE001 whatever a release does, the watch over the traffic goes on
            return [f"{status.model}: not walked: {error!r}"]
        return []


def _unattended(status: ReleaseStatus, last: datetime, now: datetime) -> Entry:
    return Entry(
        at=now,
        actor=SystemActor.FAILOVER_WATCH,
        kind=Event.RELEASE_UNATTENDED,
        model=status.model,
        release_id=status.release_id,
        digest=status.candidate.digest,
        payload={
            "version": status.candidate.version,
            "phase": status.phase.value,
            "why": f"no pass since {last:%Y-%m-%d %H:%M:%S} UTC; the failover watch walks it from now on",
        },
    )
