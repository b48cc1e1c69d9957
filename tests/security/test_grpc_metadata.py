"""Headers and trailers that a gRPC server answers with an error of its own: no client ends a release with them."""

from __future__ import annotations

import http.client

import pytest
from envoy_split_stack import CANARY, MODEL, STABLE, SplitStack, split
from grpc_side.calls import Caller, message
from grpc_side.http2 import ask
from serving_stack import until

from perennial.core.release.traffic import Route
from perennial.serving.protocol.grpc import paths

pytestmark = pytest.mark.server

UNFIT = {
    "no base64": [(b"x-mine-bin", b"!!!")],
    "a name of HTTP only": [(b"x!#$%&'*+^`|~", b"a")],
    "bytes": [(b"x-mine", bytes(range(0x80, 0xC0))), (b"user-agent", b"\xff"), (b"cookie", b"a=\xff")],
    "gRPC's own": [
        (name, b"!")
        for name in (
            b"grpc-tags-bin", b"grpc-trace-bin", b"grpc-timeout", b"grpc-encoding", b"grpc-status", b"lb-token",
            b"lb-cost-bin", b"endpoint-load-metrics-bin", b"x-envoy-peer-metadata",
        )
    ],
}  # fmt: skip
MIRRORED = Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("metadata")) as stack:
        yield stack


def counted(stack) -> dict[str, tuple[int, int]]:
    """Requests and errors by pool."""
    counters = stack.router.counters(MODEL).items()
    return {pool: (counter.requests, counter.errors) for pool, counter in counters}


def grows(stack, before, requests: dict[str, int]) -> None:
    """Wait until so many requests were counted since, without any error."""

    def grown() -> dict[str, tuple[int, ...]]:
        now = counted(stack)
        return {pool: tuple(a - b for a, b in zip(now[pool], before[pool], strict=True)) for pool in now}

    expected = {pool: (requests.get(pool, 0), 0) for pool in before}
    until(lambda: grown() == expected, 30, f"{expected}")
    assert grown() == expected


@pytest.mark.parametrize("route", [MIRRORED, split(100.0, None)], ids=["mirror", "canary"])
@pytest.mark.parametrize("kind", UNFIT)
def test_no_header_of_a_call_is_an_error_of_a_version(stack, route, kind):
    stack.router.apply(route)
    before = counted(stack)
    ask(stack.port, message(MODEL).SerializeToString(), UNFIT[kind])
    grows(stack, before, {"stable": 1, "canary": 1} if route.mirror else {"canary": 1})


def test_nor_is_one_of_a_call_by_http_1(stack):
    stack.router.apply(MIRRORED)
    before = counted(stack)
    content = message(MODEL).SerializeToString()
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=60)
    sent = {"content-type": "application/grpc", "X-Mine-Bin": "!!!"}
    connection.request(
        "POST", paths.path(paths.INFER), b"\0" + len(content).to_bytes(4, "big") + content, sent
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 200
    grows(stack, before, {"stable": 1, "canary": 1})


@pytest.mark.parametrize("trailers", [[(b"x-mine-bin", b"!!!")], [(b"x-mine", b"a")]])
def test_a_call_with_trailers_reaches_no_server(stack, trailers):
    stack.router.apply(MIRRORED)
    before = counted(stack)
    ask(stack.port, message(MODEL).SerializeToString(), trailers=trailers)
    with Caller(stack.port) as caller:
        assert caller.infer(message(MODEL)).model_version == "stable"
    grows(stack, before, {"stable": 1, "canary": 1})
