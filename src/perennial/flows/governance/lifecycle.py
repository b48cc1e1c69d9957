"""Retire and archive versions, and delete the files of archived versions. The ledger keeps their record."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from perennial.core.events import Entry, Event
from perennial.core.governance.lifecycle import (
    CHAMPION_ONLY,
    KEPT_ALIASES,
    PURGED,
    in_use,
    is_due,
)
from perennial.core.governance.out_of_use import BY_PEOPLE, OUT_OF_USE, out_of_use
from perennial.core.governance.why import SERVING
from perennial.core.payloads import VersionFact
from perennial.core.training.registration import VersionRecord
from perennial.core.version import Lifecycle, VersionRef
from perennial.errors import OutOfUse, ReleaseError, UsageError
from perennial.flows.versions import find_version
from perennial.ports import Labels, Ledger, ModelFiles, Registry, ReleaseStore, Router


@dataclass(frozen=True)
class LifecyclePorts:
    """Ports of the lifecycle commands."""

    registry: Registry
    labels: Labels
    releases: ReleaseStore
    ledger: Ledger
    router: Router
    files: ModelFiles
    copies: tuple[Path, ...]
    """Folders on this machine with model files by digest."""


def take_out(
    model: str, which: str, to: Lifecycle, reason: str, ports: LifecyclePorts, actor: str, now: datetime
) -> VersionRecord:
    """Mark a version RETIRED or ARCHIVED: first it stops being a backup, then the ledger, then its tags.

    Repeating does the rest; the first reason stays. The ledger entry shows that a person did it: the release
    machine sets the same tag on versions that it rejects or replaces.

    Raises:
        UsageError: the reason is empty.
        UnknownVersion: the registry has no such version.
        ReleaseError: the version is the champion or in a running release.
        RouterUnavailable, RouterRejected, RouteMoved: it is the champion's backup, and the route did not change.
    """
    if not reason.strip():
        raise UsageError("a reason in words is needed", hint='--reason "..."')
    record = find_version(model, which, ports.registry)
    used = in_use(record, _serving(model, ports.ledger), ports.releases.latest(model), CHAMPION_ONLY)
    if used:
        raise ReleaseError(
            f"{used}: it cannot be {to.value}", hint="release another version, or end the release"
        )
    _no_backup(record.ref, ports.router)
    kind = Event(f"lifecycle.{to.value}")
    entry = _last_entry(record.ref, ports.ledger)
    if entry is None or entry.kind != kind:
        was = record.tags.get("lifecycle")
        entry = _entry(record, kind, actor, now, reason=reason.strip(), was=was)
        ports.ledger.append(entry)
    tags = {"lifecycle": to.value, "lifecycle.reason": VersionFact.read(entry).reason}
    ports.labels.tag(model, record.ref.key, tags)
    return record


def _last_entry(ref: VersionRef, ledger: Ledger) -> Entry | None:
    """Return the last entry by which a person took this version out of use, or None."""
    entries = [row.entry for row in ledger.rows(ref.model, kinds=BY_PEOPLE) if row.entry.digest == ref.digest]
    return entries[-1] if entries else None


def _no_backup(ref: VersionRef, router: Router) -> None:
    live = router.route(ref.model)
    if live is not None and live.backup is not None and live.backup.digest == ref.digest:
        router.apply(live.model_copy(update={"backup": None}), live)


def refuse_out_of_use(ref: VersionRef, ledger: Ledger, hint: str) -> None:
    """Refuse a version that a person took out of use. Reads only the ledger: the registry may be down.

    Raises:
        OutOfUse: a person retired or archived this version.
    """
    reason = out_of_use(ledger.rows(ref.model, kinds=OUT_OF_USE), ref.digest)
    if reason is not None:
        raise OutOfUse(f"{ref.model} {reason}", hint=hint)


def due(model: str, keep: timedelta, ports: LifecyclePorts, now: datetime) -> list[VersionRecord]:
    """Return the archived versions whose files may be deleted: unused, and without a ledger entry for `keep`."""
    serving, releases = _serving(model, ports.ledger), ports.releases.latest(model)
    unused = [
        record
        for record in ports.registry.versions(model)
        if in_use(record, serving, releases, KEPT_ALIASES) is None
    ]
    newest = {row.entry.digest: row.entry.at for row in ports.ledger.rows(model) if row.entry.digest}
    return [
        record
        for record in unused
        if is_due(record, newest.get(record.ref.digest, record.created), now, keep)
    ]


def purge(
    records: Iterable[VersionRecord], ports: LifecyclePorts, actor: str, now: datetime
) -> list[VersionRecord]:
    """Delete the files of versions that are `due`. After a kill, repeating does the rest.

    The ledger entry follows the deletion, so that it never claims a deletion that did not happen.
    """
    done = []
    for record in records:
        for folder in ports.copies:
            if (folder / record.ref.digest).is_dir():
                shutil.rmtree(folder / record.ref.digest)
        ports.files.delete(record.ref)
        ports.ledger.append(_entry(record, Event.VERSION_PURGED, actor, now))
        ports.labels.tag(record.ref.model, record.ref.key, {PURGED: f"deleted {now.isoformat()}"})
        done.append(record)
    return done


def _serving(model: str, ledger: Ledger) -> str | None:
    rows = ledger.rows(model, kinds=SERVING, newest=1)
    return rows[0].entry.digest if rows else None


def _entry(record: VersionRecord, kind: Event, actor: str, now: datetime, **payload: str | None) -> Entry:
    return Entry(
        at=now,
        actor=actor,
        kind=kind,
        model=record.ref.model,
        digest=record.ref.digest,
        payload={"version": record.ref.version, "why": payload.pop("reason", "") or "", **payload},
    )
