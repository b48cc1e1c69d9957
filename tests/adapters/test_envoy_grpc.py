"""gRPC through a real Envoy: who gets in, to which version a call goes, and how its status counts."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from envoy_split_stack import CANARY, MODEL, STABLE, SplitStack, split
from examples import examples
from grpc_side.calls import Caller, message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_stack import until

from perennial import limits
from perennial.adapters.envoy import router as envoy_router
from perennial.adapters.envoy.clusters import Protocol
from perennial.adapters.envoy.grpc import FIELDS
from perennial.core.release.traffic import Assignment, Route
from perennial.serving import headers
from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc import paths

pytestmark = pytest.mark.server

COUNTED = ("requests", "errors", "refused", "excused", "lost")
FAULTS = ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "DATA_LOSS", "CANCELLED")
REFUSALS = (
    "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION", "OUT_OF_RANGE", "ALREADY_EXISTS", "ABORTED",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with SplitStack(tmp_path_factory.mktemp("grpc")) as stack:
        yield stack


@pytest.fixture
def caller(stack):
    with Caller(stack.port) as caller:
        yield caller


def counted(stack) -> dict[str, Counter]:
    counters = stack.router.counters(MODEL).items()
    return {
        pool: Counter({name: getattr(each, name) for name in COUNTED})
        for pool, each in counters
    }  # fmt: skip


def grown(stack, before) -> dict[str, dict[str, int]]:
    """What was counted since; zeros are left out."""
    return {pool: dict(now - before[pool]) for pool, now in counted(stack).items() if now - before[pool]}


def counts(stack, before, **expected) -> None:
    """Wait until this was counted since, and nothing else."""
    until(lambda: grown(stack, before) == expected, 30, f"{expected}, not {grown(stack, before)}")


def pool_of(caller, request=None, **sent) -> str:
    return caller.infer(request or message(MODEL), **sent).model_version


def test_shares_are_those_of_the_route(stack, caller):
    stack.router.apply(split(30.0, None))
    before = counted(stack)
    pools = Counter(pool_of(caller) for _ in range(600))
    assert 100 < pools["canary"] < 260, pools
    counts(stack, before, **{pool: {"requests": count} for pool, count in pools.items()})


def test_a_user_has_the_same_version_by_grpc_and_by_rest(stack, caller):
    stack.router.apply(split(50.0, Assignment(experiment="e1", header="x-user")))
    users = [f"u{number}" for number in range(60)]
    by_rest = ["canary" if arm else "stable" for arm in stack.to_canary([{"x-user": user} for user in users])]
    for _ in range(2):
        assert [pool_of(caller, x_user=user) for user in users] == by_rest
    assert set(by_rest) == {"stable", "canary"}
    assert stack.calls["canary"].seen[-1][headers.UNIT] in users


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_of_the_candidate_counts_against_it_and_costs_no_call(stack, caller, code):
    stack.router.apply(split(100.0, None))
    before = counted(stack)
    assert [pool_of(caller, x_code_canary=code) for _ in range(3)] == ["stable"] * 3
    counts(stack, before, stable={"requests": 3}, canary={"requests": 3, "errors": 3})


@pytest.mark.parametrize("code", FAULTS)
def test_a_call_that_fails_everywhere_is_excused(stack, caller, code):
    stack.router.apply(split(100.0, None))
    before = counted(stack)
    assert caller.code(message(MODEL), x_code=code) == code
    counts(
        stack,
        before,
        canary={"requests": 3, "errors": 3, "excused": 3, "lost": 1},
        stable={"requests": 3, "errors": 3, "excused": 3},
    )


@pytest.mark.parametrize("code", REFUSALS)
def test_an_error_of_the_request_is_no_fault_of_a_version(stack, caller, code):
    stack.router.apply(split(100.0, None))
    before = counted(stack)
    assert caller.code(message(MODEL), x_code=code) == code
    counts(stack, before, canary={"requests": 1, "refused": 1})


def test_a_large_call_is_repeated_and_mirrored_whole(stack, caller):
    large = message(MODEL, raw_input_contents=[b"x" * (limits.BODY_BYTES - 1000)])
    stack.router.apply(split(100.0, None))
    assert pool_of(caller, large, x_code_canary="INTERNAL") == "stable"
    stack.router.apply(Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True))
    before = counted(stack)
    assert pool_of(caller, large) == "stable"
    counts(stack, before, stable={"requests": 1}, canary={"requests": 1})


def test_copies_count_for_the_candidate_and_are_answered_to_nobody(stack, caller):
    stack.router.apply(Route(model=MODEL, stable=STABLE, canary=CANARY, mirror=True))
    for code, more in ((None, {}), ("INTERNAL", {"errors": 3}), ("INVALID_ARGUMENT", {"refused": 3})):
        before = counted(stack)
        sent = {"x_code_canary": code} if code else {}
        assert [pool_of(caller, **sent) for _ in range(3)] == ["stable"] * 3
        counts(stack, before, stable={"requests": 3}, canary={"requests": 3, **more})
    assert stack.calls["canary"].seen[-1][headers.SHADOW] == "true"
    assert stack.calls["canary"].seen[-1][headers.DIGEST] == CANARY.digest


def test_only_the_champion_answers_to_its_name(stack, caller):
    stack.router.apply(split(100.0, None))
    assert pool_of(caller, message(MODEL, model_version=STABLE.version)) == "stable"
    assert caller.code(message(MODEL, model_version=CANARY.version)) == "NOT_FOUND"
    for method in ("ModelReady", "ModelMetadata"):
        named = wire.ModelReadyRequest(name=MODEL).SerializeToString()
        assert wire.ModelInferResponse.FromString(caller.call(named, method)).model_version == "stable"
    for method in (*paths.OF_SERVER, *paths.OF_REPOSITORY):
        assert wire.ModelInferResponse.FromString(caller.call(b"", method)).model_version == "stable"


def garbage() -> dict[str, tuple[bytes, str, dict]]:
    large = b"\x1a\xff\xff\xff\x01" + b"x" * limits.BODY_BYTES
    many = wire.ModelInferRequest(model_name=MODEL, raw_input_contents=[b""] * (FIELDS + 1))
    return {
        "no message": (b"", "INVALID_ARGUMENT", {}),
        "no protobuf": (b"\xff" * 30, "INVALID_ARGUMENT", {}),
        "a field that ends outside": (b"\x0a\x7fabc", "INVALID_ARGUMENT", {}),
        "no model": (message("").SerializeToString(), "INVALID_ARGUMENT", {}),
        "another model": (message("none").SerializeToString(), "NOT_FOUND", {}),
        "a name that is none": (message("a\r\nx-perennial-public: no").SerializeToString(), "NOT_FOUND", {}),
        "a long name": (message("a" * 10_000).SerializeToString(), "INVALID_ARGUMENT", {}),
        "larger than the limit": (large, "RESOURCE_EXHAUSTED", {}),
        "many fields": (many.SerializeToString(), "INVALID_ARGUMENT", {}),
        "compressed": (message(MODEL).SerializeToString() * 9, "UNIMPLEMENTED", {"compressed": True}),
        "a method that is not served": (b"", "UNIMPLEMENTED", {"method": "ModelStreamInfer"}),
        "another method": (b"", "UNIMPLEMENTED", {"method": "ModelInfer/.."}),
    }  # fmt: skip


@pytest.mark.parametrize("kind", garbage())
def test_garbage_gets_a_status_and_no_server_sees_it(stack, caller, kind):
    stack.router.apply(split(50.0, None))
    content, code, more = garbage()[kind]
    seen, before = [len(pool.seen) for pool in stack.calls.values()], counted(stack)
    assert {caller.code(content, **more) for _ in range(3)} == {code}
    assert [len(pool.seen) for pool in stack.calls.values()] == seen
    assert grown(stack, before) == {}


FIELD = st.one_of(
    st.builds(lambda text: bytes([10, len(text)]) + text, st.sampled_from([b"a", b"split", b""])),
    st.builds(lambda text: bytes([18, len(text)]) + text, st.sampled_from([b"1.0.0", b"2", b""])),
    st.builds(lambda data: bytes([58, len(data)]) + data, st.binary(max_size=40)),
    st.sampled_from(
        [b"\x98\x01\x05", b"\x0d\x01\x02\x03\x04", b"\x09\x01\x02\x03\x04\x05\x06\x07\x08", b"\x08\x01"]
    ),
)
"""Fields of a message in any order, also repeated, unknown, and the model's with another wire type."""


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=st.lists(FIELD, max_size=8))
def test_envoy_reads_the_model_that_a_server_reads(stack, caller, fields):
    content = b"".join(fields)
    parsed = wire.ModelInferRequest.FromString(content)
    stack.router.apply(split(0.0, None))
    served = (parsed.model_name, parsed.model_version) in {(MODEL, ""), (MODEL, STABLE.version)}
    code = "OK" if served else "NOT_FOUND" if parsed.model_name else "INVALID_ARGUMENT"
    assert caller.code(content) == code
    if served:
        sent = stack.calls["stable"].seen[-1]
        assert (sent[headers.CALLED_MODEL], sent.get(headers.CALLED_VERSION, "")) == (
            parsed.model_name, parsed.model_version
        )  # fmt: skip


