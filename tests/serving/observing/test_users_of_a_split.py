"""Answers by bucket of users at a real Envoy with real model servers: whose errors are in which bucket."""

from __future__ import annotations

import http.client
import json
from pathlib import Path

import pytest
from envoy_split_stack import DEADLINES
from serving_stack import ServingStack, target, until
from tiny_models import tensor_body, tiny_version

from perennial.adapters.envoy.admin import EnvoyAdmin
from perennial.core.release.counted.user_buckets import BucketCounts, together
from perennial.core.release.traffic import Assignment, Counters, Route

pytestmark = pytest.mark.traffic
MODEL = "bucketed"
USERS = [f"user-{number}" for number in range(150)]


class Watched:
    """A stack whose test is repeated where Envoy met a deadline; see `undisturbed`."""

    def __init__(self, stack: ServingStack, folder: Path) -> None:
        self.stack = stack
        self.made = {
            pool: tiny_version(folder, MODEL, version, bias)
            for pool, version, bias in (("stable", "1.0.0", 0.0), ("canary", "1.1.0", 1.0))
        }
        self.champion, self.candidate = (self.made[pool][0] for pool in ("stable", "canary"))

    def disturbances(self) -> dict[str, int]:
        numbers = EnvoyAdmin(self.stack.settings.envoy_admin).numbers(
            rf"^cluster\.{MODEL}.*\.({'|'.join(DEADLINES)})$"
        )
        return {name: int(number) for name, number in numbers.items()}

    def settle(self) -> None:
        """Load both versions again, and wait until every server is known as healthy."""
        self.stack.router.apply(Route(model=MODEL, stable=target(self.champion, "r1")))
        for pool, version in self.made.items():
            self.stack.load(pool, *version)
        self.stack.until_healthy(MODEL)


@pytest.fixture
def watched(serving_stack, tmp_path) -> Watched:
    return Watched(serving_stack, tmp_path)


class Split:
    """The live split, and what it was answered since the last question."""

    def __init__(self, stack: ServingStack, route: Route) -> None:
        stack.router.apply(route)
        self._stack, self._split = stack, route.split
        self._before = stack.router.counters(MODEL)
        self._read = stack.router.answers_of_users(None, {}).read

    def ask(self) -> dict[str, str]:
        """Ask once as every user; return user -> version that answered."""
        answered = {}
        connection = http.client.HTTPConnection("127.0.0.1", self._stack.settings.port_envoy, timeout=60)
        for user in USERS:
            body = json.dumps(tensor_body())
            connection.request("POST", f"/v2/models/{MODEL}/infer", body, {"x-user-id": user})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            assert answer.status == 200, content
            answered[user] = content["model_version"]
        connection.close()
        return answered

    def counted(self, requests: int) -> tuple[BucketCounts, dict[str, tuple[int, int]]]:
        """Return counts by bucket, when they hold as many requests, and requests and errors of the router by pool."""
        counts: BucketCounts = {}

        def complete() -> bool:
            nonlocal counts
            seen = self._stack.router.answers_of_users(self._split, self._read)
            assert seen.problems == ()
            counts, self._read = together(counts, seen.counts), seen.read
            return sum(sum_of(buckets)[0] for buckets in counts.values()) == requests

        until(complete, 60, f"{requests} requests in the log")
        now = self._stack.router.counters(MODEL)
        new = {pool: now[pool].since(self._before[pool]) for pool in ("stable", "canary")}
        self._before = now
        return counts, {pool: (counters.requests, counters.errors) for pool, counters in new.items()}


def sum_of(buckets: dict[str, Counters]) -> tuple[int, int]:
    return sum(each.requests for each in buckets.values()), sum(each.errors for each in buckets.values())


def test_users_whose_version_fails_are_those_whose_buckets_have_errors(watched):
    stack, candidate = watched.stack, watched.candidate
    route = Route(
        model=MODEL, stable=target(watched.champion, "r1"), canary=target(candidate, "r2"), canary_weight=40.0,
        assignment=Assignment(experiment="e1", header="x-user-id"),
    )  # fmt: skip
    split = Split(stack, route)
    answered = list(split.ask().values())
    counts, of_router = split.counted(len(USERS))
    assert {pool: sum_of(buckets) for pool, buckets in counts.items()} == of_router
    assert of_router["canary"] == (answered.count("1.1.0"), 0)
    assert all(each.latency_ms(0.5) > 0 for buckets in counts.values() for each in buckets.values())

    stack.pool.drop("canary", MODEL, candidate.digest)
    until(lambda: not stack.pool.readiness("canary", MODEL, candidate.digest).ready, 30, "gone")
    assert set(split.ask().values()) == {"1.0.0"}, "the champion heals what the candidate cannot answer"
    failed, of_router = split.counted(len(USERS))
    of_users = {bucket: each.requests for bucket, each in counts["canary"].items()}
    assert {bucket: each.requests for bucket, each in failed["canary"].items()} == of_users
    assert {bucket: each.errors for bucket, each in failed["canary"].items()} == of_users
    assert sum_of(failed["canary"]) == of_router["canary"]
    requests, errors = of_router["stable"]
    healed = of_router["canary"][1]
    assert sum_of(failed["stable"]) == (requests - healed, errors), (
        "a healing is no request of a champion's user"
    )
