"""Bring a release forward: observe, decide, apply the actions, save once."""

from __future__ import annotations

import contextlib
from datetime import datetime

from perennial.core.release.decide import decide
from perennial.core.release.observation import (
    Action,
    ClearAlias,
    Drop,
    EnsureLoaded,
    SetAlias,
    SetRoute,
    SetTags,
)
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import AnyRoute, Expected, Route
from perennial.errors import ReleaseConflict, RouteMoved, UnknownRelease
from perennial.flows.release.observe import observe
from perennial.flows.release.ports import ReleasePorts
from perennial.flows.release.served_files import served_files
from perennial.flows.release.shadow import with_evidence


def reconcile(release_id: str, ports: ReleasePorts, now: datetime) -> ReleaseStatus:
    """Bring a release forward by a pass, which may be killed anywhere and repeated.

    Earlier releases of the model that still hold traffic are brought to their end first.

    Raises:
        UnknownRelease: no release has that id.
        ToolError: a tool that an action needs failed; nothing was saved, repeat the pass.
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
    # After the traffic has moved: reading the log of a long SHADOW must not delay a withdrawal.
    entries = with_evidence(status, decision.status, decision.entries, ports.predictions, now)
    try:
        return ports.releases.save(decision.status, status.revision, entries)
    except ReleaseConflict:
        return _yield(decision.actions, release_id, ports)


def _load(release_id: str, ports: ReleasePorts) -> ReleaseStatus:
    """Return the stored status; raise UnknownRelease where there is none."""
    status = ports.releases.load(release_id)
    if status is None:
        raise UnknownRelease(f"there is no release {release_id}", hint="perennial release history MODEL")
    return status


def _overtaken(
    status: ReleaseStatus, live: Route | None, actions: tuple[Action, ...], ports: ReleasePorts
) -> bool:
    """Return whether another process went on with the release while this pass observed it.

    Args:
        live: the observed route; aliases and pools follow it.
    """
    if actions and ports.router.route(status.model) != live:
        return True
    moves = any(isinstance(action, SetRoute) for action in actions)
    return moves and _load(status.release_id, ports).revision != status.revision


def _yield(actions: tuple[Action, ...], release_id: str, ports: ReleasePorts) -> ReleaseStatus:
    """Return the status that another process saved first; where it ended the release, take back this pass's share."""
    status = _load(release_id, ports)
    routes = [action.route for action in actions if isinstance(action, SetRoute)]
    live = ports.router.route(status.model)
    lost = status.phase.is_final() and status.phase is not Phase.SUCCEEDED
    if lost and live in routes and live is not None and live.canary is not None:
        with contextlib.suppress(RouteMoved):  # then the share is no longer that of this pass
            ports.router.apply(live.without_canary(), live)
    return status


def _apply_all(actions: tuple[Action, ...], model: str, live: Route | None, ports: ReleasePorts) -> None:
    """Apply the actions in order; traffic moves only from the observed route, so that no rollback is undone.

    Args:
        live: the route that the actions were decided on.
    """
    for action in actions:
        apply(action, model, ports, live)
        if isinstance(action, SetRoute):
            live = action.route


def apply(action: Action, model: str, ports: ReleasePorts, expected: Expected = AnyRoute.ANY) -> None:
    """Carry out an action; repeating it changes nothing.

    Raises:
        RouteMoved: the action moves traffic, and the live route is not the expected one.
    """
    match action:
        case EnsureLoaded(pool=pool, ref=ref):
            ports.pool.ensure(pool, ref, served_files(ref, ports))
        case Drop(pool=pool, digest=digest):
            ports.pool.drop(pool, model, digest)
        case SetRoute(route=route):
            ports.router.apply(route, expected)
        case SetAlias(alias=alias, key=key):
            ports.labels.alias(model, alias, key)
        case ClearAlias(alias=alias, key=key):
            record = ports.registry.find(model, alias)
            if record is not None and record.ref.key == key:
                ports.labels.alias(model, alias, None)
        case SetTags(key=key, tags=tags):
            ports.labels.tag(model, key, tags)
