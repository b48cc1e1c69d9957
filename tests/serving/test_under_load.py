"""What clients notice while versions are released and servers die: real Envoy, real model servers."""

from __future__ import annotations

import math
import signal
import time

import httpx
import pytest
from load_generator import Load
from serving_stack import ServingStack, envoy_admin, target, until
from tiny_models import tensor_body

from perennial.adapters.envoy.clusters import COPIES_PER_SERVER
from perennial.core.release.traffic import Route
from perennial.errors import RouterRejected
from perennial.wiring import releasing

pytestmark = pytest.mark.traffic

BIAS = {"1.0.0": 0.0, "1.1.0": 1.0, "1.2.0": math.nan}


@pytest.fixture(scope="module")
def versions(serving_stack, tmp_path_factory):
    """Champion 1.0.0; candidates 1.1.0 (good) and 1.2.0 (every answer of it is an error)."""
    held = {"stable": ("1.0.0",), "canary": ("1.1.0", "1.2.0")}
    return serving_stack.load_tiny(tmp_path_factory.mktemp("versions"), "loaded", BIAS, held)


def route(versions, candidate: str | None = None, weight: float = 0.0, mirror: bool = False) -> Route:
    return Route(
        model="loaded",
        stable=target(versions["1.0.0"], "r-champion"),
        canary=target(versions[candidate], f"r-{candidate}") if candidate else None,
        canary_weight=weight,
        mirror=mirror,
    )


def load(stack: ServingStack, threads: int = 6) -> Load:
    return Load(stack.settings.port_envoy, "/v2/models/loaded/infer", tensor_body(), threads)


def all_healthy(stack: ServingStack) -> None:
    until(lambda: dict(stack.router.healthy("loaded")) == {"stable": 2, "canary": 1}, 60, "all healthy")


def test_the_split_is_the_one_asked_for(serving_stack, versions):
    serving_stack.router.apply(route(versions, "1.1.0", 20.0))
    all_healthy(serving_stack)
    with load(serving_stack) as seen:
        for more in (3000, 9000):  # beyond 3 deviations by chance alone, a larger sample tells
            seen.wait_for(more)
            off = deviations(seen, "1.1.0", 0.2)
            if abs(off) < 3:
                break
    assert seen.failed == 0, seen.failures
    assert abs(off) < 3, f"{seen.versions} of {seen.sent}"


def deviations(seen: Load, version: str, share: float) -> float:
    """How many standard deviations its answers are off the share asked for."""
    answered, got = sum(seen.versions.values()), seen.versions[version]
    return (got - answered * share) / math.sqrt(answered * share * (1 - share))


def test_weights_change_without_a_lost_request(serving_stack, versions):
    serving_stack.router.apply(route(versions))
    with load(serving_stack) as seen:
        for weight in (0.0, 1.0, 50.0, 100.0, 0.0):
            serving_stack.router.apply(route(versions, "1.1.0", weight))
            seen.wait_for(150)
        serving_stack.router.apply(route(versions))
        seen.wait_for(150)
    assert seen.failed == 0, seen.failures


def test_a_full_share_reaches_the_candidate_only(serving_stack, versions):
    serving_stack.router.apply(route(versions, "1.1.0", 100.0))
    with load(serving_stack) as seen:
        seen.wait_for(300)
    assert set(seen.versions) == {"1.1.0"}


def test_a_mirror_is_logged_as_shadow_and_answered_to_nobody(serving_stack, versions):
    stack = serving_stack
    log = releasing.prediction_log(stack.settings)
    stack.router.apply(route(versions, "1.1.0", mirror=True))
    all_healthy(stack)
    before = stack.router.counters("loaded")["canary"]
    shadows = int(log.read("loaded")["shadow"].sum())
    with load(stack, threads=2) as seen:  # no more than one server can answer copies of
        seen.wait_for(500)
    assert seen.failed == 0, seen.failures
    assert set(seen.versions) == {"1.0.0"}
    until(
        lambda: stack.router.counters("loaded")["canary"].since(before).requests >= seen.sent, 10, "counted"
    )
    rows = log.read("loaded")
    shadow = rows[rows["shadow"]]
    assert len(shadow) - shadows == seen.sent
    assert set(shadow["version"]) == {"1.1.0"}
    assert set(shadow["release_id"]) == {"r-1.1.0"}
    assert set(shadow["pool"]) == {"canary"}


def test_copies_beyond_what_a_server_can_take_are_dropped(serving_stack, versions):
    """Clients do not wait for copies: those that queue would time out, as errors of a sound candidate."""
    canary = serving_stack.settings.ports("canary")[0]
    serving_stack.router.apply(route(versions, "1.1.0", mirror=True))
    all_healthy(serving_stack)
    serving_stack.kill(canary, signal.SIGSTOP)
    try:
        with load(serving_stack) as seen:
            seen.wait_for(100)
            waiting = sum(numbers(serving_stack, "upstream_rq_(active|pending_active)"))
    finally:
        serving_stack.kill(canary, signal.SIGCONT)
    all_healthy(serving_stack)
    # Envoy's two workers share the limit, and look at it before they count up: both may take the last place.
    assert 0 < waiting <= COPIES_PER_SERVER + 1
    assert seen.failed == 0, seen.failures


