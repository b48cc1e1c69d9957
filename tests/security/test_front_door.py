"""Attacks on the public listener and on the addresses behind it: real Envoy, real model servers."""

from __future__ import annotations

import contextlib
import socket
from contextlib import ExitStack

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from envoy_split_stack import SplitStack
from serving_stack import envoy_admin, inside, target, until
from tiny_models import tensor_body, tiny_version

from perennial import limits
from perennial.core.release.traffic import Route
from perennial.serving import headers
from perennial.wiring import releasing

pytestmark = pytest.mark.traffic
MODEL = "guarded"
INFER = f"/v2/models/{MODEL}/infer"


@pytest.fixture(scope="module")
def refs(serving_stack, tmp_path_factory):
    """Champion 1.0.0 in the stable pool; candidate 1.1.0 in both pools, as while it is promoted."""
    folder = tmp_path_factory.mktemp("guarded")
    champion, candidate = (
        tiny_version(folder, MODEL, name, bias) for name, bias in (("1.0.0", 0.0), ("1.1.0", 1.0))
    )
    for pool, version in (("stable", champion), ("stable", candidate), ("canary", candidate)):
        serving_stack.load(pool, *version)
    return champion[0], candidate[0]


@pytest.fixture(autouse=True)
def routed(serving_stack, refs):
    champion, candidate = refs
    serving_stack.router.apply(
        Route(model=MODEL, stable=target(champion, "r1"), canary=target(candidate, "r2"), canary_weight=0.0)
    )
    until(lambda: serving_stack.router.healthy(MODEL)["stable"] == 2, 30, "healthy")


@pytest.fixture
def client(serving_stack):
    with httpx.Client(base_url=serving_stack.settings.envoy_url, trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/metrics"), ("GET", "/v1/pool"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/docs.json"),
        ("GET", "/"), ("POST", "/v2"), ("GET", INFER), ("DELETE", INFER), ("POST", f"/v2/models/{MODEL}"),
        ("POST", f"/v1/models/{MODEL}/anything"), ("POST", f"{INFER}/more"), ("GET", "/stats"),
        ("POST", f"/v2/models/{MODEL}/versions/1.1.0/infer"), ("GET", f"/v2/models/{MODEL}/versions/1.1.0"),
        ("GET", f"/v2/models/{MODEL}/versions/1.1.0/ready"),
        ("POST", f"/v2/models/{MODEL}/versions/1.0.0/../1.1.0/infer"),
        ("POST", f"/v2/models/{MODEL}/version%73/1.1.0/infer"),
    ],
)  # fmt: skip
def test_only_the_public_api_is_routed(client, method, path):
    assert client.request(method, path, json=tensor_body()).status_code == 404


@pytest.mark.parametrize("slash", ["%2F", "%2f", "%5C", "%5c"])
def test_an_escaped_slash_is_refused(client, slash):
    """A candidate was answered by its name through `versions%2F`."""
    for path in (f"versions{slash}1.1.0/infer", f"versions/1.0.0{slash}..{slash}1.1.0/infer"):
        assert client.post(f"/v2/models/{MODEL}/{path}", json=tensor_body()).status_code == 400


