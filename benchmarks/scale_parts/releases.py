"""A thousand releases of a model in the store, one under way; and the guard over a thousand models."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from databases.selects import selects
from doubles.routing import MemoryJournal, MemoryPool, MemoryRouter
from some_release import MODEL, a_release

from perennial.adapters.sql.store import SqlStore
from perennial.core.events import Entry, Event
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef
from perennial.flows.release.attendance import AttendancePorts
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.flows.release.load_policy import LoadPolicyPorts
from perennial.flows.release.recorded_route import RecordedRoutePorts
from perennial.flows.release.selection import select_release
from scale_parts.figures import Figure, repeated, timed

NOW = datetime(2026, 1, 5, 8, tzinfo=UTC)


def figures(folder: Path, releases: int, models: int) -> Iterator[Figure]:
    yield from _of_one_model(SqlStore(f"sqlite:///{folder}/releases.db"), releases)
    yield from _of_many_models(SqlStore(f"sqlite:///{folder}/guard.db"), models)


def _status(model: str, number: int, phase: Phase) -> ReleaseStatus:
    candidate = VersionRef(
        model=model,
        version=f"1.{number}.0",
        key=str(number + 1),
        digest=f"{model}{number}".ljust(64, "0"),
        capsule="c",
    )
    started = NOW + timedelta(minutes=number)
    return a_release(started, phase, release_id=f"{model}-{number}", candidate=candidate)


def _of_one_model(store: SqlStore, count: int) -> Iterator[Figure]:
    for number in range(count - 1):
        ended = Phase.SUCCEEDED if number % 2 else Phase.ROLLED_BACK
        store.releases.save(_status(MODEL, number, ended), None, [])
    active = store.releases.save(_status(MODEL, count, Phase.CANARY), None, [])
    yield timed(f"`release history`: {count:,} releases", lambda: store.releases.latest(MODEL))
    yield repeated("the same again in a process, p50 / p99", [lambda: store.releases.latest(MODEL)] * 50)
    yield repeated(
        "`release status`: the release to show, p50 / p99",
        [lambda: select_release(MODEL, None, store.releases.latest(MODEL))] * 50,
    )

    def asked() -> None:
        """Ask what a pass over the release asks of the store."""
        store.releases.load(active.release_id)
        store.releases.last_pass(active.release_id)
        store.releases.active(MODEL)
        store.intents.pending(active.release_id)
        store.releases.latest(MODEL)

    with selects() as sent:
        asked()
    yield repeated("reconcile: the store's part of a pass, p50 / p99", [asked] * 50, f"{len(sent)} queries")


def _of_many_models(store: SqlStore, count: int) -> Iterator[Figure]:
    router, pool, names = MemoryRouter(), MemoryPool(), [f"m{number}" for number in range(count)]
    for name in names:
        status = _status(name, 0, Phase.SUCCEEDED)
        entry = Entry(
            at=NOW, actor="machine", kind=Event.RELEASE_SUCCEEDED, model=name, release_id=status.release_id,
            digest=status.candidate.digest, payload={"version": status.candidate.version},
        )  # fmt: skip
        router.apply(store.releases.save(status, None, [entry]).alone)
    recorded = RecordedRoutePorts(router, store.releases, store.ledger, MemoryJournal(), pool)
    attendance = AttendancePorts(
        store.releases, store.ledger, lambda release_id, now: _status("m", 0, Phase.PENDING)
    )
    loads = LoadPolicyPorts(pool, store.releases, lambda model: Load.ON_DEMAND)
    ports = FailoverWatchPorts(router, store.ledger, lambda now: [], recorded, attendance, loads)
    watch = FailoverWatch(names, ports)
    yield timed(f"guard, first pass over {count:,} models", lambda: watch.look(NOW))
    with selects() as sent:
        watch.look(NOW + timedelta(seconds=20))
    later = [
        lambda second=second: watch.look(NOW + timedelta(seconds=30 + second)) for second in range(0, 40, 2)
    ]
    yield repeated("guard, a later pass, p50 / p99", later, f"{len(sent)} queries; without Envoy")
