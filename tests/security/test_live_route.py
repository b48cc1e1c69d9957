"""Changes of Envoy behind our back: seen by comparison with Envoy's own dump, alarmed in the ledger, repaired."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from doubles.releases import MemoryStore
from doubles.routing import MemoryJournal, MemoryPool
from envoy_split_stack import CANARY, MODEL, STABLE, SplitStack, split
from serving_stack import envoy_admin, envoy_is_up, until

from perennial.core.events import Entry, Event
from perennial.core.release.traffic import Assignment, Route
from perennial.core.version import VersionRef
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.flows.release.recorded_route import RecordedRoutePorts

pytestmark = pytest.mark.server
NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
ROUTE = split(20.0, None)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("split")) as stack:
        yield stack


@pytest.fixture
def watch(stack):
    stack.router.apply(ROUTE)
    return FailoverWatch(
        [MODEL], FailoverWatchPorts(stack.router, MemoryStore().ledger, lambda now: [], None)
    )


def edited(stack, kind: str, change) -> None:
    """Edit a file of Envoy as a stranger would: same version text, a rename in its folder."""
    path = stack._folder / "envoy" / kind / {"rds": "routes.json", "cds": "clusters.json"}[kind]
    content = json.loads(path.read_text())
    for resource in content["resources"]:
        change(resource)
    beside = path.with_name("edited")
    beside.write_text(json.dumps(content))
    os.replace(beside, path)


def to_canary(resource) -> None:
    for route in resource["virtual_hosts"][0]["routes"]:
        for share in route.get("route", {}).get("weighted_clusters", {}).get("clusters", ()):
            if share["name"] == f"{MODEL}.canary":
                share["weight"] = 10_000
            elif share["name"] == f"{MODEL}.stable":
                share["weight"] = 0


def digest_of_candidate(resource) -> None:
    text = json.dumps(resource).replace(STABLE.digest, CANARY.digest)
    resource.update(json.loads(text))


def elsewhere(resource) -> None:
    resource["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"][
        "port_value"
    ] = 9


@pytest.mark.parametrize(
    "route",
    [
        Route(model=MODEL, stable=STABLE),
        Route(model=MODEL, stable=STABLE, backup=CANARY),
        Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True),
        split(100.0, None),
        split(12.5, Assignment(experiment="e1", header="x-user-id", cookie="arm")),
        split(0.01, Assignment(experiment="e2", cookie="arm", cookie_age=timedelta(hours=1))),
    ],
)
def test_what_the_router_wrote_is_no_difference(stack, route):
    stack.router.apply(route)
    assert stack.router.differences() == ()


@pytest.mark.parametrize(
    ("kind", "change"), [("rds", to_canary), ("rds", digest_of_candidate), ("cds", elsewhere)]
)
def test_an_edited_file_is_alarmed_and_repaired(stack, watch, kind, change):
    """An edited route file moved all traffic, and `router show` did not see it."""
    assert watch.look(NOW) == []
    edited(stack, kind, change)
    until(lambda: stack.router.differences() != (), 10, "the edited file is live")
    lines = watch.look(NOW)
    assert any("ALARM route.changed_outside" in line for line in lines)
    (row,) = watch.ports.ledger.rows()
    assert (row.entry.kind, row.entry.model) == (Event.ROUTE_CHANGED_OUTSIDE, MODEL)
    assert row.entry.payload["differences"]
    until(lambda: stack.router.differences() == (), 10, "repaired")
    assert watch.look(NOW) == []


@pytest.fixture
def recorded(stack):
    """The watch of a stack whose champion is in the ledger."""
    stack.router.apply(Route(model=MODEL, stable=STABLE))
    store, pool = MemoryStore(), MemoryPool()
    ref = VersionRef(model=MODEL, version=STABLE.version, key="1", digest=STABLE.digest, capsule="c")
    pool.ensure("stable", ref, stack._folder)
    champion = {"model": MODEL, "release_id": STABLE.release_id, "digest": STABLE.digest}
    payload = {"version": STABLE.version}
    store.ledger.append(
        Entry(at=NOW, actor="ann", kind=Event.EMERGENCY_ROLLBACK, payload=payload, **champion)
    )
    ports = RecordedRoutePorts(stack.router, store.releases, store.ledger, MemoryJournal(), pool)
    return FailoverWatch([MODEL], FailoverWatchPorts(stack.router, store.ledger, lambda now: [], ports))


def test_an_edited_file_of_routes_and_a_restart_are_mended_in_one_pass(stack, recorded):
    """Envoy did what the edited file says, so a comparison with that file saw nothing."""
    assert recorded.look(NOW) == []
    file = stack._folder / "envoy" / "routes.json"
    content = json.loads(file.read_text())
    content["routes"][MODEL] |= {"canary": CANARY.model_dump(), "canary_weight": 100.0}
    file.write_text(json.dumps(content))
    stack.restart()
    assert stack.to_canary([{}] * 3) == [True] * 3
    assert stack.router.differences() == ()
    assert any("ALARM route.changed_outside" in line for line in recorded.look(NOW))
    assert stack.to_canary([{}] * 3) == [False] * 3
    assert recorded.ports.ledger.rows()[-1].entry.kind == Event.ROUTE_CHANGED_OUTSIDE
    assert recorded.look(NOW) == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_damaged_file_of_routes_is_set_aside_and_mended(stack, recorded, restarted):
    """With one broken byte no route could be changed, no rollback made, and Envoy not be started."""
    (stack._folder / "envoy" / "routes.json").write_text("{")
    if restarted:
        stack._processes[1].kill()
        stack._processes[1].wait(timeout=20)
        stack._run(stack.router.init())
        stack._processes.pop(1)
        until(lambda: envoy_is_up(stack._admin), 30, "Envoy")
    assert any("ALARM route.changed_outside" in line for line in recorded.look(NOW))
    until(lambda: stack.router.healthy(MODEL)["stable"] == 1, 30, "the stable pool")
    assert stack.to_canary([{}] * 3) == [False] * 3
    assert (stack.router.differences(), recorded.look(NOW)) == ((), [])
    assert (stack._folder / "envoy" / "routes.damaged").read_text() == "{"


def test_a_closed_door_is_seen_and_envoy_is_ended_for_its_supervisor(tmp_path):
    """`drain_listeners` closed the door while Envoy's own /ready said that all is well."""
    with SplitStack(tmp_path) as stack:
        watch = FailoverWatch(
            [MODEL], FailoverWatchPorts(stack.router, MemoryStore().ledger, lambda now: [], None)
        )
        with envoy_admin(stack._admin) as admin:
            admin.post("/drain_listeners")
            until(lambda: stack.router.differences() != (), 10, "drained")
            assert admin.get("/ready").status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{stack.port}/v2", trust_env=False)
        assert "closed" in watch.look(NOW)[0]
        until(lambda: stack._processes[-1].poll() is not None, 20, "Envoy has ended")
        assert [row.entry.kind for row in watch.ports.ledger.rows()] == [Event.ROUTE_CHANGED_OUTSIDE]