@pytest.mark.parametrize(
    "name", [headers.CALLED_MODEL, headers.CALLED_VERSION, headers.DIGEST, headers.SECRET]
)
def test_what_only_the_router_may_say_is_not_taken_from_a_client(stack, caller, name):
    stack.router.apply(split(0.0, None))
    assert pool_of(caller, **{name.replace("-", "_"): "0.0.1"}) == "stable"
    assert stack.calls["stable"].seen[-1].get(name) != "0.0.1"


def test_the_deadline_of_a_client_is_not_a_servers(stack, caller):
    """A client with a deadline of a nanosecond would otherwise make every version answer DEADLINE_EXCEEDED."""
    pool_of(caller)
    assert not {name for name in stack.calls["stable"].seen[-1] if name.startswith("grpc-")}


def test_without_grpc_the_paths_of_calls_are_none(stack):
    url = f"http://127.0.0.1:{stack.port}{paths.path(paths.INFER)}"
    for sent in ({"content-type": "application/json"}, {}):
        assert httpx.post(url, content=b"{}", headers=sent, trust_env=False).status_code == 404
    for kind in ("application/grpc-web", "application/grpc+json", "application/grpc;charset=utf-8"):
        assert (
            httpx.post(url, content=b"", headers={"content-type": kind}, trust_env=False).status_code == 415
        )
    plain = {"content-type": "application/grpc"}
    assert httpx.get(url, headers=plain, trust_env=False).status_code == 415