def numbers(stack: ServingStack, statistic: str) -> list[int]:
    """Of the cluster that copies go to."""
    query = {"format": "json", "filter": rf"^cluster\.loaded-shadow\.{statistic}$"}
    with envoy_admin(stack.settings.envoy_admin) as client:
        body = client.get("/stats", params=query).json()
    return [stat["value"] for stat in body["stats"] if "value" in stat]


def test_a_mirror_that_hangs_costs_clients_nothing(serving_stack, versions):
    canary = serving_stack.settings.ports("canary")[0]
    serving_stack.router.apply(route(versions, "1.1.0", mirror=True))
    all_healthy(serving_stack)
    serving_stack.kill(canary, signal.SIGSTOP)
    try:
        with load(serving_stack) as seen:
            seen.wait_for(500)
    finally:
        serving_stack.kill(canary, signal.SIGCONT)
    assert seen.failed == 0, seen.failures
    assert max(seen.latencies) < 3.0
    all_healthy(serving_stack)


def test_errors_of_a_candidate_are_healed_and_counted(serving_stack, versions):
    serving_stack.router.apply(route(versions, "1.2.0", 30.0))
    all_healthy(serving_stack)
    before = serving_stack.router.counters("loaded")["canary"]
    with load(serving_stack) as seen:
        seen.wait_for(600)
    assert seen.failed == 0, seen.failures
    assert set(seen.versions) == {"1.0.0"}
    counted = serving_stack.router.counters("loaded")["canary"].since(before)
    assert abs(counted.errors / seen.sent - 0.3) < 0.08
    row = releasing.prediction_log(serving_stack.settings).read("loaded").iloc[-1]
    assert row["release_id"] == "r-champion"


@pytest.mark.parametrize("pool", ["stable", "canary"])
def test_a_killed_server_costs_no_request(serving_stack, versions, pool):
    port = serving_stack.settings.ports(pool)[0]
    serving_stack.router.apply(route(versions, "1.1.0", 20.0))
    all_healthy(serving_stack)
    with load(serving_stack) as seen:
        seen.wait_for(300)
        serving_stack.kill(port)
        seen.wait_for(1000)
        serving_stack.start_server(pool, port)
        serving_stack.wait_for_server(port)
        seen.wait_for(300)
    all_healthy(serving_stack)
    assert seen.lost_to_a_kill == 0, seen.failures


def test_a_hanging_server_costs_one_try(serving_stack, versions):
    port = serving_stack.settings.ports("stable")[1]
    serving_stack.router.apply(route(versions))
    all_healthy(serving_stack)
    with load(serving_stack) as seen:
        seen.wait_for(200)
        serving_stack.kill(port, signal.SIGSTOP)
        try:
            time.sleep(5)
            seen.wait_for(300)
        finally:
            serving_stack.kill(port, signal.SIGCONT)
    assert seen.failed == 0, seen.failures
    assert max(seen.latencies) < 9.0
    all_healthy(serving_stack)


def test_a_refused_change_loses_nothing(serving_stack, versions):
    good = route(versions, "1.1.0", 20.0)
    serving_stack.router.apply(good)
    broken = good.model_copy(
        update={"stable": good.stable.model_copy(update={"release_id": "a\nb"}), "canary_weight": 90.0}
    )
    with load(serving_stack) as seen:
        seen.wait_for(200)
        with pytest.raises(RouterRejected, match="last good configuration"):
            serving_stack.router.apply(broken)
        seen.wait_for(800)
    assert seen.failed == 0, seen.failures
    assert seen.versions["1.1.0"] / seen.sent < 0.35
    assert serving_stack.router.route("loaded") == good


def test_envoy_comes_back_with_the_confirmed_routes(serving_stack, versions):
    serving_stack.router.apply(route(versions, "1.1.0", 100.0))
    serving_stack.kill("envoy")
    serving_stack.start_envoy()
    url = f"{serving_stack.settings.envoy_url}/v2/models/loaded/infer"
    answer = httpx.post(url, json=tensor_body(), trust_env=False)
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1.1.0")


def test_what_a_client_may_not_say(serving_stack, versions):
    """Our headers are the router's word; a client can neither pick a candidate nor hide from the log."""
    serving_stack.router.apply(route(versions, "1.1.0", 0.0))
    url = f"{serving_stack.settings.envoy_url}/v2/models/loaded/infer"
    sent = {"x-perennial-digest": versions["1.1.0"].digest, "x-perennial-synthetic": "true"}
    answer = httpx.post(url, json=tensor_body(), headers={**sent, "x-request-id": "mine"}, trust_env=False)
    assert answer.json()["model_version"] == "1.0.0"
    row = releasing.prediction_log(serving_stack.settings).read("loaded").iloc[-1]
    assert row["request_id"] == answer.headers["x-request-id"] != "mine"
    by_name = f"{serving_stack.settings.envoy_url}/v2/models/loaded/versions/1.1.0/infer"
    assert httpx.post(by_name, json=tensor_body(), trust_env=False).status_code == 404
    assert httpx.get(f"{serving_stack.settings.envoy_url}/nothing", trust_env=False).status_code == 404
