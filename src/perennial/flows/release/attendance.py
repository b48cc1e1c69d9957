"""Notice releases that no process walks any more, record it once, and walk them.

Airflow walks a release, and whoever may start DAGs there may also fail its task, delete its run or pause it. The
pass over a release is safe to repeat, from several processes too, so the failover watch takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    for status in (status for model in models for status in releases.latest(model)):
        if (last := last_look(status, releases)) is not None:
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
        self._looked: dict[str, datetime] = {}

    def look(self, model: str, now: datetime) -> list[str]:
        """Record the releases of a model that became unattended, and walk all that did; return lines for the log."""
        # Nobody walked while everything was down: what starts later than the watch gets its time, too.
        self._began = self._began or (NEVER if self._once else now)
        if model in self._looked and abs(now - self._looked[model]) < NOTE_EVERY:
            return []
        self._looked[model] = now
        lines: list[str] = []
        for status in self._ports.releases.latest(model):
            last = last_look(status, self._ports.releases)
            if last is None:
                continue
            is_walked = was_unattended(status, self._ports.ledger)
            if not is_walked and now - max(last, self._began) > UNATTENDED:
                entry = _unattended(status, last, now)
                self._ports.ledger.append(entry)
                lines.append(
                    f"ALARM {entry.kind}: {model} {entry.payload['version']}: {entry.payload['why']}"
                )
                is_walked = True
            if is_walked:
                lines += self._walk(status, now)
        return lines

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
