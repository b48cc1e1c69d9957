"""What a serving machine holds: routes move after the versions, and versions leave after the routes.

A machine that was away may miss the whole way from one champion to the next. It then serves the earlier champion until
its own servers have loaded the new one, and no request meets a version that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from perennial.core.machine import Wanted, WantedKind
from perennial.core.release.traffic import PoolName, Route
from perennial.errors import PerennialError, PoolUnavailable, RouterRejected
from perennial.flows.release.machines.agent_ports import AgentPorts
from perennial.serving.desired_state import DesiredState

Known = Callable[[WantedKind], Sequence[Wanted]]
"""Returns the things of a kind that the agent has read from the database."""
Identity = tuple[str, str]
"""(model, digest)"""


class Holding:
    """Routes and pools of this machine, which follow those that are wanted."""

    def __init__(self, ports: AgentPorts, known: Known) -> None:
        self._ports = ports
        self._known = known
        self._last: Mapping[str, Route] = {}
        self._agreed: tuple[object, object] = (None, None)

    def routes(self) -> Mapping[str, Route]:
        """Return the routes here; those that were lost, as with a damaged file, are written again, all at once.

        One after the other, each would take the routes of the other models from Envoy.
        """
        try:
            live = self._ports.router.routes()
        except RouterRejected:
            live = {}
            self._last = self._last or self._loaded_routes()
        if any(model not in live for model in self._last):
            self._ports.router.restore({**self._last, **live})
            live = self._ports.router.routes()
        self._last = live
        return live

    def _loaded_routes(self) -> dict[str, Route]:
        """Return the wanted routes whose champion is loaded here: those of an agent that has just started."""
        routes = [_route(wanted.body) for wanted in self._known(WantedKind.ROUTE) if wanted.body]
        return {route.model: route for route in routes if self._is_loaded(route)}

    def _is_loaded(self, route: Route) -> bool:
        return self._ports.pool.readiness(PoolName.STABLE, route.model, route.stable.digest).ready > 0

    def apply_route(self, wanted: Wanted) -> None:
        """Apply a route. A champion that is new here must be loaded first.

        Raises:
            PoolUnavailable: no stable server holds it yet; the route before stays.
        """
        if not wanted.body:
            return
        route = _route(wanted.body)
        live = self.routes().get(route.model)
        if (live is None or live.stable.digest != route.stable.digest) and not self._is_loaded(route):
            stays = "" if live is None else f"; {live.stable.version} answers"
            raise PoolUnavailable(
                f"no stable server holds {route.model} {route.stable.digest[:12]} yet{stays}",
                hint="it is being loaded",
            )
        self._ports.router.apply(route)
        self._last = {**self._last, route.model: route}

    def different_routes(self) -> list[Wanted]:
        """Return the wanted routes that are not the routes here."""
        known = self._known(WantedKind.ROUTE)
        try:
            live = self.routes()
        except (PerennialError, OSError):
            return [wanted for wanted in known if wanted.body]  # each tells why it is not applied
        if self._agreed == (live, known):
            return []
        different = [
            wanted for wanted in known if wanted.body and live.get(wanted.name) != _route(wanted.body)
        ]
        if not different:
            self._agreed = (live, known)
        return different

    def apply_pool(self, wanted: Wanted) -> None:
        """Make a pool hold what is wanted, and what a route here still names that is about to move."""
        self._ports.pool.hold(wanted.name, _state(wanted.body), self._ports.fetch, self._named(wanted.name))

    def different_pools(self) -> list[Wanted]:
        """Return the wanted pools that hold other versions than these."""
        return [wanted for wanted in self._known(WantedKind.POOL) if not self._holds(wanted)]

    def _holds(self, wanted: Wanted) -> bool:
        try:
            held = self._ports.pool.held(wanted.name)
        except PerennialError:
            return False
        return set(held) == {version.identity for version in _state(wanted.body).models}

    def _named(self, pool: str) -> frozenset[Identity]:
        """Return the versions of a pool that routes here name, where another route is wanted."""
        live = self.routes()
        moving = [
            live[wanted.name]
            for wanted in self._known(WantedKind.ROUTE)
            if wanted.body and wanted.name in live and live[wanted.name] != _route(wanted.body)
        ]
        targets = [
            (route.model, target)
            for route in moving
            for target in ((route.stable,) if pool == PoolName.STABLE else (route.canary, route.backup))
        ]
        return frozenset((model, target.digest) for model, target in targets if target is not None)


@lru_cache(maxsize=4096)
def _route(body: str) -> Route:
    return Route.model_validate_json(body)


@lru_cache(maxsize=8)
def _state(body: str) -> DesiredState:
    return DesiredState.model_validate_json(body) if body else DesiredState()
