"""Answers by bucket of users in a real Envoy: they agree with its own totals, and no client can write into them."""

from __future__ import annotations

import http.client
from collections import Counter

import pytest
from envoy_split_stack import INFER, MODEL, STABLE, SplitStack, split
from grpc_side.calls import Caller, message
from serving_stack import until

from perennial.adapters.envoy import split as envoy_split
from perennial.adapters.envoy import user_log
from perennial.core.release.counted.user_buckets import (
    MOST_BUCKETS,
    BucketCounts,
    LogPosition,
    UserBuckets,
    together,
)
from perennial.core.release.traffic import Assignment, Route

pytestmark = pytest.mark.server
BY_HEADER = Assignment(experiment="first", header="x-user-id")
USERS = [{"x-user-id": f"user-{number}"} for number in range(400)]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("users")) as running:
        yield running


class Look:
    """What users of the live split were answered from now on."""

    def __init__(self, stack: SplitStack) -> None:
        self._router = stack.router
        self._read = self._router.answers_of_users(None, {}).read
        self._before = self._router.counters(MODEL)
        self.counts: BucketCounts = {}
        self.problems: tuple[str, ...] = ()

    def go_on(self) -> UserBuckets:
        seen = self._router.answers_of_users(self._router.route(MODEL).split, self._read)
        self.counts, self._read = together(self.counts, seen.counts), seen.read
        self.problems += seen.problems
        return seen

    def of_pools(self) -> dict[str, tuple[int, int]]:
        """Return pool -> requests and errors, over all buckets."""
        return {
            pool: (
                sum(each.requests for each in buckets.values()),
                sum(each.errors for each in buckets.values()),
            )
            for pool, buckets in self.counts.items()
        }

    def of_router(self) -> dict[str, tuple[int, int]]:
        """Return pool -> requests and errors that count, by the router's own statistics."""
        now = self._router.counters(MODEL)
        fresh = {pool: now[pool].since(self._before[pool]).evidence() for pool in ("stable", "canary")}
        return {pool: (counted.requests, counted.errors) for pool, counted in fresh.items()}

    def until_counted(self, **expected: tuple[int, int]) -> None:
        def counted() -> bool:
            self.go_on()
            return self.of_pools() == expected

        until(counted, 30, f"{expected}, not {self.of_pools()}")


def send(stack: SplitStack, *requests: dict[str, str]) -> Counter[int]:
    """Send requests one by one; return how often each status was answered."""
    statuses: Counter[int] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port)
    for sent in requests:
        connection.request("POST", INFER, headers=sent)
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1
    connection.close()
    return statuses


def test_every_user_has_a_bucket_and_the_sums_are_those_of_the_router(stack):
    stack.router.apply(split(20.0, BY_HEADER))
    look = Look(stack)
    to_canary = stack.to_canary(USERS)
    expected = {"stable": (to_canary.count(False), 0), "canary": (to_canary.count(True), 0)}
    look.until_counted(**expected)
    until(lambda: look.of_router() == expected, 10, "the router's own counts")
    assert all(20 <= len(buckets) <= MOST_BUCKETS for buckets in look.counts.values())
    first = look.counts
    look.counts = {}
    stack.ask(USERS)
    look.until_counted(**expected)
    assert requests(look.counts) == requests(first), "a user stays in its bucket"
    assert look.problems == ()


@pytest.mark.parametrize("weight", [0.05, 5.0, 50.0, 99.5])
def test_buckets_move_no_user(stack, monkeypatch, weight):
    with monkeypatch.context() as patch:
        patch.setattr(envoy_split, "MOST_BUCKETS", 1)
        stack.router.apply(split(weight, BY_HEADER))
        whole = stack.to_canary(USERS)
    stack.router.apply(split(weight, BY_HEADER))
    assert stack.to_canary(USERS) == whole


def requests(counts: BucketCounts) -> dict[tuple[str, str], int]:
    return {
        (pool, bucket): each.requests for pool, buckets in counts.items() for bucket, each in buckets.items()
    }


def test_errors_are_in_the_buckets_of_the_users_who_met_them(stack):
    stack.router.apply(split(50.0, BY_HEADER))
    look = Look(stack)
    to_canary = stack.to_canary(USERS[:40])
    of_canary = [user for user, is_canary in zip(USERS, to_canary, strict=False) if is_canary]
    unlucky, lucky = of_canary[0], of_canary[1:]
    assert send(stack, *[{**unlucky, "x-status-canary": "500"}] * 5) == {200: 5}, "the champion heals them"
    assert send(stack, *lucky) == {200: len(lucky)}
    mine = len(of_canary)
    look.until_counted(canary=(2 * mine + 4, 5), stable=(40 - mine, 0))
    counts = {bucket: (each.requests, each.errors) for bucket, each in look.counts["canary"].items()}
    ((bucket, (_, errors)),) = ((name, both) for name, both in counts.items() if both[1])
    assert errors == 5
    look.counts = {}
    send(stack, unlucky)
    look.until_counted(canary=(1, 0))
    assert list(look.counts["canary"]) == [bucket]


