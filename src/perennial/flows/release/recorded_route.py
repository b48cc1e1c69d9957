"""Compare the live route of a model with the route that the ledger and the releases call for, and restore it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from perennial.core.governance.out_of_use import OUT_OF_USE
from perennial.core.release.recorded_route import (
    CHAMPIONS,
    champion_route,
    recorded_routes,
    route_differences,
)
from perennial.core.release.traffic import PoolName, Route
from perennial.errors import RouteMoved
from perennial.ports import Ledger, Pool, ReleaseStore, RollbackJournal, Router


@dataclass(frozen=True)
class RecordedRoutePorts:
    """Tools that the comparison uses."""

    router: Router
    releases: ReleaseStore
    ledger: Ledger
    journal: RollbackJournal
    pool: Pool


@dataclass(frozen=True)
class OffRecord:
    """A live route that the record does not allow.

    Attributes:
        live: None: the model has no route.
        recorded: the route to restore; None: no version ever became champion.
    """

    live: Route | None
    recorded: Route | None

    @property
    def differences(self) -> tuple[str, ...]:
        return route_differences(self.live, self.recorded)


def off_record(models: Iterable[str], ports: RecordedRoutePorts) -> list[str]:
    """Return a text per difference between live routes and the record; raises StoreUnavailable."""
    return [
        f"{model} differs from the ledger: {text}"
        for model in models
        if (off := compare_with_record(model, ports)) is not None
        for text in off.differences
    ]


def compare_with_record(model: str, ports: RecordedRoutePorts) -> OffRecord | None:
    """Return how the live route differs from the record; None where it does not, or is just being moved.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    # In this order: the route moves before the record does.
    live = ports.router.route(model)
    rollbacks = [rollback for rollback in ports.journal.pending() if rollback.model == model]
    releases = ports.releases.active(model)  # before the ledger: a release ends with its entry
    rows = ports.ledger.rows(model, kinds=CHAMPIONS, newest=1)
    last = rows[-1].entry if rows else None
    won = ports.releases.load(last.release_id) if last is not None and last.release_id else None
    taken_out = {row.entry.digest for row in ports.ledger.rows(model, kinds=OUT_OF_USE)}
    champion = champion_route(last, won, taken_out)
    allowed = recorded_routes(champion, releases, rollbacks)
    if live in allowed or (live is None and champion is None) or ports.router.route(model) != live:
        return None
    return OffRecord(live, allowed[0] if allowed and champion is not None else None)


def restore(off: OffRecord, ports: RecordedRoutePorts) -> str:
    """Make the recorded route live; return why that was not done, or an empty text.

    Traffic never goes to a version that no server holds: the live route goes on answering then.

    Raises:
        RouterUnavailable, RouterRejected, PoolUnavailable: the route stays.
    """
    wanted = off.recorded
    if wanted is None:
        return "the ledger names no champion"
    ready = ports.pool.readiness(PoolName.STABLE, wanted.model, wanted.stable.digest).ready
    if off.live is not None and not ready:
        return f"no stable server holds {wanted.stable.version}"
    try:
        ports.router.apply(wanted, off.live)
    except RouteMoved as error:
        return error.message
    return ""