def test_the_public_api_is_answered(client):
    assert client.post(INFER, json=tensor_body()).json()["model_version"] == "1.0.0"
    assert client.post(f"/v2/models/{MODEL}/versions/1.0.0/infer", json=tensor_body()).status_code == 200
    for path in ("/v2", "/v2/", "/v2/health/live", f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/ready"):
        assert client.get(path).status_code == 200, path


@pytest.mark.parametrize("binary", [False, True])
def test_tritonclient_is_answered_through_the_router(serving_stack, binary):
    address = serving_stack.settings.envoy_url.removeprefix("http://")
    rows = np.full((2, 4), 0.25, dtype=np.float32)
    tensor = triton.InferInput("features", [2, 4], "FP32").set_data_from_numpy(rows, binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("decision", "score")]
    with triton.InferenceServerClient(address, connection_timeout=60, network_timeout=60) as client:
        assert client.is_model_ready(MODEL)
        assert client.get_model_metadata(MODEL)["versions"][0] == "1.0.0"
        result = client.infer(MODEL, [tensor], outputs=wanted)
    assert result.as_numpy("decision").tolist() == [1, 1]
    assert result.as_numpy("score").shape == (2,)


def test_the_model_repository_is_closed_without_a_key(client):
    for path in ("index", f"models/{MODEL}/load", f"models/{MODEL}/unload"):
        assert client.post(f"/v2/repository/{path}").status_code == 401
    assert client.post("/v2/repository/models/nobody/load").status_code == 404


@pytest.mark.parametrize("more", [{"mirror": True}, {"canary_weight": 100.0}])
def test_questions_about_a_model_are_about_its_champion(serving_stack, client, refs, more):
    champion, candidate = refs
    serving_stack.router.apply(
        Route(model=MODEL, stable=target(champion, "r1"), canary=target(candidate, "r2"), **more)
    )
    before = serving_stack.router.counters(MODEL)
    for _ in range(10):
        assert client.get(f"/v2/models/{MODEL}").json()["parameters"]["digest"] == champion.digest
        assert client.get(f"/v2/models/{MODEL}/ready").status_code == 200
    after = serving_stack.router.counters(MODEL)
    assert {pool: now.requests - before[pool].requests for pool, now in after.items()} == dict.fromkeys(
        after, 0
    )


STEERING = (
    headers.DIGEST, headers.RELEASE, headers.FALLBACK, headers.FALLBACK_RELEASE, headers.BACKUP,
    headers.BACKUP_RELEASE, headers.SHADOW, headers.EXPERIMENT, headers.ARM, headers.UNIT, headers.UNIT_COOKIE,
    headers.SYNTHETIC, headers.SECRET, headers.PUBLIC, "x-perennial-anything",
)  # fmt: skip


@pytest.mark.parametrize("path", [INFER, f"/v2/models/{MODEL}/versions/1.0.0/infer"])
def test_no_header_of_a_client_steers(serving_stack, client, refs, path):
    names = dict.fromkeys(STEERING, refs[1].digest) | {headers.SHADOW: "true", headers.SYNTHETIC: "true"}
    timing = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-max-retries": "50",
        "x-envoy-upstream-alt-stat-name": "e",
    }
    answer = client.post(
        path, json=tensor_body(), headers={**names, **timing, "x-request-id": f"steer{path[-20:]}"}
    )
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1.0.0")
    row = releasing.prediction_log(serving_stack.settings).read(MODEL).iloc[-1]
    assert row["request_id"] == answer.headers["x-request-id"] != f"steer{path[-20:]}"
    assert not row["shadow"]
    assert row["release_id"] in ("r1", None)
    with envoy_admin(serving_stack.settings.envoy_admin) as admin:
        assert admin.get("/stats", params={"filter": r"\.e\."}).text.strip() == ""


@pytest.mark.parametrize("path", [INFER, "/v1/feedback", "/v1/pool", "/metrics", "/readyz", "/v2"])
def test_a_model_server_answers_only_with_the_secret(serving_stack, path):
    """Direct calls forged release ids, asked for unlogged answers and added series to /metrics."""
    port = serving_stack.settings.ports("stable")[0]
    url = f"http://127.0.0.1:{port}{path}"
    forged = {headers.RELEASE: "forged", headers.SYNTHETIC: "true", headers.ARM: "x", headers.EXPERIMENT: "x"}
    for sent in (
        {},
        forged,
        {headers.SECRET: ""},
        {headers.SECRET: "guess"},
        {"authorization": "Bearer guess"},
    ):
        assert httpx.post(url, json=tensor_body(), headers=sent, trust_env=False).status_code == 403
        assert httpx.get(url, headers=sent, trust_env=False).status_code == 403
    page = httpx.get(
        f"http://127.0.0.1:{port}/metrics", headers=inside(serving_stack.settings), trust_env=False
    )
    assert "forged" not in page.text


