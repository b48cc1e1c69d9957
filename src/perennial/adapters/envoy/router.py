"""Router over Envoy's filesystem discovery: a route is live when Envoy says that it took its version.

The confirmed routes stand in `routes.json`; the files that Envoy watches are made from them. The order of
a change: write Envoy's file (a rename, all at once), wait until Envoy names its version, then store the
route. Killed in between, the next apply of the same route repeats the change without harm.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from perennial.adapters.envoy import clusters as envoy_clusters
from perennial.adapters.envoy import config as envoy_config
from perennial.adapters.envoy import routes as envoy_routes
from perennial.adapters.envoy import state as envoy_state
from perennial.adapters.envoy.admin import Buckets, Endpoint, EnvoyAdmin
from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.state import ConfirmedRoutes
from perennial.core.release.traffic import (
    BACKUP,
    AnyRoute,
    Counters,
    Expected,
    PoolName,
    Route,
    refuse_if_moved,
)
from perennial.errors import RouterRejected, RouterUnavailable
from perennial.files import write_bytes

CONFIRM_SECONDS = 10.0

CDS, RDS = "cluster_manager.cds", f"http.ingress.rds.{envoy_config.ROUTES}"
"""Prefixes of Envoy's statistics about its sources of clusters and routes."""


class EnvoyRouter:
    """Router port.

    Args:
        folder: the only place this class writes to.
        layout: where Envoy and the servers listen.
    """

    def __init__(self, folder: Path, layout: Layout, confirm_seconds: float = CONFIRM_SECONDS) -> None:
        self._folder = folder.resolve()
        self._layout = layout
        self._confirm_seconds = confirm_seconds
        self._admin = EnvoyAdmin(*layout.admin)

    def init(self) -> Path:
        """Write all of Envoy's files from the confirmed routes; returns the bootstrap file.

        Raises:
            RouterRejected: routes.json is not readable.
        """
        with self._locked():
            state = self._confirmed()
            listeners = envoy_config.listeners(self._layout, self._folder)
            write_bytes(self._file("lds"), envoy_config.discovery(_version(state, listeners), listeners))
            self._write_clusters(state)
            self._write_routes(state)
            bootstrap = self._folder / "bootstrap.json"
            content = envoy_config.bootstrap(self._layout, self._folder)
            write_bytes(bootstrap, json.dumps(content, indent=1).encode())
        return bootstrap

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        """See `ports.Router.apply`. An Envoy that is down changes nothing: it would start with the last
        confirmed routes, and nobody could tell whether it takes the new one."""
        with self._locked():
            state = self._confirmed()
            refuse_if_moved(state.routes.get(route.model), route, expected)
            self._admin.live()
            wanted = state.with_route(route)
            if state.routes.get(route.model) == route and self._live_version() == _rds_version(state):
                return
            try:
                if route.model not in state.routes:
                    self._add_clusters(wanted)
                self._change_routes(wanted)
            except (RouterRejected, RouterUnavailable):
                # So that an Envoy that starts again begins with what was confirmed.
                self._write_routes(state)
                self._write_clusters(state)
                raise
            envoy_state.write(self._state_file, wanted)

    def route(self, model: str) -> Route | None:
        return self._confirmed().routes.get(model)

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Counted by pool where the answer came from, since Envoy's start.

        Requests and errors are attempts: an error of the candidate that a retry on the champion healed
        counts as an error of the canary pool and as an answer of the stable pool. Mirrored requests count
        for the canary pool. What canary servers answered for the stable share counts as the backup's, never
        as the champion's or a candidate's. Latencies are those of whole requests, retries included, by the
        share (not the server) that a request belonged to.
        """
        clusters = self._model_clusters(model)
        names = [envoy_clusters.stat_name(name) for name in self._names(model)]
        latencies = self._admin.latencies(
            rf"^cluster\.({'|'.join(map(re.escape, names))})\.upstream_rq_time$"
        )
        buckets = {name: latencies.get(f"cluster.{name}.upstream_rq_time", ()) for name in names}
        stable, canary, shadow = names
        of_stable, of_canary, of_shadow = clusters.values()
        by_champion = self._of_pool(PoolName.STABLE, [of_stable, of_canary])
        by_candidate = self._of_pool(PoolName.CANARY, [of_canary, of_shadow])
        by_backup = self._of_pool(PoolName.CANARY, [of_stable])
        return {
            PoolName.STABLE.value: _counters(by_champion, (buckets[stable],)),
            PoolName.CANARY.value: _counters(by_candidate, (buckets[canary], buckets[shadow])),
            BACKUP: _counters(by_backup, ()),
        }

    def healthy(self, model: str) -> Mapping[str, int]:
        clusters = self._model_clusters(model)
        return {
            pool.value: sum(one.healthy for one in self._of_pool(pool, [clusters[pool.value]]))
            for pool in PoolName
        }

    def overview(self) -> list[dict[str, Any]]:
        """One row per model and pool with a target: the split as configured and as counted."""
        return [
            row for _, route in sorted(self._confirmed().routes.items()) for row in self._overview_of(route)
        ]

    def _overview_of(self, route: Route) -> list[dict[str, Any]]:
        counters, healthy = self.counters(route.model), self.healthy(route.model)
        shares = {PoolName.STABLE: 100.0 - route.canary_weight, PoolName.CANARY: route.canary_weight}
        targets = {PoolName.STABLE: route.stable, PoolName.CANARY: route.canary}
        rows = []
        for pool, target in targets.items():
            if target is None:
                continue
            counted = counters[pool]
            p95 = counted.latency_ms(0.95)
            rows.append(
                {
                    "model": route.model,
                    "pool": pool.value,
                    "version": target.version,
                    "digest": target.digest,
                    "release": target.release_id,
                    "share %": shares[pool],
                    "mirror": route.mirror and pool is PoolName.CANARY,
                    "healthy": healthy[pool],
                    "requests": counted.requests,
                    "errors": counted.errors,
                    "p95 ms": None if p95 is None else round(p95, 2),
                }
            )
        return rows

    @staticmethod
    def _names(model: str) -> tuple[str, str, str]:
        return (
            envoy_clusters.pool_cluster(model, PoolName.STABLE),
            envoy_clusters.pool_cluster(model, PoolName.CANARY),
            envoy_clusters.shadow_cluster(model),
        )

    def _model_clusters(self, model: str) -> dict[str, Sequence[Endpoint]]:
        """By the last part of their names; empty for a model without a route."""
        clusters = self._admin.clusters()
        return {name.rsplit(".", 1)[1]: clusters.get(name, ()) for name in self._names(model)}

    def _of_pool(self, pool: str, clusters) -> list[Endpoint]:
        addresses = set(self._layout.pools[pool])
        return [one for cluster in clusters for one in cluster if (one.host, one.port) in addresses]

    def _add_clusters(self, wanted: ConfirmedRoutes) -> None:
        """Clusters first: a route to one that is not there is refused."""
        before = self._rejections(CDS)
        self._write_clusters(wanted)
        names = {one["name"] for one in envoy_clusters.clusters(list(wanted.routes), self._layout)}

        def active() -> bool:
            self._refuse_if_rejected(CDS, before)
            return names <= set(self._admin.clusters())

        self._wait(active, "the clusters of the model")

    def _change_routes(self, wanted: ConfirmedRoutes) -> None:
        before = self._rejections(RDS)
        version = self._write_routes(wanted)

        def taken() -> bool:
            self._refuse_if_rejected(RDS, before)
            return self._live_version() == version

        self._wait(taken, f"version {version} of the routes")

    def _live_version(self) -> str:
        name = f"{RDS}.version_text"
        return str(self._admin.numbers(f"^{re.escape(name)}$").get(name, ""))

    def _rejections(self, source: str) -> int:
        """Refused or unreadable files of one kind so far."""
        found = self._admin.numbers(rf"^{re.escape(source)}\.update_(rejected|failure)$")
        return sum(int(value) for value in found.values())

    def _refuse_if_rejected(self, source: str, before: int) -> None:
        if self._rejections(source) > before:
            raise RouterRejected(
                "Envoy refused the configuration; the last good one stays live",
                hint="its log says why; the route names a model or pool that it cannot reach",
            )

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._confirm_seconds
        while not done():
            if time.monotonic() > end:
                raise RouterUnavailable(
                    f"Envoy did not confirm {what} within {self._confirm_seconds:g} s",
                    hint="is it the Envoy that `perennial router run` started on this state folder?",
                )
            time.sleep(0.02)

    def _write_clusters(self, state: ConfirmedRoutes) -> None:
        resources = envoy_clusters.clusters(list(state.routes), self._layout)
        write_bytes(self._file("cds"), envoy_config.discovery(_version(state, resources), resources))

    def _write_routes(self, state: ConfirmedRoutes) -> str:
        version = _rds_version(state)
        write_bytes(self._file("rds"), envoy_config.discovery(version, _route_resources(state)))
        return version

    def _file(self, kind: str) -> Path:
        name = {"lds": "listeners", "cds": "clusters", "rds": "routes"}[kind]
        return self._folder / kind / f"{name}.json"

    @property
    def _state_file(self) -> Path:
        return self._folder / "routes.json"

    def _confirmed(self) -> ConfirmedRoutes:
        return envoy_state.read(self._state_file)

    @contextmanager
    def _locked(self):
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / "lock", timeout=2 * self._confirm_seconds):
                yield
        except Timeout as error:
            raise RouterUnavailable(
                "another process is changing the routes and does not end", hint="try again"
            ) from error


def _route_resources(state: ConfirmedRoutes) -> list[envoy_config.Json]:
    return [envoy_routes.route_configuration(list(state.routes.values()))]


def _rds_version(state: ConfirmedRoutes) -> str:
    return _version(state, _route_resources(state))


def _version(state: ConfirmedRoutes, resources: Sequence[envoy_config.Json]) -> str:
    """Never the same for two contents: a refused change and the next one have the same generation."""
    content = json.dumps(resources, sort_keys=True).encode()
    return f"{state.generation}-{hashlib.sha256(content).hexdigest()[:12]}"


def _counters(endpoints: Sequence[Endpoint], histograms: Sequence[Buckets]) -> Counters:
    """Histograms of one Envoy have the same bounds, so counts add up bound by bound."""
    counts: dict[float, int] = {}
    for histogram in histograms:
        for bound, count in histogram:
            counts[bound] = counts.get(bound, 0) + count
    return Counters(
        requests=sum(one.answered for one in endpoints),
        errors=sum(one.errors for one in endpoints),
        buckets=tuple(sorted(counts.items())),
    )
