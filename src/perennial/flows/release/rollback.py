"""Emergency rollback: model, features, schema and thresholds of an earlier champion come back together or not at all.

Until the traffic has moved, the database is asked only for the actor and for versions out of use; everything
else is the router, the model servers and files of this machine. Ledger and registry are written afterwards
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
from perennial.serving.manifest import SEAL_FILE, example_columns, load_verified

if TYPE_CHECKING:
    from perennial.core.events import LedgerRow
    from perennial.core.release.rollback import Seal
    from perennial.core.version import VersionRef
    from perennial.ports.traffic import Pool, Probe, RollbackJournal, Router
    from perennial.serving.manifest import ServedManifest, VerifiedFiles
    from perennial.serving.signed_files import TrustedKeys

LOAD_SECONDS = 30
KNOWN_ENTITIES = 5
OWN_ROWS = 8
FORCEABLE = ("features", "online store")
"""Checks that a person may overrule: what they find may be better than the version that is left. Files that are
changed, or that no server holds, cannot answer at all."""


@dataclass(frozen=True)
class RollbackPorts:
    """Tools that a rollback uses before the traffic has moved; none of them takes long to import."""

    router: Router
    pool: Pool
    probe: Probe
    journal: RollbackJournal
    files: Path
    """Served files of versions by digest, with their seals."""
    store: Path
    """Files that the model servers load, by digest."""
    trusted: TrustedKeys
    """Keys of those who may sign the files of a version."""
    published: Published
    recent: Callable[[str, int], Sequence[Mapping[str, Any]]]
    """Model, count -> newest logged requests by entity, as bodies of `predict`."""
    facts: Callable[..., Sequence[LedgerRow]]
    """Method `rows` of the ledger, by model and kinds."""
    champions: Callable[[str], Sequence[tuple[VersionRef, str]]]
    """Model -> versions that were champion with their release ids, newest first; reads the database."""


def rollback(
    model: str,
    to: str | None,
    ports: RollbackPorts,
    actor: str,
    note: str,
    clock: Callable[[], datetime],
    sleep: Callable[[float], None],
    new_id: Callable[[], str],
    forced: str = "",
) -> tuple[Target, Rollback | None]:
    """Route all traffic to an earlier champion: version `to`, or the champion before the live one.

    While a canary has a share and `to` is not given, only this share is taken back: the champion stays, so
    nothing is checked. A repeated call does what is left.

    Args:
        forced: why the checks of `FORCEABLE` may fail, for the ledger; empty: they may not.

    Returns:
        The target with the traffic now, and the journal entry; None when nothing had to move.

    Raises:
        UnknownRelease: no earlier champion is known.
        OutOfUse: a person retired or archived that version.
        RollbackRefused: a check failed; nothing changed.
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
    failed = [done for done in checks if not done.ok and not (forced and done.name in FORCEABLE)]
    if failed:
        raise RollbackRefused(
            f"{model} stays on {live.stable.version}, nothing has changed. {goal.version} cannot come back: "
            + "; ".join(f"{bad.name}: {bad.observed}" for bad in failed),
            hint="; ".join(dict.fromkeys(bad.hint for bad in failed if bad.hint))
            + "; or another version: --to VERSION"
            + "; or --force --reason TEXT" * all(bad.name in FORCEABLE for bad in failed),
        )
    entry = Rollback(
        id=new_id(), model=model, at=clock(), actor=actor, note=note, to=goal, canary_only=stays, checks=checks,
        forced=forced if any(not done.ok for done in checks) else "",
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
    reason = out_of_use(ports.facts(model, kinds=OUT_OF_USE), goal.digest)
    if reason is not None:
        raise OutOfUse(f"{model} {reason}", hint="name another earlier champion: --to VERSION")


def _wanted(live: Route, goal: Target) -> Route:
    """Return the route to the goal, without a backup: the version that is left was bad."""
    return (
        live.without_canary() if goal.digest == live.stable.digest else Route(model=live.model, stable=goal)
    )


def _goal(model: str, to: str | None, live: Route, ports: RollbackPorts) -> Target:
    """Return the target of the rollback; only a version that the route does not name needs the database."""
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
    """Return whether the last rollback moved this traffic and was killed before it was on record.

    A repeated call must not go back one champion further.
    """
    try:
        pending = [entry for entry in ports.journal.pending() if entry.model == live.model]
    except StoreUnavailable:
        return False  # a journal that cannot be read must not stop an emergency
    last = pending[-1] if pending else None
    return last is not None and last.is_live(live) and (not last.applied or live.backup is None)


def _versions(champions: Sequence[tuple[VersionRef, str]], live: Route) -> str:
    versions = dict.fromkeys(ref.version for ref, _ in champions if ref.digest != live.stable.digest)
    return ", ".join(versions) or "none was before"


def check(
    model: str, goal: Target, ports: RollbackPorts, sleep: Callable[[float], None]
) -> tuple[Check, ...]:
    """Check all conditions before traffic goes to the goal; end where the rest cannot be checked."""
    try:
        seal = read_seal(ports.files / goal.digest)
    except ModelFileError as error:
        return (Check(name="seal", ok=False, observed=error.message, hint=error.hint),)
    held = _held(model, goal, seal, ports, sleep)
    if not held.ok:
        return (held,)
    try:
        folder = ports.store / goal.digest
        version = load_verified(folder, model, goal.digest, ports.trusted, (SEAL_FILE,))
        manifest, rows = version.manifest, own_rows(version)
        files = (
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
        return (held, *files, lost)
    return (held, *files, check_features(seal, published), _answers(goal, manifest, rows, ports))


def _held(
    model: str, goal: Target, seal: Seal | None, ports: RollbackPorts, sleep: Callable[[float], None]
) -> Check:
    """Check that a stable server holds the goal; load it from files on this machine where none does."""
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
    observed = f"{now.ready} of {now.total} stable servers hold it"
    if now.ready:
        return Check(name="pool", ok=True, observed=observed)
    why = "; ".join(now.errors) or ("none answers" if not now.reachable else f"{files} has no sealed files")
    return Check(name="pool", ok=False, observed=f"{observed} ({why})", hint="perennial local status")


def _readiness(model: str, goal: Target, ports: RollbackPorts) -> Readiness:
    return ports.pool.readiness(PoolName.STABLE, model, goal.digest)


def own_rows(version: VerifiedFiles) -> list[list[float | None]]:
    """Return rows that no client chose: from the background of the version, or zeros where it has none.

    Raises:
        ModelFileError: the background cannot be read.
    """
    background = version.background
    if background is None:
        return [[0.0] * len(version.manifest.features)]
    return [list(row) for row in background.rows[:OWN_ROWS]]


def _answers(
    goal: Target, manifest: ServedManifest, rows: list[list[float | None]], ports: RollbackPorts
) -> Check:
    """Check that the goal scores rows of our own choosing, and that the online store has features for it.

    Clients must not decide here: an entity that they asked for counts only if its features were known then, and
    the values of its request are replaced by ours.
    """
    name, model = "online store", manifest.model
    shape = [len(rows), len(manifest.features)]
    tensor = {"name": manifest.input, "datatype": "FP32", "shape": shape, "data": rows}
    problem = ports.probe.infer(PoolName.STABLE, model, goal.digest, {"inputs": [tensor]})
    if problem:
        observed = f"{goal.version} does not score {len(rows)} rows of its own: {problem}"
        return Check(name=name, ok=False, observed=observed, hint="another version: --to VERSION")
    if manifest.feature_service is None:
        return Check(
            name=name, ok=True, observed=f"{len(rows)} rows of its own are scored; no feature service"
        )
    example = {name: value for name, (value,) in example_columns(manifest).items()}
    own = {key: example[key] for key in manifest.entities}
    context = {key: example[key] for key in manifest.request}
    problem = ports.probe.predict(
        PoolName.STABLE, model, goal.digest, {"entities": [own], "context": context}
    )
    hint = f"perennial features publish {model}"
    # 404: the store does not know this entity, which exists nowhere; 400: the key is no text.
    if problem and not problem.startswith(("404", "400")):
        observed = f"{goal.version} answers no request by entity: {problem}"
        return Check(name=name, ok=False, observed=observed, hint=hint)
    bodies = [{**body, "context": context} for body in ports.recent(model, KNOWN_ENTITIES)]
    if not bodies:
        return Check(
            name=name, ok=True, observed=f"{len(rows)} rows of its own are scored; no known entity yet"
        )
    for number, body in enumerate(bodies, start=1):
        problem = ports.probe.predict(PoolName.STABLE, model, goal.digest, body)
        if not problem:
            observed = f"entity {number} of {len(bodies)} asked last is answered"
            return Check(name=name, ok=True, observed=observed)
    observed = f"{goal.version} answers none of the {len(bodies)} requests asked last: {problem}"
    return Check(name=name, ok=False, observed=observed, hint=hint)
