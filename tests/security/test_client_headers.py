"""Headers by which a client could change how Envoy counts, repeats or answers: real Envoy."""

from __future__ import annotations

import http.client
import json

import pytest
from envoy_split_stack import CANARY, INFER, MODEL, STABLE, SplitStack, split
from serving_stack import until

from perennial.adapters.envoy import listener
from perennial.core.release.traffic import Route

pytestmark = pytest.mark.server

GRPC = [
    {"content-type": kind, "te": "trailers"}
    for kind in (
        "application/grpc", "application/grpc+proto", "application/grpc+json", "application/grpc-web",
        "application/grpc-web-text+proto", "application/grpc;charset=utf-8", "Application/GRPC",
    )
]  # fmt: skip
HARMLESS = [
    {"te": "trailers"}, {"grpc-timeout": "1n"}, {"grpc-encoding": "gzip"}, {"grpc-accept-encoding": "gzip"},
    {"grpc-status": "14"}, {"grpc-message": "no"}, {"x-grpc-web": "1"},
    {"x-envoy-max-retries": "50"}, {"x-envoy-retry-on": "5xx,retriable-status-codes"},
    {"x-envoy-retriable-status-codes": "200"}, {"x-envoy-retry-grpc-on": "internal,unavailable"},
    {"x-envoy-retriable-header-names": "arm"}, {"x-envoy-upstream-rq-timeout-ms": "1"},
    {"x-envoy-upstream-rq-per-try-timeout-ms": "1"}, {"x-envoy-expected-rq-timeout-ms": "1"},
    {"x-envoy-upstream-stream-duration-ms": "1"}, {"x-envoy-hedge-on-per-try-timeout": "true"},
    {"x-envoy-upstream-rq-timeout-alt-response": "1"}, {"x-envoy-upstream-alt-stat-name": "other"},
    {"x-envoy-attempt-count": "9"}, {"x-envoy-original-path": "/stats"}, {"x-envoy-original-host": "y"},
    {"x-envoy-internal": "true"}, {"x-envoy-force-trace": "1"}, {"x-envoy-decorator-operation": "y"},
    {"x-envoy-ip-tags": "y"}, {"x-envoy-is-timeout-retry": "true"}, {"x-envoy-degraded": "true"},
    {"x-envoy-overloaded": "true"}, {"x-envoy-immediate-health-check-fail": "true"},
    {"expect": "100-continue"}, {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}, {"tracestate": "a=1"},
    {"b3": "1"}, {"x-b3-sampled": "1"}, {"x-client-trace-id": "a"}, {"baggage": "a=1"}, {"early-data": "1"},
    {"x-forwarded-proto": "https"}, {"x-forwarded-for": "10.0.0.1"}, {"forwarded": "for=10.0.0.1"},
    {"x-http-method-override": "GET"}, {"content-encoding": "gzip"}, {"accept-encoding": "gzip"},
    {"accept": "application/grpc"}, {"range": "bytes=0-1"}, {"if-none-match": "*"}, {"connection": "close"},
    {"connection": "te, x-perennial-secret"}, {"connection": "content-type", "content-type": "application/grpc"},
    {"upgrade": "h2c"}, {"expect": "other"}, {"trailer": "grpc-status"}, {"cache-control": "no-store"},
]  # fmt: skip


def named(sent: dict[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in sent.items())[:60]


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("client-headers")) as stack:
        yield stack


def status(stack, sent: dict[str, str], path: str = INFER) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    try:
        connection.request("POST", path, json.dumps({}), sent)
        answer = connection.getresponse()
        answer.read()  # Envoy counts a request at the end of its answer, and none that a client leaves before
        return answer.status
    finally:
        connection.close()


def counted(stack) -> dict[str, tuple[int, int, int]]:
    """Requests, errors and lost requests by pool."""
    counters = stack.router.counters(MODEL).items()
    return {pool: (counter.requests, counter.errors, counter.lost) for pool, counter in counters}