def test_the_admin_interface_and_the_secret_are_private(serving_stack):
    settings = serving_stack.settings
    assert settings.envoy_admin.stat().st_mode & 0o077 == 0
    assert settings.envoy_admin.parent.stat().st_mode & 0o077 == 0
    secret = settings.internal_secret.encode()
    holders = [
        p
        for p in settings.state.rglob("*")
        if p.is_file() and not p.is_symlink() and secret in p.read_bytes()
    ]
    assert holders
    assert not [path for path in holders if path.stat().st_mode & 0o077]


@pytest.mark.parametrize("path", [INFER, "/v1/feedback", f"/v1/models/{MODEL}/predict"])
def test_a_body_beyond_the_limit_is_413_at_envoy(serving_stack, client, path):
    before = serving_stack.router.counters(MODEL)["stable"].requests
    answer = client.post(path, content=b" " * (limits.BODY_BYTES + 1))
    assert answer.status_code == 413

    def endless():
        for _ in range(300):
            yield b" " * (1024 * 1024)

    with contextlib.suppress(httpx.WriteError):  # the connection may end before all is sent
        assert client.post(path, content=endless()).status_code == 413
    assert serving_stack.router.counters(MODEL)["stable"].requests == before


def test_half_sent_requests_do_not_reach_a_model_server_and_end(serving_stack, client):
    """1,100 half-sent posts starved four of five clients."""
    port = serving_stack.settings.port_envoy
    before = serving_stack.router.counters(MODEL)["stable"].requests
    half = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{{".encode()
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
    try:
        for number, connection in enumerate(held):
            connection.sendall(half if number % 2 else half[:30])
        for _ in range(50):
            assert client.post(INFER, json=tensor_body()).status_code == 200
        assert serving_stack.router.counters(MODEL)["stable"].requests - before == 50
        held[0].settimeout(limits.HEADERS_SECONDS + 3)
        held[1].settimeout(limits.REQUEST_SECONDS + 3)
        for connection in held[:2]:
            assert b" 408 " in connection.recv(200)
    finally:
        for connection in held:
            connection.close()


def test_a_large_body_is_still_tried_on_another_server(serving_stack, client, refs, tmp_path):
    """The buffer of a connection is small; a body beyond it is repeated on the champion all the same."""
    broken = tiny_version(tmp_path, MODEL, "1.2.0", float("nan"))
    serving_stack.load("canary", *broken)
    serving_stack.router.apply(
        Route(model=MODEL, stable=target(refs[0], "r1"), canary=target(broken[0], "r3"), canary_weight=100.0)
    )
    body = tensor_body(limits.ROWS, value=0.123456789)
    for _ in range(5):
        answer = client.post(INFER, json=body)
        assert (answer.status_code, answer.json()["model_version"]) == (200, "1.0.0")


def test_a_flooding_address_is_429_and_the_others_are_answered(tmp_path):
    with SplitStack(tmp_path, client_rate=20) as stack:
        url = f"http://127.0.0.1:{stack.port}/v2/models/split/infer"
        answers = {}
        for address in ("127.0.0.1", "127.0.0.2"):
            with httpx.Client(transport=httpx.HTTPTransport(local_address=address)) as client:
                requests = 200 if address == "127.0.0.1" else 10
                answers[address] = [client.post(url, json={}).status_code for _ in range(requests)]
        assert answers["127.0.0.1"].count(429) > 100
        assert answers["127.0.0.1"].count(200) >= 40
        assert set(answers["127.0.0.2"]) == {200}


def test_unused_connections_of_one_client_do_not_keep_others_out(tmp_path, monkeypatch):
    """Whoever opened every connection, and sent a request now and then, had the door for itself."""
    monkeypatch.setattr(limits, "CONNECTIONS", 40)
    with SplitStack(tmp_path) as stack, ExitStack() as held:
        for _ in range(40):
            with contextlib.suppress(OSError):
                connection = held.enter_context(socket.create_connection(("127.0.0.1", stack.port)))
                connection.sendall(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n")
                connection.recv(1000)

        def served() -> int:
            with contextlib.suppress(httpx.HTTPError):
                fresh = [httpx.get(f"http://127.0.0.1:{stack.port}/v2", trust_env=False) for _ in range(3)]
                return all(answer.status_code == 200 for answer in fresh)
            return False

        until(served, 30, "other clients are served")
        assert stack.router.differences() == ()
