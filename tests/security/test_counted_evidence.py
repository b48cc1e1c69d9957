"""What Envoy counts as evidence of a version: its own answers and failures, not the faults of requests."""

from __future__ import annotations

import contextlib
import http.client
import time
from datetime import UTC, datetime

import httpx
import pytest
from envoy_split_stack import CANARY, INFER, MODEL, STABLE, SplitStack, split
from serving_stack import until

from perennial.core.release.failover import FailoverState, watch_failover
from perennial.core.release.traffic import BACKUP, Assignment, Counters, Route

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("counted")) as stack:
        yield stack


class Counted:
    """What is counted from now on."""

    def __init__(self, stack: SplitStack) -> None:
        self._stack = stack
        self._before = stack.router.counters(MODEL)

    def send(self, count: int, **failing: str) -> set[int]:
        """Send requests one by one; returns their statuses."""
        sent = {f"x-{name.replace('_', '-')}": status for name, status in failing.items()}
        statuses = set()
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", self._stack.port)
            connection.request("POST", INFER, headers=sent)
            answer = connection.getresponse()
            answer.read()  # Envoy counts no request that a client leaves before the end of its answer
            statuses.add(answer.status)
            connection.close()
        return statuses

    def evidence(self) -> dict[str, tuple[int, int]]:
        """Return requests and errors by pool."""
        counters = self._stack.router.counters(MODEL)
        fresh = {pool: now.since(self._before[pool]).evidence() for pool, now in counters.items()}
        return {pool: (counted.requests, counted.errors) for pool, counted in fresh.items()}

    def settles_at(self, evidence: dict[str, tuple[int, int]]) -> None:
        """Wait until Envoy has counted what was sent, and see that nothing is added a moment later."""
        with contextlib.suppress(AssertionError):  # the comparison below says what was counted instead
            until(lambda: self.evidence() == evidence, 10, "the evidence")
        time.sleep(0.3)
        assert self.evidence() == evidence


def test_garbage_is_no_evidence_of_a_candidate(stack):
    stack.router.apply(split(100.0, None))
    counted = Counted(stack)
    assert counted.send(3) == {200}
    assert counted.send(40, status="400") == {400}
    counted.settles_at({"stable": (0, 0), "canary": (3, 0), BACKUP: (0, 0)})


@pytest.mark.parametrize(
    "route",
    [
        Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True),
        split(50.0, None),
        split(50.0, Assignment(experiment="e", header="x-user-id", cookie="arm")),
    ],
)
def test_only_predictions_are_evidence(stack, route):
    """Questions whether a model is ready filled the requests of a step, and were its fastest."""

    about = f"http://127.0.0.1:{stack.port}/v2/models/{MODEL}"

    def counts() -> dict[str, Counters]:
        return dict(stack.router.counters(MODEL))

    def answers(path: str, count: int) -> set[tuple[int, str]]:
        users = [{"x-user-id": f"u{number}"} for number in range(count)]
        given = [httpx.get(f"{about}{path}", headers=user, trust_env=False) for user in users]
        return {(answer.status_code, answer.headers["arm"]) for answer in given}

    stack.router.apply(route)
    until(lambda: answers("/ready", 1) == {(200, "stable")}, 10, "the stable server is known as healthy")
    time.sleep(1.1)  # latencies come with the next flush
    before = counts()
    for path in ("", "/ready", "/versions/1.0.0"):
        assert answers(path, 20) == {(200, "stable")}
    time.sleep(1.1)
    assert counts() == before


def test_garbage_does_not_make_a_candidate_look_fast(stack):
    """The router's latencies are of every status: refusals are left out of them."""

    def now() -> Counters:
        return stack.router.counters(MODEL)["canary"]

    def latencies(counters: Counters) -> int:
        return counters.buckets[-1][1] if counters.buckets else 0

    def flushed() -> bool:
        known = latencies(now())
        time.sleep(1.1)
        return latencies(now()) == known

    stack.router.apply(split(100.0, None))
    until(flushed, 10, "the latencies of earlier requests")
    before, counted = now(), Counted(stack)
    assert counted.send(3) == {200}
    assert counted.send(40, status="400") == {400}
    until(lambda: latencies(now().since(before)) == 43, 10, "the latencies of all requests")
    assert latencies(now().since(before).evidence()) == 3


def test_a_copy_that_fails_as_its_original_does_is_excused(stack):
    stack.router.apply(Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True))
    before = stack.router.counters(MODEL)
    counted = Counted(stack)
    assert counted.send(5, status="503") == {503}
    assert counted.send(4, status_canary="500") == {200}

    def fresh(pool: str) -> Counters:
        return stack.router.counters(MODEL)[pool].since(before[pool])

    until(lambda: fresh("canary").errors == 9, 10, "the failures of the copies")
    assert fresh("stable").lost == 5
    assert fresh("canary").excused_as(fresh("stable")).evidence().errors == 4


def test_a_fault_of_the_candidate_counts_once_and_of_both_sides_for_nobody(stack):
    stack.router.apply(split(100.0, None))
    counted = Counted(stack)
    assert counted.send(4, status_canary="500") == {200}
    assert counted.send(5, status="503") == {503}
    counted.settles_at({"stable": (4, 0), "canary": (4, 4), BACKUP: (0, 0)})


def test_failed_attempts_are_no_answers_of_the_backup(stack):
    route = Route(model=MODEL, stable=STABLE)
    stack.router.apply(route)
    before = stack.router.counters(MODEL)[BACKUP]
    counted = Counted(stack)
    assert counted.send(5, status="503") == {503}
    assert counted.send(7, status="400") == {400}
    counted.settles_at({"stable": (0, 0), "canary": (0, 0), BACKUP: (0, 0)})
    now, healthy = datetime.now(UTC), {"stable": 1, "canary": 1}
    known = FailoverState(counted=Counters(requests=before.requests - before.errors))
    counted_now = stack.router.counters(MODEL)[BACKUP]
    assert counted_now.errors > before.errors
    answered = counted_now.requests - counted_now.errors
    state, entry = watch_failover(route, known, counted_now, healthy, now)
    assert entry is None, "no false failover in the ledger"
    assert counted.send(2, status_stable="500") == {200}

    def backup() -> Counters:
        return stack.router.counters(MODEL)[BACKUP]

    until(lambda: backup().requests - backup().errors == answered + 2, 10, "the answers of the backup")
    _, entry = watch_failover(route, state, backup(), healthy, now)
    assert entry is not None
    assert entry.payload["answered"] == 2


def test_the_champion_answers_again_as_soon_as_its_servers_are_known_as_healthy(stack):
    """Envoy told its workers up to a second later, and the candidate's servers answered for the champion."""
    stack.router.apply(Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True))
    stack.stall()
    answers = stack.ask([{}] * 200)
    assert {answer["arm"] for answer in answers} == {"stable"}