def until_counted(stack, expected) -> None:
    until(lambda: counted(stack) == expected, 30, f"{expected}")


def grown(stack, before) -> dict[str, tuple[int, ...]]:
    return {
        pool: tuple(now - then for now, then in zip(counts, before[pool], strict=True))
        for pool, counts in counted(stack).items()
    }


@pytest.mark.parametrize("sent", HARMLESS, ids=named)
def test_an_answered_request_counts_once_with_any_header(stack, sent):
    stack.router.apply(Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True))
    before = counted(stack)
    assert [status(stack, sent) for _ in range(3)] == [200] * 3
    until(lambda: grown(stack, before)["canary"] == (3, 0, 0), 30, "the copies")
    assert grown(stack, before) == {"stable": (3, 0, 0), "canary": (3, 0, 0), "backup": (0, 0, 0)}


@pytest.mark.parametrize(
    "route", [Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True), split(100, None)]
)
@pytest.mark.parametrize("sent", GRPC, ids=named)
def test_grpc_is_refused_before_a_server_and_its_copy_see_it(stack, sent, route):
    """Sixty good requests with this content type ended a healthy release: each was an error of the candidate."""
    stack.router.apply(route)
    before = counted(stack)
    assert [status(stack, sent) for _ in range(3)] == [415] * 3
    assert status(stack, {}) == 200
    until(
        lambda: grown(stack, before)["canary"] == (1, 0, 0), 30, "the answer and the copy of the last request"
    )
    assert sum(requests for requests, _, _ in grown(stack, before).values()) == (2 if route.mirror else 1)
    assert not any(errors or lost for _, errors, lost in grown(stack, before).values())


REPLIES = {
    "no such path": ("/nothing", {}, 404),
    "escaped slash": ("/v2%2Fmodels", {}, 400),
    "the server's 400": (INFER, {"x-status": "400"}, 400),
    "the server's 503": (INFER, {"x-status": "503"}, 503),
}


@pytest.mark.parametrize("reply", REPLIES)
def test_no_header_changes_the_status_of_a_refusal(stack, reply):
    path, cause, expected = REPLIES[reply]
    answers = {named(sent): status(stack, {**sent, **cause}, path) for sent in HARMLESS}
    assert answers == dict.fromkeys(answers, expected)
    answers = {named(sent): status(stack, {**sent, **cause}, path) for sent in GRPC}
    assert set(answers.values()) <= {415, expected}, answers


def test_no_header_changes_the_status_of_a_flood(tmp_path):
    with SplitStack(tmp_path, client_rate=1) as stack:
        until(lambda: 429 in [status(stack, {}) for _ in range(20)], 30, "the limit of the rate")
        answers = {named(sent): status(stack, sent) for sent in (*HARMLESS, *GRPC)}
        assert set(answers.values()) <= {415, 429, 200}, answers
        # How many pass depends on the time that a request takes; the limit itself has tests of its own.
        assert 429 in answers.values()
        assert not any(answers[named(sent)] == 200 for sent in GRPC)


def test_errors_that_no_client_sees_are_not_counted(tmp_path, monkeypatch):
    """Should gRPC come to a server all the same: Envoy has an error of the server, and 200 for the client."""
    filters = listener.http_filters
    monkeypatch.setattr(
        listener,
        "http_filters",
        lambda *given: [each for each in filters(*given) if not each["name"].startswith("perennial.grpc")],
    )
    with SplitStack(tmp_path) as stack:
        stack.router.apply(split(100.0, None))
        assert [status(stack, GRPC[0]) for _ in range(20)] == [200] * 20
        until_counted(stack, {"stable": (0, 0, 0), "canary": (20, 0, 0), "backup": (0, 0, 0)})
        assert [status(stack, {"x-status-canary": "500"}) for _ in range(3)] == [200] * 3
        until_counted(stack, {"stable": (3, 0, 0), "canary": (23, 3, 0), "backup": (0, 0, 0)})
