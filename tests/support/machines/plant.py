"""A control plane on SQLite, and serving machines with agents in threads over fakes of Envoy and the model servers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from doubles.routing import MemoryPool, MemoryProbe, MemoryRouter
from serving_stack import until

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.machines.desk import SqlDesk
from perennial.adapters.sql.machines.machines import SqlMachines
from perennial.adapters.sql.machines.pool import SqlPool
from perennial.adapters.sql.machines.router import SqlRouter
from perennial.adapters.sql.machines.wanted import SqlWanted
from perennial.core.machine import MachineReport, WantedKind
from perennial.core.release.traffic import AnyRoute, Expected, Route, Target
from perennial.core.version import VersionRef
from perennial.errors import RouterRejected
from perennial.flows.release.machines.agent import Agent
from perennial.flows.release.machines.agent_ports import AgentPorts
from perennial.serving.desired_state import DesiredState, DesiredVersion

MODEL = "m"
LEASE = 120.0
BODY: dict = {"inputs": [{"data": []}]}


class HoldingPool(MemoryPool):
    """The pool of a machine, whose files are always there."""

    def hold(self, pool: str, wanted: DesiredState, fetch: Callable, stay: Collection = ()) -> None:
        stays = {identity: version for identity, version in self._held[pool].items() if identity in stay}
        self._held[pool] = {**stays, **{version.identity: version for version in wanted.models}}

    def held(self, pool: str) -> Collection[tuple[str, str]]:
        return list(self._held[pool])

    def problems(self) -> dict[int, list[str]]:
        return {3101: []}


class OverviewRouter(MemoryRouter):
    """The router of a machine.

    Attributes:
        damaged: its file of routes cannot be read.
        sizes: number of routes after each change.
    """

    def __init__(self) -> None:
        super().__init__()
        self.damaged = False
        self.sizes: list[int] = []

    def routes(self) -> Mapping[str, Route]:
        if self.damaged:
            raise RouterRejected("the file of the routes cannot be read", hint="restore them")
        return dict(self._routes)

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        self.routes()
        super().apply(route, expected)
        self.sizes.append(len(self._routes))

    def restore(self, routes: Mapping[str, Route]) -> None:
        self.damaged, self._routes = False, dict(routes)
        self.sizes.append(len(routes))

    def overview(self) -> list[dict]:
        return []


class Plant:
    """A control plane on SQLite, and machines with agents in threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database(url)
        self.wanted = SqlWanted(self.database)
        self.router = self.seen_with(LEASE)
        self.pools: dict[str, HoldingPool] = {}
        self.routers: dict[str, OverviewRouter] = {}
        self._agents: dict[str, tuple[threading.Event, threading.Thread]] = {}

    def seen_with(self, lease: float) -> SqlRouter:
        self.machines = SqlMachines(self.database, lease)
        return SqlRouter(self.wanted, self.machines, confirm_seconds=30)

    @property
    def pool(self) -> SqlPool:
        return SqlPool(self.wanted, self.machines, files=None, trusted=None)  # type: ignore[arg-type]

    def start(self, name: str) -> None:
        pool = self.pools.setdefault(name, HoldingPool())
        router = self.routers.setdefault(name, OverviewRouter())
        ports = AgentPorts(
            desk=SqlDesk(Database(self.url), name), router=router, pool=pool, probe=MemoryProbe(pool),
            fetch=lambda version, folder: None, keep_files=lambda body: None, servers=pool.servers,
            send_log=lambda now: 0, send_every=60.0,
        )  # fmt: skip
        stop = threading.Event()
        thread = threading.Thread(target=Agent(ports).run, args=(stop,))
        self._agents[name] = stop, thread
        thread.start()
        until(lambda: name in {machine.name for machine in self.machines.all()}, 60, f"a report of {name}")

    def stop(self, name: str) -> None:
        stop, thread = self._agents.pop(name)
        stop.set()
        thread.join()

    def kill(self, name: str) -> None:
        """Leave the row of the machine as its last report in work left it."""
        self.stop(name)
        SqlDesk(self.database, name).report(MachineReport(servers=self.pools[name].servers))

    def say(self, statement: str) -> None:
        with self.database.writing() as connection:
            connection.exec_driver_sql(statement)

    def stop_all(self) -> None:
        for name in list(self._agents):
            self.stop(name)

    def hold(self, *refs: VersionRef) -> None:
        """Every stable pool must hold the versions and no others; their files need no exchange here."""
        state = DesiredState(models=tuple(DesiredVersion.of(ref) for ref in refs)).model_dump_json()
        self.wanted.change(WantedKind.POOL, "stable", lambda body: state)
        for ref in refs:
            until(lambda ref=ref: self.pool.readiness("stable", ref.model, ref.digest).complete, 60, "loaded")


def version(number: int) -> VersionRef:
    digest = str(number) * 64
    return VersionRef(model=MODEL, version=f"{number}.0.0", key=str(number), digest=digest, capsule="c")


def route(number: int, model: str = MODEL, candidate: int = 0) -> Route:
    canary = {"canary": _target(candidate), "canary_weight": 5.0} if candidate else {}
    return Route(model=model, stable=_target(number), **canary)


def _target(number: int) -> Target:
    ref = version(number)
    return Target(version=ref.version, digest=ref.digest, release_id=f"r{number}")


@contextmanager
def unable(router: OverviewRouter, name: str) -> Iterator[None]:
    setattr(router, name, True)
    try:
        yield
    finally:
        setattr(router, name, False)


@contextmanager
def running(folder: Path) -> Iterator[Plant]:
    """Start the machines a and b, whose stable servers hold three versions."""
    made = Plant(f"sqlite:///{folder}/perennial.db")
    try:
        for name in ("a", "b"):
            made.start(name)
        made.hold(*map(version, (1, 2, 3)))
        yield made
    finally:
        made.stop_all()
