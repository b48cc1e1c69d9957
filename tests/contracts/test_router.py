"""One suite for every Router: the fake and the real Envoy with real model servers behind it."""

from __future__ import annotations

import itertools

import pytest
from doubles.routing import MemoryRouter
from load_generator import Load
from machines.attended import attended
from serving_stack import target, until
from tiny_models import tensor_body, tiny_version

from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.router import EnvoyRouter
from perennial.adapters.sql.machines.router import SqlRouter
from perennial.core.release.traffic import Assignment, Route
from perennial.errors import RouteMoved, RouterRejected, RouterUnavailable
from perennial.wiring import machines, traffic

NUMBER = itertools.count()


class FakeScene:
    """The fake, and how to make it see traffic or refuse a route."""

    def __init__(self) -> None:
        self.router = MemoryRouter()

    def ask(self, model: str, requests: int) -> None:
        self.router.answered(model, "stable", requests)
        if self.router.route(model).split is not None:
            self.router.answered_users(model, "stable", "0", requests)

    def refused(self, route: Route) -> None:
        self.router.rejecting = True
        try:
            self.router.apply(route)
        finally:
            self.router.rejecting = False

    def unreachable(self) -> MemoryRouter:
        self.router.down = True
        return self.router


class RealScene:
    """Envoy, and the same."""

    def __init__(self, stack, folder) -> None:
        self.router = stack.router
        self._stack = stack
        self._folder = folder

    def ask(self, model: str, requests: int) -> None:
        path = f"/v2/models/{model}/infer"
        with Load(self._stack.settings.port_envoy, path, tensor_body(), threads=2) as load:
            load.wait_for(requests)

    def refused(self, route: Route) -> None:
        """A line break in a header value is refused by Envoy itself."""
        broken = route.stable.model_copy(update={"release_id": "a\nb"})
        self.router.apply(route.model_copy(update={"stable": broken}))

    def unreachable(self) -> EnvoyRouter:
        layout = self._stack.router._layout
        nobody = self._folder / "nobody.sock"
        return EnvoyRouter(
            self._stack.settings.envoy_dir, Layout(layout.listen, nobody, layout.pools, layout.grpc)
        )


class MachineScene(RealScene):
    """The same Envoy, through the agent of its machine."""

    def __init__(self, stack, folder, control) -> None:
        super().__init__(stack, folder)
        self.router = traffic.router(control)
        self._control = control

    def unreachable(self) -> SqlRouter:
        """All machines have been silent for longer than their lease."""
        nobody = machines.machines(self._control.model_copy(update={"machine_lease": -1.0}))
        return SqlRouter(machines.wanted(self._control), nobody)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("envoy", marks=pytest.mark.traffic),
        pytest.param("machine", marks=pytest.mark.traffic),
    ]
)
def scene(request, tmp_path):
    if request.param == "memory":
        yield FakeScene()
        return
    stack = request.getfixturevalue("serving_stack")
    if request.param == "envoy":
        yield RealScene(stack, tmp_path)
        return
    with attended(stack, tmp_path) as control:
        yield MachineScene(stack, tmp_path, control)


@pytest.fixture
def versions(request, scene, tmp_path):
    """Champion in the stable pool, candidate in the canary pool."""
    model = f"routed{next(NUMBER)}"
    champion = tiny_version(tmp_path, model, "1.0.0", bias=0.0)
    candidate = tiny_version(tmp_path, model, "1.1.0", bias=1.0)
    if isinstance(scene, RealScene):
        stack = request.getfixturevalue("serving_stack")
        stack.load("stable", *champion)
        stack.load("canary", *candidate)
    return champion[0], candidate[0]


def only_stable(versions) -> Route:
    return Route(model=versions[0].model, stable=target(versions[0], "r1"))


def split(versions, weight: float) -> Route:
    champion, candidate = versions
    return Route(
        model=champion.model,
        stable=target(champion, "r1"),
        canary=target(candidate, "r2"),
        canary_weight=weight,
    )


def test_a_model_without_a_route_has_none(scene):
    assert scene.router.route("nobody") is None
    counted = scene.router.counters("nobody")
    assert set(counted) == {"stable", "canary", "backup"}
    assert all(counters.requests == counters.errors == counters.lost == 0 for counters in counted.values())
    assert scene.router.healthy("nobody") == {"stable": 0, "canary": 0}


def test_the_route_last_applied_is_told(scene, versions):
    for route in (only_stable(versions), split(versions, 5.0), split(versions, 5.0), only_stable(versions)):
        scene.router.apply(route)
        assert scene.router.route(route.model) == route


def test_healthy_servers_are_counted(scene, versions):
    route = only_stable(versions)
    scene.router.apply(route)
    until(lambda: scene.router.healthy(route.model) == {"stable": 2, "canary": 1}, 15, "healthy servers")


def test_counters_only_grow(scene, versions):
    route = only_stable(versions)
    scene.router.apply(route)
    scene.ask(route.model, 50)
    until(lambda: scene.router.counters(route.model)["stable"].latency_ms(0.5) is not None, 10, "latencies")
    first = scene.router.counters(route.model)["stable"]
    scene.ask(route.model, 50)
    more = scene.router.counters(route.model)["stable"].since(first)
    assert first.requests >= 50
    assert more.requests >= 50
    assert (first.errors, more.errors) == (0, 0)


def test_users_of_a_split_are_counted_once_by_bucket(scene, versions):
    sticky = {"assignment": Assignment(experiment="e1", header="x-user-id")}
    route = split(versions, 1.0).model_copy(update=sticky)
    scene.router.apply(route)
    begun = scene.router.answers_of_users(None, {})
    assert begun.counts == {}
    scene.ask(route.model, 50)

    def counted() -> int:
        seen = scene.router.answers_of_users(route.split, begun.read)
        assert seen.after == begun.read
        return sum(each.requests for each in seen.counts.get("stable", {}).values())

    until(lambda: counted() >= 30, 30, "the log")
    scene.router.keep_log_small()
    assert scene.router.answers_of_users(f"{route.split}0", begun.read).counts == {}
    until(lambda: scene.router.answers_of_users(None, {}).read != begun.read, 30, "another place")


def test_a_refused_route_leaves_the_last_good_one(scene, versions):
    good = split(versions, 10.0)
    scene.router.apply(good)
    with pytest.raises(RouterRejected, match="refuse"):
        scene.refused(split(versions, 30.0))
    assert scene.router.route(good.model) == good
    scene.router.apply(split(versions, 20.0))
    assert scene.router.route(good.model) == split(versions, 20.0)


def test_a_router_that_is_down_changes_nothing(scene, versions):
    good = split(versions, 10.0)
    scene.router.apply(good)
    down = scene.unreachable()
    for call in (
        lambda: down.apply(split(versions, 50.0)),
        lambda: down.counters(good.model),
        lambda: down.healthy(good.model),
    ):
        with pytest.raises(RouterUnavailable):
            call()
    assert down.route(good.model) == good


def test_a_route_is_changed_only_while_it_is_the_expected_one(scene, versions):
    first, wider, last = only_stable(versions), split(versions, 5.0), split(versions, 20.0)
    scene.router.apply(first, None)
    scene.router.apply(wider, first)
    for expected in (first, None):
        with pytest.raises(RouteMoved, match="somebody else"):
            scene.router.apply(last, expected)
    assert scene.router.route(first.model) == wider
    scene.router.apply(wider, first)  # repeated after a kill it is live already
    scene.router.apply(last, wider)
    assert scene.router.route(first.model) == last