def test_a_flood_is_answered_as_grpc(tmp_path):
    with SplitStack(tmp_path, client_rate=1) as stack, Caller(stack.port) as caller:
        with ThreadPoolExecutor(20) as callers:  # at once: on a slow machine one by one stays below the rate
            codes = Counter(callers.map(lambda _: caller.code(message(MODEL)), range(200)))
        assert codes["RESOURCE_EXHAUSTED"] > 0
        assert set(codes) <= {"OK", "RESOURCE_EXHAUSTED"}


def test_the_live_configuration_is_the_wanted_one(stack):
    stack.router.apply(split(50.0, Assignment(experiment="e1", header="x-user", cookie="c")))
    assert stack.router.differences() == ()


def test_an_envoy_of_the_version_without_grpc_takes_a_route(stack, caller, monkeypatch):
    """A rollback between an upgrade and the restart of the plant."""
    all_clusters, all_routes = envoy_router.clusters, envoy_router.route_configuration

    def routes_without(routes):
        configuration = all_routes(routes)
        (host,) = configuration["virtual_hosts"]
        host["routes"] = [entry for entry in host["routes"] if "grpc" not in entry["match"]]
        return configuration

    def clusters_without(*given):
        return [each for each in all_clusters(*given) if not each["name"].endswith(Protocol.GRPC)]

    with monkeypatch.context() as before:
        before.setattr(envoy_router, "route_configuration", routes_without)
        before.setattr(envoy_router, "clusters", clusters_without)
        stack.router.init_files()
        until(lambda: stack.router.differences() == (), 60, "Envoy has what it had before")
    stack.router.apply(split(100.0, None))
    until(lambda: stack.router.healthy(MODEL) == {"stable": 1, "canary": 1}, 60, "both pools")
    assert pool_of(caller) == "canary"
    assert stack.router.differences() == ()
