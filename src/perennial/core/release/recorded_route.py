"""The route that the record calls for, from the ledger and the stored releases; compared with the live route. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from perennial.core.events import Entry, Event
from perennial.core.payloads import VersionFact
from perennial.core.release.phase import Phase
from perennial.core.release.plan import Step
from perennial.core.release.rollback import Rollback
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import Route, Target

CHAMPIONS = (Event.RELEASE_SUCCEEDED, Event.EMERGENCY_ROLLBACK)
"""Events after which a version is champion."""


def champion_route(
    last: Entry | None, won: ReleaseStatus | None, taken_out: Collection[str | None]
) -> Route | None:
    """Return the route without any release under way; None where no version became champion.

    Args:
        last: newest entry of the kinds CHAMPIONS.
        won: the release of that entry.
        taken_out: digests of versions that a person took out of use; such a version is no backup.
    """
    if last is None:
        return None
    if last.kind == Event.EMERGENCY_ROLLBACK:
        version, digest = VersionFact.read(last).version or "", last.digest or ""
        return _alone(last.model, Target(version=version, digest=digest, release_id=last.release_id or ""))
    if won is None:
        return None
    backup = won.alone.backup
    if backup is not None and backup.digest in taken_out:
        return won.alone.model_copy(update={"backup": None})
    return won.alone


def recorded_routes(
    champion: Route | None, releases: Iterable[ReleaseStatus], rollbacks: Iterable[Rollback]
) -> tuple[Route, ...]:
    """Return every route that the record allows, the one to restore first; empty where it allows none.

    A pass over a release moves the traffic before it saves its status, and a rollback before its entry: so the
    routes of the next status are allowed, too.

    Args:
        champion: `champion_route`.
        releases: those of the model that have not ended.
        rollbacks: rollbacks of the model that may not be in the ledger yet.
    """
    steady: list[Route] = []
    passing: list[Route] = []
    for status in releases:
        if status.phase.is_final():
            continue
        if champion is not None and status.approved:
            shares = [status.shared(champion, step) for step in _steps(status)]
            if status.phase.is_measured():
                steady += shares[:1]
            passing += shares
        if status.phase is Phase.PROMOTING and status.approved:
            passing.append(status.alone)
    for rollback in rollbacks:
        passing.append(_alone(rollback.model, rollback.to))
    base = [champion] if champion is not None else []
    return (*steady, *base, *passing)


def _steps(status: ReleaseStatus) -> list[Step]:
    """Return the steps whose shares a release in this phase may have set, its current step first."""
    if status.phase.is_measured():
        return [step for step in (status.current, status.following) if step is not None]
    if status.phase is Phase.LOADING:
        return list(status.plan[:1])
    if status.phase in (Phase.PROMOTING, Phase.ABORTING):
        return list(status.plan)
    return []


def _alone(model: str, target: Target) -> Route:
    return Route(model=model, stable=target)


def route_differences(live: Route | None, wanted: Route | None) -> tuple[str, ...]:
    """Return a text per part of the live route that is not the wanted route's."""
    parts: tuple[tuple[str, Callable[[Route], str]], ...] = (
        ("champion", lambda route: _named(route.stable)),
        ("candidate", lambda route: _named(route.canary)),
        ("share", lambda route: f"{route.canary_weight:g} %"),
        ("copies of requests", lambda route: "yes" if route.mirror else "no"),
        ("backup", lambda route: _named(route.backup)),
        ("assignment", lambda route: str(route.assignment or "by chance")),
    )
    differences = []
    for name, text in parts if live is not None and wanted is not None else parts[:1]:
        now, recorded = (text(route) if route is not None else "none" for route in (live, wanted))
        if now != recorded:
            differences.append(f"{name} is {now}, the ledger says {recorded}")
    return tuple(differences)


def _named(target: Target | None) -> str:
    return f"{target.version} ({target.digest[:12]}, {target.release_id})" if target is not None else "none"
