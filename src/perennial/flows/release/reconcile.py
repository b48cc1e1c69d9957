"""Bring a release forward: observe, decide, apply the actions, save once."""

from __future__ import annotations

import contextlib
from datetime import datetime

from perennial.core.events import Entry, Event
from perennial.core.release import observation as act
from perennial.core.release import status as machine
from perennial.core.release.approval import people
from perennial.core.release.decide import decide
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import AnyRoute, Expected, Route
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import REQUESTED_BY, VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import ReleaseConflict, ReleaseError, RouteMoved, UnknownRelease
from perennial.flows.release.observe import observe
from perennial.flows.release.ports import ReleasePorts
from perennial.flows.release.served_files import served_files
from perennial.flows.release.shadow import with_evidence


def open_release(
    spec: ModelSpec,
    record: VersionRecord,
    champion: VersionRef | None,
    ports: ReleasePorts,
    now: datetime,
    actor: str,
    again: bool = False,
) -> ReleaseStatus:
    """The release of this candidate under the spec's policy; the same one when it exists already.

    Args:
        champion: who has the traffic now.
        again: start over a release that has ended.

    Raises:
        ReleaseError: the candidate has all traffic already.
    """
    attempt = 0
    digest = machine.policy_digest(spec.gate, spec.approval, spec.release)
    while True:
        name = machine.release_id(record.ref.digest, spec.gate, spec.approval, spec.release, attempt)
        known = ports.releases.load(name)
        if known is None:
            break
        if not (again and known.phase.is_final()):
            return known
        attempt += 1
    live = ports.router.route(spec.name)
    if champion is not None and champion.digest == record.ref.digest:
        raise ReleaseError(
            f"{record.ref} is the champion already", hint="perennial release status " + spec.name
        )
    asked_by = people((actor, record.tags.get(REQUESTED_BY, "")))
    status = ReleaseStatus(
        release_id=name,
        candidate=record.ref,
        champion=champion,
        champion_release_id=live.stable.release_id if live is not None else None,
        policy=spec.release,
        approval_policy=spec.approval,
        policy_digest=digest,
        spec_digest=digest,
        asked_by=asked_by,
        started_at=now,
        phase=Phase.PENDING,
        entered_at=now,
        note="the gate measures it",
    )
    entry = Entry(
        at=now,
        actor=actor,
        kind=Event.RELEASE_OPENED,
        model=spec.name,
        release_id=name,
        digest=record.ref.digest,
        payload={
            "version": record.ref.version,
            "capsule": record.ref.capsule,
            "champion": champion.version if champion else None,
            "spec": spec.digest,
            "asked_by": list(asked_by),
        },
    )
    return ports.releases.save(status, None, [entry])


def reconcile(release_id: str, ports: ReleasePorts, now: datetime) -> ReleaseStatus:
    """One pass over a release; may be killed anywhere and repeated. Earlier releases of the model that
    still hold traffic are brought to their end first.

    Raises:
        UnknownRelease: there is none of that id.
        ToolError: a tool that an action needs did not do its part; nothing was saved, repeat it.
    """
    status = _load(release_id, ports)
    if status.phase.is_final():
        return status
    if status.phase is not Phase.PENDING:
        for older in ports.releases.latest(status.model):
            if status.is_after(older) and not older.phase.is_final():
                reconcile(older.release_id, ports, now)
    seen = observe(status, ports, now)
    decision = decide(status, seen, now)
    if _overtaken(status, seen.route, decision.actions, ports):
        return _load(release_id, ports)
    try:
        _apply_all(decision.actions, status.model, seen.route, ports)
    except RouteMoved:
        return _load(release_id, ports)  # decided on traffic that is gone: the next pass looks anew
    if decision.status == status and not decision.entries:
        return status
    # Traffic has moved already: reading the log of a long SHADOW holds up no withdrawal.
    entries = with_evidence(status, decision.status, decision.entries, ports.predictions, now)
    try:
        return ports.releases.save(decision.status, status.revision, entries)
    except ReleaseConflict:
        return _yield(decision.actions, release_id, ports)


def _load(release_id: str, ports: ReleasePorts) -> ReleaseStatus:
    status = ports.releases.load(release_id)
    if status is None:
        raise UnknownRelease(f"there is no release {release_id}", hint="perennial release history MODEL")
    return status


def _overtaken(
    status: ReleaseStatus, live: Route | None, actions: tuple[act.Action, ...], ports: ReleasePorts
) -> bool:
    """Observing takes a while: before anything changes, make sure that nobody went on meanwhile.

    Args:
        live: the route that was seen; aliases and places in the pools follow it.
    """
    if actions and ports.router.route(status.model) != live:
        return True
    moves = any(isinstance(one, act.SetRoute) for one in actions)
    return moves and _load(status.release_id, ports).revision != status.revision


def _yield(actions: tuple[act.Action, ...], release_id: str, ports: ReleasePorts) -> ReleaseStatus:
    """Somebody else saved first. If that ended the release, take back a share that this pass gave."""
    status = _load(release_id, ports)
    routes = [one.route for one in actions if isinstance(one, act.SetRoute)]
    live = ports.router.route(status.model)
    lost = status.phase.is_final() and status.phase is not Phase.SUCCEEDED
    if lost and live in routes and live is not None and live.canary is not None:
        with contextlib.suppress(RouteMoved):  # then it is no longer the share that this pass gave
            ports.router.apply(live.without_canary(), live)
    return status


def _apply_all(actions: tuple[act.Action, ...], model: str, live: Route | None, ports: ReleasePorts) -> None:
    """In order; traffic moves only while it is where it was seen, so that a rollback is never undone.

    Args:
        live: the route that the actions were decided on.
    """
    for action in actions:
        apply(action, model, ports, live)
        if isinstance(action, act.SetRoute):
            live = action.route


def apply(action: act.Action, model: str, ports: ReleasePorts, expected: Expected = AnyRoute.ANY) -> None:
    """Carry out one action; repeating it changes nothing.

    Raises:
        RouteMoved: the action moves traffic, and it is no longer where it is expected.
    """
    match action:
        case act.EnsureLoaded(pool=pool, ref=ref):
            ports.pool.ensure(pool, ref, served_files(ref, ports))
        case act.Drop(pool=pool, digest=digest):
            ports.pool.drop(pool, model, digest)
        case act.SetRoute(route=route):
            ports.router.apply(route, expected)
        case act.SetAlias(alias=alias, key=key):
            ports.labels.alias(model, alias, key)
        case act.ClearAlias(alias=alias, key=key):
            found = ports.registry.find(model, alias)
            if found is not None and found.ref.key == key:
                ports.labels.alias(model, alias, None)
        case act.SetTags(key=key, tags=tags):
            ports.labels.tag(model, key, tags)
