"""Write journalled rollbacks into the record: intents, ledger, aliases and tags. Safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.payloads import TrafficMove
from perennial.core.release.phase import Phase
from perennial.core.release.rollback import Rollback
from perennial.core.release.traffic import Route, Target
from perennial.core.release.withdrawal import is_withdrawn, withdrawal_intent
from perennial.core.version import Lifecycle
from perennial.errors import RouteMoved, TrackerUnavailable, UnknownVersion
from perennial.ports import Intents, Labels, Ledger, Registry, ReleaseStore, RollbackJournal, Router

FORGOTTEN = timedelta(minutes=1)
"""A rollback that the router has not confirmed after this time was killed before its traffic moved."""
RECENT = 200
"""Newest rollback entries of a model that are searched for a rollback already written."""


@dataclass(frozen=True)
class RollbackRecordPorts:
    """Tools that the record of a rollback uses."""

    journal: RollbackJournal
    router: Router
    releases: ReleaseStore
    intents: Intents
    ledger: Ledger
    registry: Registry
    labels: Labels


def record_rollbacks(ports: RollbackRecordPorts, now: datetime) -> list[str]:
    """Write every journalled rollback into the record; unfinished ones stay in the journal.

    Returns:
        The unfinished work, in words for a person.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    if not ports.journal.pending():
        return []
    left: list[str] = []
    with ports.journal.recording() as is_writer:
        if not is_writer:
            return ["another process is writing the rollbacks down"]
        for rollback in ports.journal.pending():
            left += _record(rollback, ports, now)
    return list(dict.fromkeys(left))


def _record(rollback: Rollback, ports: RollbackRecordPorts, now: datetime) -> list[str]:
    if not rollback.applied:
        if not rollback.is_live(ports.router.route(rollback.model)):
            if now - rollback.at > FORGOTTEN:
                ports.journal.remove(rollback)
            return []
        rollback = rollback.model_copy(update={"applied": True})
        ports.journal.put(rollback)
    try:
        _keep_traffic(rollback, ports, now)
    except RouteMoved as error:
        return [error.message]  # the next call looks again
    _withdraw_others(rollback, ports)
    rollback = _with_outcome(rollback, ports)
    if not _written(rollback, ports):
        ports.ledger.append(_entry(rollback))
    try:
        lost = _relabel(rollback, ports)
    except TrackerUnavailable as error:
        return [f"aliases and tags of {rollback.model} follow when MLflow answers ({error.message})"]
    if lost:
        ports.ledger.append(lost_entry(rollback.to, rollback.model, lost, now))
    ports.journal.remove(rollback)
    return [f"{rollback.model}: {message}; the rest is on record" for message in lost]


def lost_entry(target: Target, model: str, lost: list[str], now: datetime) -> Entry:
    """Return the entry that the registry lost versions.

    Args:
        target: version whose release or rollback met it.
        lost: messages of the registry.
    """
    return Entry(
        at=now,
        actor=SystemActor.MACHINE,
        kind=Event.VERSION_LOST,
        model=model,
        release_id=target.release_id,
        digest=target.digest,
        payload={"version": target.version, "why": "; ".join(dict.fromkeys(lost))},
    )


def _with_outcome(rollback: Rollback, ports: RollbackRecordPorts) -> Rollback:
    """Return the rollback as it ended: a candidate that was promoted meanwhile lost all traffic, not a share."""
    status = ports.releases.load(rollback.left.release_id) if rollback.canary_only else None
    promoted = status is not None and status.phase is Phase.SUCCEEDED
    return rollback.model_copy(update={"canary_only": False}) if promoted else rollback


def _withdraw_others(rollback: Rollback, ports: RollbackRecordPorts) -> None:
    """Put an abort for each active release, so that none gives its candidate a share again."""
    for status in ports.releases.active(rollback.model):
        if is_withdrawn(rollback, status):
            ports.intents.put(withdrawal_intent(rollback, status))


def _keep_traffic(rollback: Rollback, ports: RollbackRecordPorts, now: datetime) -> None:
    """Take back traffic that a pass, unaware of the rollback, has given to a candidate since."""
    route = ports.router.route(rollback.model)
    if route is None or now - rollback.at >= FORGOTTEN:
        return
    if route.stable.digest == rollback.to.digest:
        given, back = route.canary, route.without_canary()
    else:
        given, back = route.stable, Route(model=rollback.model, stable=rollback.to)
    status = ports.releases.load(given.release_id) if given is not None else None
    if status is not None and is_withdrawn(rollback, status):
        ports.router.apply(back, route)


def _written(rollback: Rollback, ports: RollbackRecordPorts) -> bool:
    rows = ports.ledger.rows(
        rollback.model, kinds=[Event.EMERGENCY_ROLLBACK, Event.SHARE_WITHDRAWN], newest=RECENT
    )
    return any(TrafficMove.read(row.entry).id == rollback.id for row in rows)


def _entry(rollback: Rollback) -> Entry:
    """Return the entry about the champion that is back or, where it had stayed, the candidate that lost its share."""
    subject = rollback.left if rollback.canary_only else rollback.to
    return Entry(
        at=rollback.at,
        actor=rollback.actor,
        kind=Event.SHARE_WITHDRAWN if rollback.canary_only else Event.EMERGENCY_ROLLBACK,
        model=rollback.model,
        release_id=subject.release_id,
        digest=subject.digest,
        payload={
            "id": rollback.id,
            "version": subject.version,
            "from": rollback.left.version,
            "to": rollback.to.version,
            "note": rollback.note,
            "checks": [check.model_dump(mode="json", exclude={"hint"}) for check in rollback.checks],
            **({"forced": rollback.forced} if rollback.forced else {}),
        },
    )


def _relabel(rollback: Rollback, ports: RollbackRecordPorts) -> list[str]:
    """Set aliases and lifecycles, unless the traffic has moved on: then the next mover sets them.

    Returns:
        A message for each version that the registry has lost.
    """
    route = ports.router.route(rollback.model)
    if rollback.canary_only or route is None or route.stable.digest != rollback.to.digest:
        return []
    status = ports.releases.load(rollback.to.release_id)
    if status is None:
        return []
    key, lost = status.candidate.key, []
    try:
        ports.labels.alias(rollback.model, "champion", key)
        ports.labels.tag(rollback.model, key, {"lifecycle": Lifecycle.PRODUCTION.value})
    except UnknownVersion as error:
        lost.append(error.message)
        # The alias must not go on naming the version that was left.
        ports.labels.alias(rollback.model, "champion", None)
    ports.labels.alias(rollback.model, "previous", None)
    left = ports.registry.find(rollback.model, rollback.left.version)
    if left is not None and left.ref.digest != rollback.to.digest:
        try:
            ports.labels.tag(rollback.model, left.ref.key, {"lifecycle": Lifecycle.ARCHIVED.value})
        except UnknownVersion as error:
            lost.append(error.message)
    return lost
