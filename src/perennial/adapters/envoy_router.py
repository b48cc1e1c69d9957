"""Router over Envoy's filesystem discovery: a route is live when Envoy says that it took its version.

The confirmed routes stand in `routes.json`; the files that Envoy watches are made from them. The order of
a change: write Envoy's file (a rename, all at once), wait until Envoy names its version, then store the
route. Killed in between, the next apply of the same route repeats the change without harm.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from perennial.adapters import envoy_config as config
from perennial.adapters.envoy_admin import Buckets, Endpoint, EnvoyAdmin
from perennial.adapters.envoy_config import Layout
from perennial.core.traffic import Counters, PoolName, Route
from perennial.errors import RouterRejected, RouterUnavailable

CONFIRM_SECONDS = 10.0


@dataclass(frozen=True)
class Confirmed:
    """Every route that Envoy took, and how many changes there were."""

    generation: int = 0
    routes: Mapping[str, Route] = field(default_factory=dict)

    def with_route(self, route: Route) -> Confirmed:
        return Confirmed(self.generation + 1, {**self.routes, route.model: route})


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
        self._admin = EnvoyAdmin(f"http://{layout.admin[0]}:{layout.admin[1]}")

    def init(self) -> Path:
        """Write all of Envoy's files from the confirmed routes; returns the bootstrap file.

        Raises:
            RouterRejected: routes.json is not readable.
        """
        with self._locked():
            state = self._confirmed()
            listeners = config.listeners(self._layout, self._folder)
            _replace(self._file("lds"), config.discovery(_version(state, listeners), listeners))
            self._write_clusters(state)
            self._write_routes(state)
            bootstrap = self._folder / "bootstrap.json"
            content = config.bootstrap(self._layout, self._folder)
            _replace(bootstrap, json.dumps(content, indent=1).encode())
        return bootstrap

    def apply(self, route: Route) -> None:
        """See `ports.Router.apply`. An Envoy that is down changes nothing: it would start with the last
        confirmed routes, and nobody could tell whether it takes the new one."""
        with self._locked():
            state = self._confirmed()
            self._admin.live()
            wanted = state.with_route(route)
            if state.routes.get(route.model) == route and self._live_version() == _rds_version(state):
                return
            if route.model not in state.routes:
                self._add_clusters(wanted)
            self._change_routes(state, wanted)
            _replace(self._folder / "routes.json", _dump(wanted))

    def route(self, model: str) -> Route | None:
        return self._confirmed().routes.get(model)

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Counted by pool where the answer came from, since Envoy's start.

        Requests and errors are attempts: an error of the candidate that a retry on the champion healed
        counts as an error of the canary pool and as an answer of the stable pool. Mirrored requests count
        for the canary pool. Latencies are those of whole requests, retries included, by the share
        (not the server) that a request belonged to.
        """
        clusters = self._model_clusters(model)
        names = [config.stat_name(name) for name in self._names(model)]
        latencies = self._admin.latencies(rf"^cluster\.({'|'.join(names)})\.upstream_rq_time$")
        buckets = {name: latencies.get(f"cluster.{name}.upstream_rq_time", ()) for name in names}
        stable, canary, shadow = names
        by_pool = {
            PoolName.STABLE: (buckets[stable],),
            PoolName.CANARY: (buckets[canary], buckets[shadow]),
        }
        return {
            pool.value: _counters(self._of_pool(pool, clusters.values()), by_pool[pool]) for pool in PoolName
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
            config.pool_cluster(model, PoolName.STABLE),
            config.pool_cluster(model, PoolName.CANARY),
            config.shadow_cluster(model),
        )

    def _model_clusters(self, model: str) -> dict[str, Sequence[Endpoint]]:
        """By the last part of their names; empty for a model without a route."""
        clusters = self._admin.clusters()
        return {name.rsplit(".", 1)[1]: clusters.get(name, ()) for name in self._names(model)}

    def _of_pool(self, pool: str, clusters) -> list[Endpoint]:
        addresses = set(self._layout.pools[pool])
        return [one for cluster in clusters for one in cluster if (one.host, one.port) in addresses]

    def _add_clusters(self, wanted: Confirmed) -> None:
        """Clusters first: a route to one that is not there is refused."""
        self._write_clusters(wanted)
        names = {one["name"] for one in config.clusters(list(wanted.routes), self._layout)}

        def active() -> bool:
            self._refuse_if_rejected("cluster_manager.cds", before)
            return names <= set(self._admin.clusters())

        before = self._rejections("cluster_manager.cds")
        self._wait(active, "the clusters of the model")

    def _change_routes(self, state: Confirmed, wanted: Confirmed) -> None:
        name = f"http.ingress.rds.{config.ROUTES}"
        before = self._rejections(name)
        version = self._write_routes(wanted)

        def taken() -> bool:
            self._refuse_if_rejected(name, before)
            return self._live_version() == version

        try:
            self._wait(taken, f"version {version} of the routes")
        except (RouterRejected, RouterUnavailable):
            self._write_routes(state)  # so that a restarted Envoy begins with what was confirmed
            raise

    def _live_version(self) -> str:
        name = f"http.ingress.rds.{config.ROUTES}.version_text"
        return str(self._admin.numbers(rf"^{name.replace('.', chr(92) + '.')}$").get(name, ""))

    def _rejections(self, prefix: str) -> int:
        """Refused or unreadable files so far."""
        found = self._admin.numbers(
            rf"^{prefix}\.(update_rejected|update_failure)$".replace(".rds.", r"\.rds\.")
        )
        return sum(int(value) for value in found.values())

    def _refuse_if_rejected(self, prefix: str, before: int) -> None:
        if self._rejections(prefix) > before:
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

    def _write_clusters(self, state: Confirmed) -> None:
        resources = config.clusters(list(state.routes), self._layout)
        _replace(self._file("cds"), config.discovery(_version(state, resources), resources))

    def _write_routes(self, state: Confirmed) -> str:
        version = _rds_version(state)
        _replace(self._file("rds"), config.discovery(version, _route_resources(state)))
        return version

    def _file(self, kind: str) -> Path:
        name = {"lds": "listeners", "cds": "clusters", "rds": "routes"}[kind]
        return self._folder / kind / f"{name}.json"

    def _confirmed(self) -> Confirmed:
        path = self._folder / "routes.json"
        try:
            body = json.loads(path.read_bytes())
            routes = {name: Route.model_validate(one) for name, one in body["routes"].items()}
            return Confirmed(body["generation"], routes)
        except FileNotFoundError:
            return Confirmed()
        except (ValueError, KeyError, TypeError) as error:
            raise RouterRejected(
                f"{path} is not readable: {error}", hint="restore it, or remove it and reconcile the releases"
            ) from error

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


def _route_resources(state: Confirmed) -> list[config.Json]:
    return [config.route_configuration(list(state.routes.values()))]


def _rds_version(state: Confirmed) -> str:
    return _version(state, _route_resources(state))


def _version(state: Confirmed, resources: Sequence[config.Json]) -> str:
    """Never the same for two contents: a refused change and the next one have the same generation."""
    content = json.dumps(resources, sort_keys=True).encode()
    return f"{state.generation}-{hashlib.sha256(content).hexdigest()[:12]}"


def _dump(state: Confirmed) -> bytes:
    routes = {name: one.model_dump(mode="json") for name, one in sorted(state.routes.items())}
    return json.dumps({"generation": state.generation, "routes": routes}, indent=1).encode() + b"\n"


def _replace(path: Path, content: bytes) -> None:
    """Envoy notices renames only, and must never see half a file; flushed, for it is read after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


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
