"""Bring a release forward: observe, decide, apply the actions, save once."""

from __future__ import annotations

import contextlib
from datetime import datetime

from perennial.core.events import SystemActor
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
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus
from perennial.core.release.traffic import AnyRoute, Expected, Route
from perennial.core.serving_spec import Load
from perennial.errors import ReleaseConflict, RouteMoved, ToolError, UnknownRelease, UnknownVersion
from perennial.flows.release.attendance import note_pass
from perennial.flows.release.observe import observe
from perennial.flows.release.ports import ReleasePorts
from perennial.flows.release.rollback_record import lost_entry
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
    with contextlib.suppress(ToolError):  # a database that only reads must not delay a withdrawal
        note_pass(status, ports.releases, now)
    if status.phase is not Phase.PENDING:
        for older in ports.releases.active(status.model):
            if status.is_after(older):
                reconcile(older.release_id, ports, now)
    if status.phase is Phase.LOADING:
        ports.pool.load_as(status.model, Load.PINNED)  # no evidence may hold the time of a load
    seen = observe(status, ports, now)
    decision = decide(status, seen, now)
    if _overtaken(status, seen.route, decision.actions, ports):
        return _load(release_id, ports)
    if (gone := _lost_before_more_traffic(status, decision.actions, ports)) is not None:
        ports.intents.put(_abort_of_lost(status, gone, now))
        return status  # the next pass ends the release
    try:
        lost = _apply_all(decision.actions, status, seen.route, ports)
    except RouteMoved:
        return _load(release_id, ports)  # decided on traffic that is gone: the next pass looks anew
    except UnknownVersion as error:
        ports.intents.put(_abort_of_lost(status, error.message, now))
        return status  # the next pass ends the release
    if decision.status == status and not decision.entries and not lost:
        return status
    # After the traffic has moved: reading the log of a long SHADOW must not delay a withdrawal.
    entries = with_evidence(status, decision.status, decision.entries, ports.predictions, now)
    if lost:
        entries = (*entries, lost_entry(status.target, status.model, lost, now))
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


def _apply_all(
    actions: tuple[Action, ...], status: ReleaseStatus, live: Route | None, ports: ReleasePorts
) -> list[str]:
    """Apply the actions in order; traffic moves only from the observed route, so that no rollback is undone.

    Args:
        live: the route that the actions were decided on.

    Returns:
        A message for each version that the registry has lost and that the release can end without.

    Raises:
        UnknownVersion: the files of the candidate are neither in the registry nor on this machine, and it has
            not all traffic yet.
    """
    lost = []
    for action in actions:
        try:
            apply(action, status.model, ports, live)
        except UnknownVersion as error:
            is_champion = live is not None and live.stable.digest == status.candidate.digest
            if isinstance(action, EnsureLoaded) and action.ref == status.candidate and not is_champion:
                raise
            lost.append(error.message)
        if isinstance(action, SetRoute):
            live = action.route
    return lost


def _lost_before_more_traffic(
    status: ReleaseStatus, actions: tuple[Action, ...], ports: ReleasePorts
) -> str | None:
    """Return that the registry lost the candidate, where these actions would give it traffic; None otherwise.

    Only then is the registry asked: a share is taken back without it, and where it does not answer, the release
    goes on.
    """
    routes = [action.route for action in actions if isinstance(action, SetRoute)]
    if not any(status.target in (route.stable, route.canary) for route in routes):
        return None
    try:
        record = ports.registry.find(status.model, f"key:{status.candidate.key}")
    except ToolError:
        return None
    return f"{status.candidate} (key {status.candidate.key}) was deleted there" if record is None else None


def _abort_of_lost(status: ReleaseStatus, message: str, now: datetime) -> Intent:
    """Return the abort of a release whose candidate is lost; repeating it changes nothing."""
    return Intent(
        id=f"{status.release_id}-lost",
        release_id=status.release_id,
        kind=IntentKind.ABORT,
        actor=SystemActor.MACHINE,
        at=now,
        digest=status.candidate.digest,
        note=f"the registry lost the candidate: {message}",
        channel="machine",
    )


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
            if _stands_at(alias, model, ports) == key:
                ports.labels.alias(model, alias, None)
        case SetTags(key=key, tags=tags):
            ports.labels.tag(model, key, tags)


def _stands_at(alias: str, model: str, ports: ReleasePorts) -> str | None:
    """Return the key of the version with an alias; None without one, or where it is none of a registration."""
    try:
        record = ports.registry.find(model, alias)
    except UnknownVersion:
        return None
    return None if record is None else record.ref.key
