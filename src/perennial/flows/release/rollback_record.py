"""What a rollback leaves to write down: intents, ledger, aliases and tags. Queued, and safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.core.events import Entry, Event
from perennial.core.payloads import TrafficMove
from perennial.core.release.phase import Phase
from perennial.core.release.rollback import Rollback
from perennial.core.release.traffic import Route
from perennial.core.release.withdrawal import is_withdrawn, withdrawal_intent
from perennial.core.version import Lifecycle
from perennial.errors import RouteMoved, TrackerUnavailable
from perennial.ports import Intents, Labels, Ledger, Registry, ReleaseStore, RollbackJournal, Router

FORGOTTEN = timedelta(minutes=1)
"""A rollback that the router had not confirmed by then was killed before its traffic moved."""
RECENT = 200
"""Rollbacks of one model that are looked through for one already written."""


@dataclass(frozen=True)
class RollbackRecordPorts:
    """What the record of a rollback touches."""

    journal: RollbackJournal
    router: Router
    releases: ReleaseStore
    intents: Intents
    ledger: Ledger
    registry: Registry
    labels: Labels


def record_rollbacks(ports: RollbackRecordPorts, now: datetime) -> list[str]:
    """Write every journalled rollback into the record; what cannot be done yet stays in the journal.

    Returns:
        What is left, in words for a person.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    if not ports.journal.pending():
        return []
    left: list[str] = []
    with ports.journal.settling() as mine:
        if not mine:
            return ["another process is writing the rollbacks down"]
        for one in ports.journal.pending():
            left += _settle(one, ports, now)
    return list(dict.fromkeys(left))


def _settle(one: Rollback, ports: RollbackRecordPorts, now: datetime) -> list[str]:
    if not one.applied:
        if not one.is_live(ports.router.route(one.model)):
            if now - one.at > FORGOTTEN:
                ports.journal.remove(one)
            return []
        one = one.model_copy(update={"applied": True})
        ports.journal.put(one)
    try:
        _keep_traffic(one, ports, now)
    except RouteMoved as error:
        return [error.message]  # looked at again when it is written down next
    _withdraw_others(one, ports)
    one = _as_it_was(one, ports)
    if not _written(one, ports):
        ports.ledger.append(_entry(one))
    try:
        _relabel(one, ports)
    except TrackerUnavailable as error:
        return [f"aliases and tags of {one.model} follow when MLflow answers ({error.message})"]
    ports.journal.remove(one)
    return []


def _as_it_was(one: Rollback, ports: RollbackRecordPorts) -> Rollback:
    """A candidate that was promoted while a person took its share back lost all traffic, and the labels too."""
    status = ports.releases.load(one.left.release_id) if one.canary_only else None
    promoted = status is not None and status.phase is Phase.SUCCEEDED
    return one.model_copy(update={"canary_only": False}) if promoted else one


def _withdraw_others(one: Rollback, ports: RollbackRecordPorts) -> None:
    """Releases that were on their way must not give their candidate a share again."""
    for status in ports.releases.latest(one.model):
        if is_withdrawn(one, status) and not status.phase.is_final():
            ports.intents.put(withdrawal_intent(one, status))


def _keep_traffic(one: Rollback, ports: RollbackRecordPorts, now: datetime) -> None:
    """Whoever walks a release without having met the rollback may have given its candidate traffic since."""
    route = ports.router.route(one.model)
    if route is None or now - one.at >= FORGOTTEN:
        return
    if route.stable.digest == one.to.digest:
        given, back = route.canary, route.without_canary()
    else:
        given, back = route.stable, Route(model=one.model, stable=one.to)
    status = ports.releases.load(given.release_id) if given is not None else None
    if status is not None and is_withdrawn(one, status):
        ports.router.apply(back, route)


def _written(one: Rollback, ports: RollbackRecordPorts) -> bool:
    rows = ports.ledger.rows(
        one.model, kinds=[Event.EMERGENCY_ROLLBACK, Event.SHARE_WITHDRAWN], newest=RECENT
    )
    return any(TrafficMove.read(row.entry).id == one.id for row in rows)


def _entry(one: Rollback) -> Entry:
    """About the champion that is back; where the champion had stayed, about the candidate that lost its share."""
    of = one.left if one.canary_only else one.to
    return Entry(
        at=one.at,
        actor=one.actor,
        kind=Event.SHARE_WITHDRAWN if one.canary_only else Event.EMERGENCY_ROLLBACK,
        model=one.model,
        release_id=of.release_id,
        digest=of.digest,
        payload={
            "id": one.id,
            "version": of.version,
            "from": one.left.version,
            "to": one.to.version,
            "note": one.note,
            "checks": [check.model_dump(mode="json", exclude={"hint"}) for check in one.checks],
        },
    )


def _relabel(one: Rollback, ports: RollbackRecordPorts) -> None:
    """Only while nobody has moved the traffic on: then the labels are theirs."""
    route = ports.router.route(one.model)
    if one.canary_only or route is None or route.stable.digest != one.to.digest:
        return
    status = ports.releases.load(one.to.release_id)
    if status is None:
        return
    key = status.candidate.key
    ports.labels.alias(one.model, "champion", key)
    ports.labels.alias(one.model, "previous", None)
    ports.labels.tag(one.model, key, {"lifecycle": Lifecycle.PRODUCTION.value})
    left = ports.registry.find(one.model, one.left.version)
    if left is not None and left.ref.digest != one.to.digest:
        ports.labels.tag(one.model, left.ref.key, {"lifecycle": Lifecycle.ARCHIVED.value})
