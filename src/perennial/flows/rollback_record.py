"""What a rollback leaves to write down: intents, ledger, aliases and tags. Queued, and safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.core.ledger import Entry
from perennial.core.release import Intent, IntentKind
from perennial.core.rollback import Rollback
from perennial.core.version import Lifecycle
from perennial.core.why import ROLLBACK
from perennial.errors import RouteMoved, TrackerUnavailable
from perennial.ports import Intents, Labels, Ledger, Registry, ReleaseStore, RollbackJournal, Router

FORGOTTEN = timedelta(minutes=1)
"""A rollback that the router had not confirmed by then was killed before its traffic moved."""
RECENT = 200
"""Rollbacks of one model that are looked through for one already written."""


@dataclass(frozen=True)
class SettlePorts:
    """What the record of a rollback touches."""

    journal: RollbackJournal
    router: Router
    releases: ReleaseStore
    intents: Intents
    ledger: Ledger
    registry: Registry
    labels: Labels


def settle(ports: SettlePorts, now: datetime) -> list[str]:
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


def _settle(one: Rollback, ports: SettlePorts, now: datetime) -> list[str]:
    if not one.applied and not _is_live(one, ports):
        if now - one.at > FORGOTTEN:
            ports.journal.remove(one)
        return []
    _withdraw_others(one, ports)
    try:
        _keep_traffic(one, ports, now)
    except RouteMoved as error:
        return [error.message]  # looked at again when it is written down next
    if not _written(one, ports):
        ports.ledger.append(_entry(one))
    try:
        _relabel(one, ports)
    except TrackerUnavailable as error:
        return [f"aliases and tags of {one.model} follow when MLflow answers ({error.message})"]
    ports.journal.remove(one)
    return []


def _is_live(one: Rollback, ports: SettlePorts) -> bool:
    route = ports.router.route(one.model)
    return route is not None and route.stable.digest == one.to.digest and route.canary is None


def _withdraw_others(one: Rollback, ports: SettlePorts) -> None:
    """Releases that were on their way must not give their candidate a share again."""
    for status in ports.releases.latest(one.model):
        if status.phase.is_final() or status.started_at > one.at or status.candidate.digest == one.to.digest:
            continue
        ports.intents.put(
            Intent(
                id=f"rollback-{one.id}-{status.release_id}",
                release_id=status.release_id,
                kind=IntentKind.ABORT,
                actor=one.actor,
                at=one.at,
                digest=status.candidate.digest,
                note="emergency rollback",
                channel="rollback",
            )
        )


def _keep_traffic(one: Rollback, ports: SettlePorts, now: datetime) -> None:
    """A pass over a canary that had not yet met the intent may have given back its share meanwhile."""
    route = ports.router.route(one.model)
    if route is None or route.canary is None or route.stable.digest != one.to.digest:
        return
    status = ports.releases.load(route.canary.release_id)
    if status is not None and status.started_at <= one.at and now - one.at < FORGOTTEN:
        ports.router.apply(route.without_canary(), route)


def _written(one: Rollback, ports: SettlePorts) -> bool:
    rows = ports.ledger.rows(one.model, kinds=[ROLLBACK], newest=RECENT)
    return any(row.entry.payload.get("id") == one.id for row in rows)


def _entry(one: Rollback) -> Entry:
    return Entry(
        at=one.at,
        actor=one.actor,
        kind=ROLLBACK,
        model=one.model,
        release_id=one.to.release_id,
        digest=one.to.digest,
        payload={
            "id": one.id,
            "from": one.left.version,
            "to": one.to.version,
            "note": one.note,
            "checks": [check.model_dump(mode="json", exclude={"hint"}) for check in one.checks],
        },
    )


def _relabel(one: Rollback, ports: SettlePorts) -> None:
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
