"""When champions die: real Envoy, real model servers, clients that ask without a break."""

from __future__ import annotations

import math
import signal
import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from doubles.releases import MemoryStore
from load_generator import Load
from serving_stack import target, until
from tiny_models import tensor_body

from perennial.core.release.traffic import Route
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.wiring import releasing

pytestmark = pytest.mark.traffic

MODEL = "failing"
PATH = f"/v2/models/{MODEL}/infer"
BIAS = {"1.0.0": 0.2, "1.1.0": 0.3, "1.2.0": 0.4, "6.6.6": math.nan}
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def versions(serving_stack, tmp_path_factory):
    """Champion 1.1.0 with backup 1.0.0; candidate 1.2.0, approved by nobody; 6.6.6 answers errors only."""
    held = {"stable": ("1.0.0", "1.1.0", "6.6.6"), "canary": ("1.0.0", "1.2.0")}
    return serving_stack.load_tiny(tmp_path_factory.mktemp("versions"), MODEL, BIAS, held)


@pytest.fixture
def stack(serving_stack):
    yield serving_stack
    serving_stack.revive(MODEL)


def route(versions, champion: str = "1.1.0", backup: str | None = "1.0.0") -> Route:
    return Route(
        model=MODEL,
        stable=target(versions[champion], f"r-{champion}"),
        backup=target(versions[backup], f"r-{backup}") if backup else None,
    )


def guard(stack) -> FailoverWatch:
    store = MemoryStore()
    return FailoverWatch([MODEL], FailoverWatchPorts(stack.router, store.ledger, lambda now: [], None))


def kinds(guard: FailoverWatch) -> list[str]:
    return [row.entry.kind for row in guard.ports.ledger.rows()]


def ready(stack, versions, live: Route) -> None:
    stack.router.apply(live)
    stack.until_healthy(MODEL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_champion_pool_is_stood_in_for_by_the_champion_before(stack, versions, how):
    ready(stack, versions, route(versions))
    watch = guard(stack)
    watch.look(START)
    before = stack.router.counters(MODEL)
    with Load(stack.settings.port_envoy, PATH, tensor_body(), threads=4) as seen:
        seen.wait_for(200)
        for port in stack.settings.ports("stable"):
            stack.kill(port, how)
        until(lambda: seen.versions["1.0.0"] > 200, 30, "the backup answers")
        watch.look(START + timedelta(seconds=2))
        answered = httpx.post(f"{stack.settings.envoy_url}{PATH}", json=tensor_body(), trust_env=False)
        for port in stack.settings.ports("stable"):
            until(lambda port=port: not stack.alive(port), 30, "stopped")
            stack.start_server("stable", port)
        for port in stack.settings.ports("stable"):
            stack.wait_for_server(port)
        until(lambda: stack.router.healthy(MODEL)["stable"] == 2, 60, "healthy again")
        time.sleep(1.0)
        mark = seen.versions["1.0.0"]
        seen.wait_for(300)
        assert seen.versions["1.0.0"] == mark, "the champion has its requests again"
    assert seen.lost_to_a_kill == 0, seen.failures
    assert set(seen.versions) == {"1.1.0", "1.0.0"}, "never the candidate, which the same servers hold"
    assert answered.headers["x-perennial-stands-in"] == "backup"
    assert answered.json()["parameters"]["release_id"] == "r-1.0.0"
    counted = {name: counters.since(before[name]) for name, counters in stack.router.counters(MODEL).items()}
    assert counted["backup"].requests >= seen.versions["1.0.0"]
    assert counted["canary"].requests == 0, "it is no evidence for the candidate"
    assert counted["stable"].requests - counted["stable"].errors <= seen.versions["1.1.0"] + 1
    watch.look(START + timedelta(seconds=4))
    watch.look(START + timedelta(minutes=5))
    assert kinds(watch) == ["failover.began", "failover.ended"]
    assert watch.ports.ledger.rows()[0].entry.payload["backup"] == "1.0.0"


def test_a_champion_that_answers_errors_only_is_stood_in_for(stack, versions):
    ready(stack, versions, route(versions, champion="6.6.6"))
    before = stack.router.counters(MODEL)
    with Load(stack.settings.port_envoy, PATH, tensor_body(), threads=2) as seen:
        seen.wait_for(150)
    assert seen.failed == 0, seen.failures
    assert set(seen.versions) == {"1.0.0"}
    champion = stack.router.counters(MODEL)["stable"].since(before["stable"])
    assert champion.errors == champion.requests >= 150, "the errors are still the champion's"


def test_one_dead_server_of_two_gives_no_request_to_the_backup(stack, versions):
    ready(stack, versions, route(versions))
    with Load(stack.settings.port_envoy, PATH, tensor_body(), threads=4) as seen:
        seen.wait_for(200)
        stack.kill(stack.settings.ports("stable")[0])
        seen.wait_for(800)
    assert seen.lost_to_a_kill == 0, seen.failures
    assert seen.versions["1.0.0"] <= 0.02 * seen.sent, "while its death was not noticed, at most"


def test_without_a_backup_no_candidate_stands_in(stack, versions):
    ready(stack, versions, route(versions, backup=None))
    for port in stack.settings.ports("stable"):
        stack.kill(port)
    url = stack.settings.envoy_url
    # A candidate that is named is not routed at all: only the champion is answered by its version.
    for path, status in ((PATH, 503), (f"/v2/models/{MODEL}/versions/1.2.0/infer", 404)):
        answer = httpx.post(url + path, json=tensor_body(), trust_env=False, timeout=30)
        assert answer.status_code == status, answer.text


def test_the_log_names_who_answered(stack, versions):
    ready(stack, versions, route(versions, champion="6.6.6"))
    answer = httpx.post(f"{stack.settings.envoy_url}{PATH}", json=tensor_body(), trust_env=False)
    row = releasing.prediction_log(stack.settings).read(MODEL).iloc[-1]
    assert row["request_id"] == answer.headers["x-request-id"]
    assert (row["version"], row["release_id"], row["pool"]) == ("1.0.0", "r-1.0.0", "canary")
