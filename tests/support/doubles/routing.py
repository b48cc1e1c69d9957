"""Fakes of Pool, Probe, Router and RollbackJournal, with switches for what can go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from perennial.core.release.counted.user_buckets import HERE, LogPosition, UserBuckets, together
from perennial.core.release.rollback import Rollback
from perennial.core.release.traffic import (
    BACKUP,
    AnyRoute,
    Counters,
    Expected,
    PoolName,
    Readiness,
    Route,
    refuse_if_moved,
)
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef
from perennial.errors import PoolUnavailable, RouterRejected, RouterUnavailable

Held = tuple[str, str]
"""(model, digest)"""


class MemoryPool:
    """A Pool whose servers load at once.

    Attributes:
        reachable: pool -> servers that answer, out of `servers`; lower it to lose some.
        broken: digest -> why no server can load it.
        slow: digests whose servers have not loaded them yet.
        latency_ms: digest -> what `measure` finds; 1 ms for the others.
        loads: model -> how its versions were last asked to be held.
    """

    def __init__(self, servers: Mapping[str, int] | None = None) -> None:
        self.servers = dict(servers or {PoolName.STABLE: 2, PoolName.CANARY: 1})
        self.reachable = dict(self.servers)
        self.broken: dict[str, str] = {}
        self.slow: set[str] = set()
        self.latency_ms: dict[str, float] = {}
        self.loads: dict[str, Load] = {}
        self._held: dict[str, dict[Held, VersionRef]] = {pool: {} for pool in self.servers}

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        self._of(pool)[ref.model, ref.digest] = ref

    def drop(self, pool: str, model: str, digest: str) -> None:
        self._of(pool).pop((model, digest), None)

    def load_as(self, model: str, load: Load) -> None:
        self.loads[model] = load

    def readiness(self, pool: str, model: str, digest: str) -> Readiness:
        held, reachable = (model, digest) in self._of(pool), self.reachable[pool]
        loaded = held and digest not in self.broken and digest not in self.slow
        return Readiness(
            ready=reachable if loaded else 0,
            total=self.servers[pool],
            reachable=reachable,
            errors=(self.broken[digest],) * reachable if held and digest in self.broken else (),
        )

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        if self.readiness(pool, model, digest).ready == 0:
            raise PoolUnavailable(
                f"no server of pool {pool} has loaded {model} {digest[:12]}", hint="load it"
            )
        return [self.latency_ms.get(digest, 1.0)] * requests

    def holds(self, pool: str) -> list[VersionRef]:
        """For tests: what the pool was asked to hold."""
        return list(self._of(pool).values())

    def _of(self, pool: str) -> dict[Held, VersionRef]:
        if pool not in self._held:
            raise PoolUnavailable(f"no pool is named {pool!r}", hint=f"known: {', '.join(self._held)}")
        return self._held[pool]


class MemoryProbe:
    """A Probe over a MemoryPool: what is loaded answers.

    Attributes:
        refusing: why no entity is answered; empty: each is.
        not_scoring: why no row is scored.
        rows: rows that were asked for by tensor.
    """

    def __init__(self, pool: MemoryPool) -> None:
        self.not_scoring = ""
        self.rows: list = []
        self.refusing = ""
        self._pool = pool

    def predict(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        if self._pool.readiness(pool, model, digest).ready == 0:
            return f"503 {model}: version not loaded: {digest[:12]}"
        return self.refusing

    def infer(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        self.rows += body["inputs"][0]["data"]
        if self._pool.readiness(pool, model, digest).ready == 0:
            return f"503 {model}: version not loaded: {digest[:12]}"
        return self.not_scoring


class MemoryJournal:
    """A RollbackJournal.

    Attributes:
        taken: another process is writing the record.
    """

    def __init__(self) -> None:
        self.taken = False
        self._kept: dict[str, Rollback] = {}

    def put(self, rollback: Rollback) -> None:
        self._kept[rollback.id] = rollback

    def pending(self) -> list[Rollback]:
        return sorted(self._kept.values(), key=lambda one: one.at)

    def remove(self, rollback: Rollback) -> None:
        self._kept.pop(rollback.id, None)

    @contextmanager
    def recording(self) -> Iterator[bool]:
        if self.taken:
            yield False
            return
        self.taken = True
        try:
            yield True
        finally:
            self.taken = False


class MemoryRouter:
    """A Router that counts what a test says was answered.

    Attributes:
        down: raise RouterUnavailable from every call but `route`, which reads what was confirmed.
        rejecting: refuse the next routes.
        applied: every route that became live, in order.
        servers: pool -> healthy servers.
    """

    def __init__(self) -> None:
        self.down = False
        self.foreign: list[str] = []
        self.repairable = True
        self.repairs = 0
        self.rejecting = False
        self.applied: list[Route] = []
        self.servers: dict[str, int] = {PoolName.STABLE.value: 2, PoolName.CANARY.value: 1}
        self._routes: dict[str, Route] = {}
        self._counters: dict[str, dict[str, Counters]] = {}
        self._of_users: list[tuple[str | None, str, str, Counters]] = []

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        self._answer()
        refuse_if_moved(self._routes.get(route.model), route, expected)
        if self.rejecting:
            raise RouterRejected(
                "the fake refuses the configuration", hint="the last good configuration stays live"
            )
        if self._routes.get(route.model) != route:
            self._routes[route.model] = route
            self.applied.append(route)

    def route(self, model: str) -> Route | None:
        return self._routes.get(model)

    def counters(self, model: str) -> Mapping[str, Counters]:
        self._answer()
        known = self._counters.get(model, {})
        return {name: known.get(name, Counters()) for name in (*map(str, PoolName), BACKUP)}

    def answers_of_users(self, split: str | None, after: Mapping[str, LogPosition]) -> UserBuckets:
        self._answer()
        lines = self._of_users[after[HERE].offset :] if split is not None and HERE in after else []
        counts: dict[str, dict[str, Counters]] = {}
        for named, pool, bucket, counters in lines:
            if named == split:
                counts = together(counts, {pool: {bucket: counters}})
        end = LogPosition(file=1, offset=len(self._of_users))
        return UserBuckets(counts=counts, after=dict(after), read={HERE: end})

    def answered_users(self, model: str, pool: str, bucket: str, requests: int, errors: int = 0) -> None:
        """For tests: users of a bucket of the live split were answered."""
        route = self._routes[model]
        counters = Counters(requests=requests, errors=errors)
        self._of_users.append((route.split, pool, bucket, counters))

    def keep_log_small(self) -> None:
        self._answer()

    def healthy(self, model: str) -> Mapping[str, int]:
        self._answer()
        return {pool.value: self.servers[pool] if model in self._routes else 0 for pool in PoolName}

    def backups(self) -> Mapping[str, int]:
        return {model: self.counters(model)[BACKUP].requests for model in self._routes}

    def differences(self) -> tuple[str, ...]:
        self._answer()
        return tuple(self.foreign)

    def repair(self) -> None:
        self._answer()
        self.repairs += 1
        if self.repairable:
            self.foreign.clear()

    def answered(
        self,
        model: str,
        pool: str,
        requests: int,
        errors: int = 0,
        latency_ms: float = 5.0,
        refused: int = 0,
        lost: int = 0,
    ) -> None:
        """For tests: the pool answered this many more requests, all equally fast."""
        pools = self._counters.setdefault(model, {})
        before = pools.get(pool, Counters())
        counts = dict(before.buckets) or dict.fromkeys((1.0, 5.0, 10.0, 50.0, 100.0, 1000.0, float("inf")), 0)
        counts = {bound: n + (requests if latency_ms <= bound else 0) for bound, n in counts.items()}
        pools[pool] = Counters(
            requests=before.requests + requests,
            errors=before.errors + errors,
            refused=before.refused + refused,
            lost=before.lost + lost,
            buckets=tuple(counts.items()),
        )

    def restart(self) -> None:
        """For tests: counters start anew; routes live on."""
        self._counters.clear()

    def _answer(self) -> None:
        if self.down:
            raise RouterUnavailable("the fake is down", hint="set down = False")
