"""Emergency: model, features, schema and thresholds of an earlier champion come back in one step, or nothing.

Up to the moved traffic the database is asked only who acts and whether a person took the version out of use;
all else is the router, the model servers and files of this machine. Ledger and registry are told afterwards
(`flows.release.rollback_record`), from a journal that outlives a kill.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.core.governance.out_of_use import OUT_OF_USE, out_of_use
from perennial.core.release.rollback import Check, Rollback, check_features, check_seal
from perennial.core.release.traffic import PoolName, Readiness, Route, Target
from perennial.errors import (
    FeaturesUnavailable,
    ModelFileError,
    OutOfUse,
    RollbackRefused,
    StoreUnavailable,
    ToolError,
    UnknownRelease,
)
from perennial.flows.release.seal import Published, manifest_digest, read_seal
from perennial.serving.manifest import SEAL_FILE, load_verified

if TYPE_CHECKING:
    from perennial.core.events import LedgerRow
    from perennial.core.release.rollback import Seal
    from perennial.core.version import VersionRef
    from perennial.ports.traffic import Pool, Probe, RollbackJournal, Router
    from perennial.serving.signed_files import TrustedKeys

LOAD_SECONDS = 30
KNOWN_ENTITIES = 5


@dataclass(frozen=True)
class RollbackPorts:
    """What the way back touches before the traffic has moved: nothing that takes long to import."""

    router: Router
    pool: Pool
    probe: Probe
    journal: RollbackJournal
    files: Path
    """Served files of versions by digest, with their seals."""
    store: Path
    """The files by digest that the model servers load."""
    trusted: TrustedKeys
    """Keys of those who may sign the files of a version."""
    published: Published
    recent: Callable[[str, int], Sequence[Mapping[str, Any]]]
    """Model, how many -> the newest logged requests by entity, as bodies of `predict`."""
    facts: Callable[..., Sequence[LedgerRow]]
    """`rows` of the ledger, by model and kinds."""
    champions: Callable[[str], Sequence[tuple[VersionRef, str]]]
    """Model -> every version that was champion and its release id, newest first; asks the database."""


def rollback(
    model: str,
    to: str | None,
    ports: RollbackPorts,
    actor: str,
    note: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    new_id: Callable[[], str],
) -> tuple[Target, Rollback | None]:
    """Route everything to an earlier champion: the one before the live one, or version `to`.

    With a canary on its way and no `to`, only its share is taken back: the champion stays, so nothing is
    checked. Repeated, it does what is left.

    Returns:
        Who has the traffic now, and what stands in the journal; None when nothing had to move.

    Raises:
        UnknownRelease: no earlier champion is known.
        OutOfUse: a person retired or archived that version.
        RollbackRefused: a check failed; nothing has changed.
        RouterUnavailable, RouterRejected: the traffic did not move.
    """
    live = ports.router.route(model)
    if live is None:
        raise UnknownRelease(f"{model} has no traffic to roll back", hint=f"perennial release status {model}")
    goal = _goal(model, to, live, ports)
    wanted = _wanted(live, goal)
    if live == wanted:
        return goal, None
    stays = goal.digest == live.stable.digest
    if not stays:
        _refuse_out_of_use(model, goal, ports)
    checks = () if stays else check(model, goal, ports, sleep)
    failed = [one for one in checks if not one.ok]
    if failed:
        raise RollbackRefused(
            f"{model} stays on {live.stable.version}, nothing has changed. {goal.version} cannot come back: "
            + "; ".join(f"{one.name}: {one.observed}" for one in failed),
            hint="; ".join(dict.fromkeys(one.hint for one in failed if one.hint))
            + "; or another version: --to VERSION",
        )
    entry = Rollback(
        id=new_id(), model=model, at=clock(), actor=actor, note=note, to=goal, canary_only=stays, checks=checks,
        left=live.canary if stays and live.canary is not None else live.stable,
    )  # fmt: skip
    ports.journal.put(entry)
    try:
        ports.router.apply(wanted)
    except ToolError:
        ports.journal.remove(entry)
        raise
    entry = entry.model_copy(update={"applied": True})
    ports.journal.put(entry)
    return goal, entry


def _refuse_out_of_use(model: str, goal: Target, ports: RollbackPorts) -> None:
    told = out_of_use(ports.facts(model, kinds=OUT_OF_USE), goal.digest)
    if told is not None:
        raise OutOfUse(f"{model} {told}", hint="name another earlier champion: --to VERSION")


def _wanted(live: Route, goal: Target) -> Route:
    """What was just left is bad, so it backs nobody up."""
    return (
        live.without_canary() if goal.digest == live.stable.digest else Route(model=live.model, stable=goal)
    )


def _goal(model: str, to: str | None, live: Route, ports: RollbackPorts) -> Target:
    """The route names champion and backup itself; only another version is looked up in the database."""
    if to is None and (live.canary is not None or _is_repeated(live, ports)):
        return live.stable
    for known in (live.stable, live.backup):
        if known is not None and to == known.version:
            return known
    if to is None and live.backup is not None:
        return live.backup
    champions = ports.champions(model)
    if to is None:
        raise UnknownRelease(
            f"the champion before {live.stable.version} of {model} is not kept",
            hint=f"name one: --to VERSION ({_versions(champions, live)})",
        )
    for ref, release_id in champions:
        if ref.version == to:
            return Target(version=ref.version, digest=ref.digest, release_id=release_id)
    raise UnknownRelease(
        f"{to} of {model} never was champion", hint=f"champions: {_versions(champions, live)}"
    )


def _is_repeated(live: Route, ports: RollbackPorts) -> bool:
    """Whether the last rollback has moved this traffic and was killed before it was written down.

    Asked once more it must not go one champion further back.
    """
    try:
        pending = [one for one in ports.journal.pending() if one.model == live.model]
    except StoreUnavailable:
        return False  # a journal that cannot be read must not stop an emergency
    last = pending[-1] if pending else None
    return last is not None and last.is_live(live) and (not last.applied or live.backup is None)


def _versions(champions: Sequence[tuple[VersionRef, str]], live: Route) -> str:
    found = dict.fromkeys(ref.version for ref, _ in champions if ref.digest != live.stable.digest)
    return ", ".join(found) or "none was before"


def check(
    model: str, goal: Target, ports: RollbackPorts, sleep: Callable[[float], None]
) -> tuple[Check, ...]:
    """Everything that must hold before traffic goes to the goal; stops where the rest cannot be asked."""
    try:
        seal = read_seal(ports.files / goal.digest)
    except ModelFileError as error:
        return (Check(name="seal", ok=False, observed=error.message, hint=error.hint),)
    held = _held(model, goal, seal, ports, sleep)
    if not held.ok:
        return (held,)
    try:
        folder = ports.store / goal.digest
        load_verified(folder, model, goal.digest, ports.trusted, (SEAL_FILE,))
        found = (
            Check(name="files", ok=True, observed=f"verified against {goal.digest[:12]}"),
            check_seal(seal, manifest_digest(folder)),
        )
    except ModelFileError as error:
        return (held, Check(name="files", ok=False, observed=error.message, hint=error.hint))
    service = seal.service if seal is not None else None
    try:
        published = ports.published(service) if service is not None else {}
    except FeaturesUnavailable as error:
        lost = Check(name="features", ok=False, observed=error.message, hint=error.hint)
        return (held, *found, lost)
    return (held, *found, check_features(seal, published), _answers(model, goal, ports))


def _held(
    model: str, goal: Target, seal: Seal | None, ports: RollbackPorts, sleep: Callable[[float], None]
) -> Check:
    """At least one stable server holds it; from files on this machine it is loaded."""
    now = _readiness(model, goal, ports)
    files = ports.files / goal.digest
    if now.ready == 0 and now.reachable and seal is not None:
        try:
            ports.pool.ensure(PoolName.STABLE, seal.ref, files)
        except ModelFileError as error:
            return Check(name="pool", ok=False, observed=error.message, hint=error.hint)
        for _ in range(LOAD_SECONDS * 5):
            now = _readiness(model, goal, ports)
            if now.ready or now.errors:
                break
            sleep(0.2)
    said = f"{now.ready} of {now.total} stable servers hold it"
    if now.ready:
        return Check(name="pool", ok=True, observed=said)
    why = "; ".join(now.errors) or ("none answers" if not now.reachable else f"{files} has no sealed files")
    return Check(name="pool", ok=False, observed=f"{said} ({why})", hint="perennial local status")


def _readiness(model: str, goal: Target, ports: RollbackPorts) -> Readiness:
    return ports.pool.readiness(PoolName.STABLE, model, goal.digest)


def _answers(model: str, goal: Target, ports: RollbackPorts) -> Check:
    """It answers a request that somebody sent lately, with features from the online store."""
    name = "online store"
    bodies = ports.recent(model, KNOWN_ENTITIES)
    if not bodies:
        return Check(name=name, ok=True, observed="nobody asked by entity yet: not asked")
    said = ""
    for number, body in enumerate(bodies, start=1):
        said = ports.probe.predict(PoolName.STABLE, model, goal.digest, body)
        if not said:
            return Check(
                name=name, ok=True, observed=f"entity {number} of {len(bodies)} asked last is answered"
            )
    return Check(
        name=name,
        ok=False,
        observed=f"{goal.version} answers none of the {len(bodies)} requests asked last: {said}",
        hint=f"perennial features publish {model}",
    )
