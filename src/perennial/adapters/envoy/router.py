"""Router over Envoy's filesystem discovery: a route is live when Envoy reports its version.

`routes.json` holds the confirmed routes, and Envoy's files are generated from them. Order of a change: replace
Envoy's file, wait until Envoy reports its version, then store the route. Killed in between, the next apply of the
same route repeats the change without harm.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from perennial.adapters.envoy import config as envoy_config
from perennial.adapters.envoy import state as envoy_state
from perennial.adapters.envoy.access_log import FLUSH
from perennial.adapters.envoy.admin import EnvoyAdmin, clear_socket
from perennial.adapters.envoy.clusters import clusters
from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.listener import listeners
from perennial.adapters.envoy.live import by_name, differences, unreachable
from perennial.adapters.envoy.measurements import EnvoyMeasurements
from perennial.adapters.envoy.routes import route_configuration
from perennial.adapters.envoy.secrets import secrets
from perennial.adapters.envoy.state import ConfirmedRoutes
from perennial.adapters.envoy.users import EnvoyUsers
from perennial.core.release.counted.user_buckets import LogPosition, UserBuckets
from perennial.core.release.traffic import (
    AnyRoute,
    Counters,
    Expected,
    Route,
    refuse_if_moved,
)
from perennial.errors import RouterRejected, RouterUnavailable
from perennial.files import PRIVATE, write_bytes

CONFIRM_SECONDS = 10.0

CDS, RDS = "cluster_manager.cds", f"http.ingress.rds.{envoy_config.ROUTES}"
"""Prefixes of Envoy's statistics about its discovery of clusters and routes."""


