"""No content of a request makes a server fail: it is the request's fault, and counts for nobody."""

from __future__ import annotations

import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_server import CONTEXT, Server
from tiny_models import tiny_version

from perennial.errors import FeaturesUnavailable, MalformedInput, VersionFailed
from perennial.serving import headers
from perennial.serving.evidence import faults

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([1e18, 1e308, -1e308, 1e39, 2.0**63, -1, 0, 1e-320, 253402300800, 1e15]),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.text(max_size=8),
    st.sampled_from(["\x00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "FP32", "t1"]),
)
JSON = st.recursive(
    LEAVES,
    lambda child: st.one_of(
        st.lists(child, max_size=4), st.dictionaries(st.text(max_size=6), child, max_size=4)
    ),
    max_leaves=8,
)
PREDICT = {
    "entities": [{"test_id": "t1", "suite": "s"}], "context": CONTEXT, "allow_unknown": True, "explain": False,
}  # fmt: skip
INFER = {"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 4], "data": [0.5] * 8}]}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a champion and a candidate, as the canary pool has them."""
    folder = tmp_path_factory.mktemp("fuzz")
    server = Server(folder / "state")
    champion = tiny_version(folder, "tiny", "1.0.0", bias=0.0, service="tiny_service")
    candidate = tiny_version(folder, "tiny", "1.1.0", bias=1.0, service="tiny_service")
    server.hold(champion, candidate)
    server.sent = {headers.DIGEST: candidate[0].digest}
    return server


@pytest.mark.parametrize("key", ["test_id", "suite"])
@pytest.mark.parametrize("value", [True, False, None, 1.5, "", [], {}])
def test_the_key_of_an_entity_is_a_text_or_an_integer(server, key, value):
    """A JSON boolean was taken for an integer, as which Python has it."""
    entity = {**PREDICT["entities"][0], key: value}
    answer = server.client.post(
        "/v1/models/tiny/predict", json={**PREDICT, "entities": [entity]}, headers=server.sent
    )
    assert (answer.status_code, "entity 0" in answer.json()["error"]) == (400, True)


def paths(body, path=()):
    yield path
    children = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


@st.composite
def changed(draw, body):
    """The body with one to three of its parts replaced, removed or added."""
    body = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(paths(body))))
        if not path:
            if draw(st.booleans()):
                return draw(JSON)
            continue
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        if isinstance(holder, dict) and draw(st.integers(0, 5)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(JSON)
    return body


FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


def ask(server, **changes):
    body = {**PREDICT, **changes}
    return server.client.post("/v1/models/tiny/predict", json=body, headers=server.sent)


def test_the_bodies_that_are_changed_are_right(server):
    assert ask(server).status_code == 200
    assert server.client.post("/v2/models/tiny/infer", json=INFER, headers=server.sent).status_code == 200


def is_json(body) -> bool:
    """Whether the client library can write it at all."""
    try:
        json.dumps(body).encode()
    except (UnicodeEncodeError, ValueError):
        return False
    return True


@FUZZ
@given(body=changed(PREDICT))
def test_no_body_of_predict_makes_the_server_fail(server, body):
    if is_json(body):
        answer = server.client.post("/v1/models/tiny/predict", json=body, headers=server.sent)
        assert answer.status_code < 500, (body, answer.text)


@FUZZ
@given(body=changed(INFER))
def test_no_body_of_infer_makes_the_server_fail(server, body):
    if is_json(body):
        answer = server.client.post("/v2/models/tiny/infer", json=body, headers=server.sent)
        assert answer.status_code < 500, (body, answer.text)


@pytest.mark.parametrize(
    "moment", [1e18, 1e308, -1e308, -1, 4.2e9, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"]
)
def test_a_time_out_of_range_is_named(server, moment):
    answer = ask(server, context={**CONTEXT, "requested_at": moment})
    assert answer.status_code == 400
    assert "context.requested_at" in answer.json()["error"]


@pytest.mark.parametrize("size", [1e308, 10**18, -(10**30)])
def test_a_number_out_of_range_is_named(server, size):
    answer = ask(server, context={**CONTEXT, "cycle_size": size})
    assert (answer.status_code, "context.cycle_size" in answer.json()["error"]) == (400, True)


def test_a_store_that_answers_its_own_row_but_not_the_request_blames_the_request(server, monkeypatch):
    known = server.values.columns

    def columns(service, given):
        if given["test_id"][0] == "t1":
            raise ValueError("year 33658 is out of range")
        return known(service, given)

    monkeypatch.setattr(server.values, "columns", columns)
    answer = ask(server)
    assert (answer.status_code, "context" in answer.json()["error"]) == (400, True)


def test_a_store_that_answers_nothing_is_not_the_requests_fault(server, monkeypatch):
    def columns(service, given):
        raise RuntimeError("no such table")

    monkeypatch.setattr(server.values, "columns", columns)
    answer = ask(server)
    assert answer.status_code == 503


def version(name: str, answers) -> SimpleNamespace:
    """A loaded version that answers with `answers(features)`."""
    wanted = SimpleNamespace(model="m", version=name, digest=name)
    return SimpleNamespace(wanted=wanted, manifest=SimpleNamespace(features=("a",)), score=answers)


ROWS = np.array([[1.0]], dtype=np.float32)


def nan(features):
    return np.full(len(features), np.nan, dtype=np.float32)


def good(features):
    return np.full(len(features), 0.5, dtype=np.float32)


def breaks(features):
    raise RuntimeError("onnxruntime")


@pytest.mark.parametrize("bad", [nan, breaks])
def test_a_version_that_fails_where_another_answers_is_at_fault(bad):
    with pytest.raises(VersionFailed):
        faults.score(version("2", bad), ROWS, [version("2", bad), version("1", good)])


@pytest.mark.parametrize("bad", [nan, breaks])
def test_where_both_fail_alike_the_request_is_at_fault(bad):
    with pytest.raises(MalformedInput, match="so with 1"):
        faults.score(version("2", bad), ROWS, [version("1", breaks)])


def test_alone_a_version_is_at_fault_unless_the_values_are_absurd():
    with pytest.raises(VersionFailed):
        faults.score(version("2", nan), ROWS, [])
    with pytest.raises(MalformedInput, match="larger than"):
        faults.score(version("2", nan), ROWS * 1e30, [])


def test_errors_of_the_store_keep_their_kind(server):
    server.values.down = True
    try:
        assert ask(server).status_code == FeaturesUnavailable.http_status
    finally:
        server.values.down = False
