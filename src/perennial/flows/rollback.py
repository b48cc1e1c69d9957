"""Emergency: the traffic goes back to an earlier champion at once. Needs the router and the SQL store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from perennial.core.ledger import Entry
from perennial.core.release import Intent, IntentKind, Phase, ReleaseStatus
from perennial.core.traffic import PoolName, Route, Target
from perennial.core.version import Lifecycle, VersionRef
from perennial.errors import PoolUnavailable, TrackerUnavailable, UnknownRelease
from perennial.flows.lifecycle import refuse_out_of_use
from perennial.flows.release import ReleasePorts

LOAD_SECONDS = 30


def rollback(
    model: str,
    to: str | None,
    ports: ReleasePorts,
    actor: str,
    note: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
) -> tuple[Target, list[str]]:
    """Route everything to an earlier champion: the one before the live one, or version `to`.

    Order: ask the releases on their way to withdraw, make sure that the stable pool holds the version, move
    the traffic, write the ledger, then aliases and tags. Repeated, it does what is left.

    Returns:
        Who has the traffic now, and what could not be done besides (words for a person).

    Raises:
        UnknownRelease: no earlier champion is known.
        OutOfUse: a person retired or archived that version.
        PoolUnavailable: no server of the stable pool holds it.
        RouterUnavailable, RouterRejected: the traffic did not move.
    """
    live = ports.router.route(model)
    if live is None:
        raise UnknownRelease(f"{model} has no traffic to roll back", hint=f"perennial release status {model}")
    history = ports.releases.latest(model)
    goal = _goal(model, to, live, [one for one in history if one.phase is Phase.SUCCEEDED])
    refuse_out_of_use(goal.candidate, ports.ledger, hint="name another earlier champion: --to VERSION")
    _abort_active(history, goal.candidate.digest, ports, actor, clock())
    wanted = Route(model=model, stable=goal.target)
    if live != wanted:
        _warm(goal.candidate, ports, sleep)
        ports.router.apply(wanted)
        ports.ledger.append(_entry(goal, live, actor, note, clock()))
    return goal.target, _relabel(goal.candidate, live.stable.version, ports)


def _abort_active(
    history: list[ReleaseStatus], kept: str, ports: ReleasePorts, actor: str, now: datetime
) -> None:
    """Before the traffic moves, or the next pass over a canary would give it its share again."""
    for one in history:
        if not one.phase.is_final() and one.candidate.digest != kept:
            ports.intents.put(
                Intent(
                    id=f"rollback-{one.release_id}",
                    release_id=one.release_id,
                    kind=IntentKind.ABORT,
                    actor=actor,
                    at=now,
                    digest=one.candidate.digest,
                    note="emergency rollback",
                    channel="rollback",
                )
            )


def _entry(goal: ReleaseStatus, live: Route, actor: str, note: str, now: datetime) -> Entry:
    return Entry(
        at=now,
        actor=actor,
        kind="release.rollback",
        model=goal.model,
        release_id=goal.release_id,
        digest=goal.candidate.digest,
        payload={"from": live.stable.version, "to": goal.candidate.version, "note": note},
    )


def _goal(model: str, to: str | None, live: Route, won: list[ReleaseStatus]) -> ReleaseStatus:
    """The release that had made the wanted version champion; with a canary on its way that is the live one."""
    if to is None and live.canary is not None:
        wanted = live.stable.digest
    elif to is None:
        mine = next((one for one in won if one.candidate.digest == live.stable.digest), None)
        if mine is None or mine.champion is None:
            raise UnknownRelease(
                f"no champion before {live.stable.version} of {model} is known",
                hint="name one: --to VERSION (perennial release history lists them)",
            )
        wanted = mine.champion.digest
    else:
        wanted = next((one.candidate.digest for one in won if one.candidate.version == to), "")
    goal = next((one for one in won if one.candidate.digest == wanted), None)
    if goal is None:
        raise UnknownRelease(f"{to} of {model} never was champion", hint=f"perennial release history {model}")
    return goal


def _warm(ref: VersionRef, ports: ReleasePorts, sleep: Callable[[float], None]) -> None:
    """At least one stable server must hold it; its files may be on this machine still."""
    if ports.pool.readiness(PoolName.STABLE, ref.model, ref.digest).ready:
        return
    files = ports.files / ref.digest
    if files.is_dir():
        ports.pool.ensure(PoolName.STABLE, ref, files)
        for _ in range(LOAD_SECONDS * 2):
            if ports.pool.readiness(PoolName.STABLE, ref.model, ref.digest).ready:
                return
            sleep(0.5)
    raise PoolUnavailable(
        f"no stable server holds {ref}, so no traffic was moved", hint="perennial local status; --to VERSION"
    )


def _relabel(ref: VersionRef, from_version: str, ports: ReleasePorts) -> list[str]:
    try:
        ports.labels.alias(ref.model, "champion", ref.key)
        ports.labels.alias(ref.model, "previous", None)
        ports.labels.tag(ref.model, ref.key, {"lifecycle": Lifecycle.PRODUCTION.value})
        left = ports.registry.find(ref.model, from_version)
        if left is not None and left.ref.digest != ref.digest:
            ports.labels.tag(ref.model, left.ref.key, {"lifecycle": Lifecycle.ARCHIVED.value})
    except TrackerUnavailable as error:
        return [
            f"aliases and tags were not moved: {error.message}; when it is up: rollback --to {ref.version}"
        ]
    return []