class EnvoyRouter:
    """Router port.

    Args:
        folder: folder of Envoy's files and of routes.json; nothing else is written.
        layout: addresses of Envoy and the servers.
    """

    OPTIONS = FLUSH
    """Options of Envoy's command line."""

    def __init__(self, folder: Path, layout: Layout, confirm_seconds: float = CONFIRM_SECONDS) -> None:
        self._folder = folder.resolve()
        self._layout = layout
        self._confirm_seconds = confirm_seconds
        self._admin = EnvoyAdmin(layout.admin)
        self._measurements = EnvoyMeasurements(self._admin, layout)
        self._users = EnvoyUsers(self._folder, self._admin, layout)

    def init(self) -> Path:
        """Write all of Envoy's files from the confirmed routes; returns the path of the bootstrap file.

        A damaged routes.json is set aside: Envoy starts without routes, and the watch restores the recorded ones.
        """
        clear_socket(self._layout.admin)
        self._set_aside_damaged()
        self._users.begin()
        return self.init_files()

    def init_files(self) -> Path:
        """Write all of Envoy's files from the confirmed routes; returns the path of the bootstrap file."""
        with self._locked():
            state = self._confirmed()
            self._users.make_folder()
            for name, secret in secrets(self._layout).items():
                self._write(f"sds/{name}", _version(state, [secret]), [secret])
            public = listeners(self._layout, self._folder)
            self._write("lds", _version(state, public), public)
            self._write_clusters(state)
            self._write_routes(state)
            bootstrap = self._folder / "bootstrap.json"
            content = envoy_config.bootstrap(self._layout, self._folder)
            write_bytes(bootstrap, json.dumps(content, indent=1).encode(), PRIVATE)
        return bootstrap

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        """Apply a route; see `ports.Router.apply`.

        While Envoy is down nothing changes: it would start with the last confirmed routes, and it could not be
        verified that it accepts the new route.
        """
        with self._locked():
            state = self._confirmed()
            refuse_if_moved(state.routes.get(route.model), route, expected)
            self._admin.live()
            wanted = state.with_route(route)
            if state.routes.get(route.model) == route and self._live_version() == _rds_version(state):
                return
            try:
                self._add_clusters(wanted)
                self._change_routes(wanted)
            except (RouterRejected, RouterUnavailable):
                # A restarted Envoy must begin with the confirmed routes.
                self._write_routes(state)
                self._write_clusters(state)
                raise
            envoy_state.write(self._state_file, wanted)

    def route(self, model: str) -> Route | None:
        return self._confirmed().routes.get(model)

    def routes(self) -> Mapping[str, Route]:
        """Return model -> confirmed route; the same object while the file is the same."""
        return self._confirmed().routes

    def restore(self, routes: Mapping[str, Route]) -> None:
        """Make these the confirmed routes, in place of a file that is lost or damaged."""
        self._set_aside_damaged()
        with self._locked():
            envoy_state.write(self._state_file, ConfirmedRoutes(1, dict(routes)))
        self.init_files()

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Return counters since Envoy's start by pool; see `EnvoyMeasurements.counters`."""
        return self._measurements.counters(model)

    def answers_of_users(self, split: str | None, after: Mapping[str, LogPosition]) -> UserBuckets:
        return self._users.answers(split, after)

    def keep_log_small(self) -> None:
        self._users.keep_small()

    def healthy(self, model: str) -> Mapping[str, int]:
        return self._measurements.healthy(model)

    def backups(self) -> Mapping[str, int]:
        return self._measurements.backups(self._confirmed().routes)

    def overview(self) -> list[dict[str, Any]]:
        """Return a row per model and pool with a target: the configured share and the counters."""
        routes = sorted(self._confirmed().routes.items())
        return [row for _, route in routes for row in self._measurements.overview(route)]

    def differences(self) -> tuple[str, ...]:
        """Return what Envoy holds other than the confirmed routes say; see `ports.Router.differences`."""
        with self._locked():
            state = self._confirmed()
            held = {
                "routes": [entry["route_config"] for entry in self._admin.dumped("dynamic_route_configs")],
                "clusters": [entry["cluster"] for entry in self._admin.dumped("dynamic_active_clusters")],
                "listeners": [
                    entry["active_state"]["listener"]
                    for entry in self._admin.dumped("dynamic_listeners")
                    if "active_state" in entry
                ],
            }
            wanted = {
                "routes": _route_resources(state),
                "clusters": clusters(list(state.routes), self._layout, self._folder),
                "listeners": listeners(self._layout, self._folder),
            }
            changes = [
                text
                for kind in wanted
                for text in differences(by_name(wanted[kind]), by_name(held[kind]), kind)
            ]
            closed = unreachable(self._layout.listen)
            return (*([closed] if closed else []), *changes)

    def repair(self) -> None:
        """Write the confirmed configuration again; see `ports.Router.repair`.

        An Envoy whose listeners were drained opens none again: it is ended, and its supervisor starts another.
        A damaged routes.json is set aside, and Envoy goes on as it is until the next route is applied.
        """
        if self._set_aside_damaged():
            return
        self.init_files()
        if unreachable(self._layout.listen):
            self._admin.end()

    def _set_aside_damaged(self) -> bool:
        with self._locked():
            try:
                self._confirmed()
            except RouterRejected:
                self._state_file.replace(self._state_file.with_suffix(".damaged"))
                return True
        return False

    def _add_clusters(self, wanted: ConfirmedRoutes) -> None:
        """Add the clusters that Envoy lacks, without which it refuses a route.

        They are those of a new model, and of a protocol that the version before did not have: a rollback right after an
        upgrade meets the Envoy of before.
        """
        names = {cluster["name"] for cluster in clusters(list(wanted.routes), self._layout, self._folder)}
        if names <= set(self._admin.clusters()):
            return
        before = self._rejections(CDS)
        self._write_clusters(wanted)

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
        """Return the number of rejected or unreadable files of a discovery source."""
        counts = self._admin.numbers(rf"^{re.escape(source)}\.update_(rejected|failure)$")
        return sum(int(count) for count in counts.values())

    def _refuse_if_rejected(self, source: str, before: int) -> None:
        if self._rejections(source) > before:
            raise RouterRejected(
                "Envoy refused the configuration; the last good configuration stays live",
                hint="see Envoy's log; the route may name a model or pool that Envoy does not know",
            )

    def _wait(self, done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._confirm_seconds
        while not done():
            if time.monotonic() > end:
                raise RouterUnavailable(
                    f"Envoy did not confirm {what} within {self._confirm_seconds:g} s",
                    hint="check that `perennial router run` started this Envoy with this state folder",
                )
            time.sleep(0.02)

    def _write_clusters(self, state: ConfirmedRoutes) -> None:
        resources = clusters(list(state.routes), self._layout, self._folder)
        self._write("cds", _version(state, resources), resources)

    def _write_routes(self, state: ConfirmedRoutes) -> str:
        version = _rds_version(state)
        self._write("rds", version, _route_resources(state))
        return version

    def _write(self, kind: str, version: str, resources: Sequence[envoy_config.Json]) -> None:
        path = {"lds": "lds/listeners", "cds": "cds/clusters", "rds": "rds/routes"}.get(kind, kind)
        content = envoy_config.discovery(version, resources)
        write_bytes(self._folder / f"{path}.json", content, PRIVATE)

    @property
    def _state_file(self) -> Path:
        return self._folder / "routes.json"

    def _confirmed(self) -> ConfirmedRoutes:
        return envoy_state.read(self._state_file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / "lock", timeout=2 * self._confirm_seconds):
                yield
        except Timeout as error:
            raise RouterUnavailable(
                "another process holds the lock of the routes", hint="try again"
            ) from error


def _route_resources(state: ConfirmedRoutes) -> list[envoy_config.Json]:
    return [route_configuration(list(state.routes.values()))]


def _rds_version(state: ConfirmedRoutes) -> str:
    return _version(state, _route_resources(state))


def _version(state: ConfirmedRoutes, resources: Sequence[envoy_config.Json]) -> str:
    """Return a version text with a hash of the content, because a refused change and the next change have the same
    generation."""
    content = json.dumps(resources, sort_keys=True).encode()
    return f"{state.generation}-{hashlib.sha256(content).hexdigest()[:12]}"
