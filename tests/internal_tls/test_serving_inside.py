"""Real Envoy and model server with TLS between them: who is answered, whom Envoy asks, and renewal in traffic."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta

import grpc
import httpx
import pytest
from grpc_side.calls import Caller, message
from inside.certificates import BAD
from inside.stack import InsideStack, Traffic
from serving_stack import inside as secret_of
from serving_stack import until
from tiny_models import tensor_body

from perennial.core.certificates.roles import ProcessRole
from perennial.wiring import traffic

pytestmark = pytest.mark.traffic
MODEL = "guarded"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    running = InsideStack(tmp_path_factory.mktemp("inside"))
    try:
        running.start()
        running.serve(MODEL)
        yield running
    finally:
        running.stop()


def infer(stack: InsideStack, model: str = MODEL) -> httpx.Response:
    url = f"http://127.0.0.1:{stack.settings.port_envoy}/v2/models/{model}/infer"
    return httpx.post(url, json=tensor_body(), trust_env=False, timeout=60)


def test_requests_pass_and_our_own_probes_too(stack):
    assert infer(stack).status_code == 200
    with Caller(stack.settings.port_envoy) as caller:
        assert caller.code(message(MODEL)) == "OK"
    assert traffic.probe(stack.settings).infer("stable", MODEL, stack.refs[MODEL].digest, tensor_body()) == ""
    assert stack.router.differences() == ()


@pytest.mark.parametrize("kind", BAD)
def test_a_model_server_refuses_whoever_may_not_call_even_with_the_secret(stack, tmp_path, kind):
    shown = stack.inside.bad(kind, wrong=ProcessRole.MONITOR)
    try:
        answer = httpx.get(
            f"https://127.0.0.1:{stack.port}/v1/pool", headers=secret_of(stack.settings),
            verify=stack.inside.context(shown, tmp_path),
        )  # fmt: skip
        assert answer.status_code == 403
    except httpx.HTTPError:
        pass
    pair = (None, None) if shown is None else (shown.key, shown.certificate)
    credentials = grpc.ssl_channel_credentials(stack.inside.trusted(), *pair)
    with Caller(stack.grpc_port, credentials=credentials) as caller:
        assert caller.code(message(MODEL)) in ("UNAVAILABLE", "PERMISSION_DENIED")


def test_envoy_asks_nobody_who_has_not_the_name_of_a_model_server(stack):
    """A program on the address of the canary server has a certificate of the plant, of another role."""
    files = stack.inside.folder / "mlflow"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files / "tls.crt", files / "tls.key")
    heard: list[bytes] = []
    door = socket.create_server(("127.0.0.1", stack.settings.ports("canary")[0]))

    def impersonate() -> None:
        while True:
            try:
                plain, _ = door.accept()
            except OSError:
                return
            try:
                plain.settimeout(10)
                with context.wrap_socket(plain, server_side=True) as connection:
                    heard.append(connection.recv(1000))
            except OSError:
                pass

    thread = threading.Thread(target=impersonate, daemon=True)
    thread.start()
    refused = rf"^cluster\.{MODEL}.*\.ssl\.fail_verify_san$"
    until(lambda: sum(stack.statistics(refused).values()) >= 2, 60, "Envoy has met it")
    door.close()
    assert not any(heard)
    assert infer(stack).status_code == 200


def on_new_connections(stack: InsideStack, model: str) -> bool:
    """Whether a model that is new to Envoy, and so has no connection yet, is answered both ways."""
    stack.serve(model)
    with Caller(stack.settings.port_envoy) as caller:
        grpc_code = caller.code(message(model))
    handshakes = stack.statistics(rf"^cluster\.{model}-stable(_grpc)?\.ssl\.handshake$")
    return infer(stack, model).status_code == 200 and grpc_code == "OK" and all(handshakes.values())


def envoy_has_read(stack: InsideStack, serial: int) -> None:
    until(lambda: f"{serial:x}" in stack.envoys_certificates(), 60, "Envoy has read it")


def test_renewal_in_traffic_fails_no_request_and_restarts_nothing(stack):
    inside, pids = stack.inside, stack.pids()
    before = inside.serial("pool"), inside.serial("envoy")
    assert inside.served(stack.port) == inside.served(stack.grpc_port) == before[0]
    with Traffic(stack, MODEL) as load:
        until(load.goes_on(), 60, "traffic before")
        inside.renew()
        envoy_has_read(stack, inside.serial("envoy"))
        assert inside.served(stack.port) == inside.served(stack.grpc_port) == inside.serial("pool")
        assert on_new_connections(stack, "renewed")
        until(load.goes_on(), 60, "traffic after")
    assert not load.failed
    assert not {inside.serial("pool"), inside.serial("envoy")} & set(before)
    assert stack.pids() == pids


def test_a_change_of_the_authority_in_traffic_fails_no_request(stack):
    """In three steps: the new one is trusted, signs, and is the only one."""
    inside, pids = stack.inside, stack.pids()
    (before,) = inside.folder.glob("authority/*/ca.crt")
    shown_before, serial = inside.pair(ProcessRole.AGENT), inside.serial("pool")
    signs_from = datetime.now(UTC) + timedelta(seconds=3)
    with Traffic(stack, MODEL) as load:
        inside.renew(next_signs_from=signs_from)
        assert (len(inside.authorities()), inside.serial("pool")) == (2, serial)
        assert on_new_connections(stack, "announced")
        until(lambda: datetime.now(UTC) > signs_from and inside.renew() == [], 60, "the new one has signed")
        assert inside.served(stack.port) == inside.served(stack.grpc_port) == inside.serial("pool") != serial
        envoy_has_read(stack, inside.serial("envoy"))
        assert on_new_connections(stack, "changed")
        shutil.rmtree(before.parent)
        inside.renew()
        (left,) = inside.authorities()
        envoy_has_read(stack, left)
        assert on_new_connections(stack, "dropped")
        until(load.goes_on(), 60, "traffic after")
    assert not load.failed
    assert stack.pids() == pids
    credentials = grpc.ssl_channel_credentials(inside.trusted(), shown_before.key, shown_before.certificate)
    with Caller(stack.grpc_port, credentials=credentials) as caller:
        assert caller.code(message(MODEL)) == "UNAVAILABLE"