def test_faults_of_requests_are_no_faults_of_a_version(stack):
    stack.router.apply(split(50.0, BY_HEADER))
    look = Look(stack)
    some = USERS[:20]
    assert send(stack, *({**user, "x-status": "400"} for user in some)) == {400: 20}
    assert send(stack, *({**user, "x-status": "500"} for user in some[:4])) == {500: 4}
    failing = [{**user, "x-status-stable": "500"} for user in some]
    to_canary = stack.to_canary(some)
    assert send(stack, *failing) == {200: 20}, "the backup's pool answers for the champion"
    mine, theirs = to_canary.count(True), to_canary.count(False)
    expected = {"canary": (2 * mine, 0), "stable": (theirs + 2 * theirs, 2 * theirs)}
    look.until_counted(**expected)
    until(lambda: look.of_router() == expected, 10, f"{look.of_router()}")


def test_calls_by_grpc_count_as_requests_by_rest(stack):
    stack.router.apply(split(50.0, BY_HEADER))
    look = Look(stack)
    to_canary = stack.to_canary(USERS[:10])
    with Caller(stack.port) as caller:
        for user in USERS[:10]:
            caller.infer(message(MODEL), x_user_id=user["x-user-id"], x_code_canary="INTERNAL")
            assert caller.code(message(MODEL), x_user_id=user["x-user-id"], x_code="INVALID_ARGUMENT")
    mine, theirs = to_canary.count(True), to_canary.count(False)
    expected = {"canary": (2 * mine, mine), "stable": (2 * theirs, 0)}
    look.until_counted(**expected)
    assert len(look.counts["canary"]) <= mine, "the same buckets by both protocols"


def test_no_client_writes_into_the_log(stack, tmp_path):
    stack.router.apply(split(50.0, BY_HEADER))
    look = Look(stack)
    forged = {"x-perennial-bucket": "canary.1 forged", "X-Perennial-Bucket": "canary.2"}
    send(stack, *({**user, **forged} for user in USERS[:30]))
    not_served = {"content-type": "application/grpc", **forged}
    send(stack, not_served, {**not_served, "x-user-id": "forged"})
    stack.router.apply(split(50.0, None))
    send(stack, *({**user, **forged} for user in USERS[:30]))
    stack.router.apply(Route(model=MODEL, stable=STABLE))
    send(stack, *({**user, **forged} for user in USERS[:30]))
    stack.router.apply(split(50.0, BY_HEADER))
    send(stack, *USERS[:30])
    until(lambda: look.go_on() and sum(requests(look.counts).values()) >= 60, 30, "the log")
    assert sum(requests(look.counts).values()) == 60, "requests of a split alone"
    log = b"".join(path.read_bytes() for path in stack.router._folder.glob("users/*.log"))
    for text in (b"forged", b"user-", b"127.0.0.1:%d" % stack.port, INFER.encode()):
        assert text not in log, "the log has neither users nor clients"


def test_a_full_file_is_renamed_under_load_and_a_restart_begins_another(stack, monkeypatch):
    monkeypatch.setattr(user_log, "FILE_BYTES", 20_000)
    stack.router.apply(split(20.0, BY_HEADER))
    look = Look(stack)
    for _ in range(5):
        stack.ask(USERS)
        stack.router.keep_log_small()
        look.go_on()
    until(lambda: look.go_on() and sum(requests(look.counts).values()) == 5 * len(USERS), 30, "all lines")
    stack.restart()
    stack.ask(USERS)
    until(lambda: look.go_on() and sum(requests(look.counts).values()) == 6 * len(USERS), 30, "all lines")
    assert look.problems == ()


def test_a_log_that_cannot_be_written_costs_no_request_and_is_told(tmp_path):
    """Every write to /dev/full fails as on a full disk."""
    log = tmp_path / "envoy" / "users" / "requests.log"
    log.parent.mkdir(parents=True)
    log.symlink_to("/dev/full")
    with SplitStack(tmp_path) as full:
        full.router.apply(split(50.0, BY_HEADER))
        look = Look(full)
        assert len(full.ask(USERS)) == len(USERS)
        until(lambda: look.go_on().problems, 30, "a problem")
        assert "disk full" in look.problems[0]
        assert look.counts == {}
        assert look.of_router()["stable"][0] > 0


def test_a_place_of_another_log_counts_nothing(stack):
    stack.router.apply(split(50.0, BY_HEADER))
    seen = stack.router.answers_of_users(split(50.0, BY_HEADER).split, {"": LogPosition(file=999, offset=5)})
    assert seen.counts == {}
    assert len(seen.problems) == 1
