"""Doors that this process can open: metrics page, pages of MLflow and Airflow, gRPC. Whom they let in, and renewal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import httpx
import pytest
import uvicorn
from grpc_health.v1 import health_pb2
from grpc_side.calls import serving
from inside.certificates import BAD, InsideCertificates
from mlflow.exceptions import MlflowException
from serving_stack import free_ports, until

from perennial.adapters.loopback_http import LoopbackHttp
from perennial.adapters.mlflow import server_role
from perennial.adapters.prometheus.metrics_server import secured
from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
from perennial.core.certificates.roles import ProcessRole, callers, identity
from perennial.errors import SettingsError
from perennial.internal_tls.contexts import server_context
from perennial.internal_tls.identity import Identity
from perennial.local import probe, secured_pages
from perennial.wiring.accounts import mlflow_certificates
from perennial.wiring.certificates import caller, page_verify

HEALTH = "/grpc.health.v1.Health/Check"


@contextmanager
def monitor(inside: InsideCertificates) -> Iterator[str]:
    (port,) = free_ports(1)
    context = server_context(Identity(inside.folder / "monitor"))
    MonitorMetrics().serve("127.0.0.1", port, "", secured(context, callers(ProcessRole.MONITOR)))
    yield f"https://127.0.0.1:{port}/metrics"


@contextmanager
def page(inside: InsideCertificates) -> Iterator[str]:
    """An application in place of MLflow, with the TLS of its server."""

    async def answer(scope, receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"OK"})

    (port,) = free_ports(1)
    tls = secured_pages.options(inside.settings, ProcessRole.MLFLOW)
    server = uvicorn.Server(uvicorn.Config(answer, port=port, lifespan="off", log_config=None, **tls))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, 60, "uvicorn")
    yield f"https://127.0.0.1:{port}/health"
    server.should_exit = True
    thread.join()


DOORS = {"monitor": monitor, "page": page}


@pytest.mark.parametrize("door", DOORS)
def test_a_door_lets_nobody_in_but_its_callers(inside, tmp_path, door):
    inside.renew()
    with DOORS[door](inside) as url:
        assert httpx.get(url, verify=inside.settings.verify).status_code == 200
        answers = {
            kind: answer(url, inside.context(inside.bad(kind, ProcessRole.ENVOY), tmp_path)) for kind in BAD
        }
    assert not set(answers.values()) & {200}
    if door == "page":  # which says why, to whoever has a certificate of the plant
        assert [kind for kind in BAD if answers[kind] == 403] == ["wrong role", "no role"]


def answer(url: str, verify) -> int:
    """Status; 0 where the connection is refused."""
    try:
        return httpx.get(url, verify=verify).status_code
    except httpx.HTTPError:
        return 0


@contextmanager
def calls(inside: InsideCertificates) -> Iterator[int]:
    identity = Identity(inside.folder / "pool"), callers(ProcessRole.POOL)
    with serving(grpc.method_handlers_generic_handler("none", {}), identity=identity) as port:
        yield port


def health(inside: InsideCertificates, port: int, shown) -> str:
    pair = (None, None) if shown is None else (shown.key, shown.certificate)
    credentials = grpc.ssl_channel_credentials(inside.trusted(), *pair)
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        try:
            content = channel.unary_unary(HEALTH)(health_pb2.HealthCheckRequest().SerializeToString(), 20)
        except grpc.RpcError as error:
            return error.code().name
        return health_pb2.HealthCheckResponse.ServingStatus.Name(
            health_pb2.HealthCheckResponse.FromString(content).status
        )


def test_the_grpc_door_lets_nobody_in_but_its_callers(inside):
    inside.renew()
    with calls(inside) as port:
        assert health(inside, port, inside.pair(ProcessRole.ENVOY)) == "SERVING"
        refused = {kind: health(inside, port, inside.bad(kind, ProcessRole.MLFLOW)) for kind in BAD}
    assert refused.pop("no role") == "PERMISSION_DENIED"
    # That of MLflow is for servers: it is refused before its role is looked at.
    assert set(refused.values()) == {"UNAVAILABLE"}


def test_a_stream_that_no_service_of_ours_has_is_none(inside, caplog):
    """The health check brings one along (`Watch`)."""
    inside.renew()
    pair = inside.pair(ProcessRole.ENVOY)
    credentials = grpc.ssl_channel_credentials(inside.trusted(), pair.key, pair.certificate)
    with calls(inside) as port, grpc.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
        watch = channel.unary_stream(HEALTH.replace("Check", "Watch"))
        with pytest.raises(grpc.RpcError) as caught:
            next(watch(health_pb2.HealthCheckRequest().SerializeToString(), 20))
    assert caught.value.code().name == "UNIMPLEMENTED"
    assert "Traceback" not in caplog.text


def test_a_renewed_certificate_is_shown_at_the_next_connection(inside):
    with monitor(inside) as metrics, page(inside) as health_page, calls(inside) as grpc_port:
        ports = {"monitor": httpx.URL(metrics).port, "mlflow": httpx.URL(health_page).port, "pool": grpc_port}
        kept = httpx.Client(verify=inside.settings.verify)  # a client of before, with a connection of before
        assert kept.get(health_page).text == "OK"
        before = {role: inside.served(port) for role, port in ports.items()}
        assert before == {role: inside.serial(role) for role in ports}
        inside.renew()
        after = {role: inside.served(port) for role, port in ports.items()}
        assert after == {role: inside.serial(role) for role in ports}
        assert not set(after.values()) & set(before.values())
        assert kept.get(health_page).text == "OK"
        assert kept.get(metrics).status_code == 200


def test_a_key_that_does_not_fit_keeps_the_certificate_before(inside, caplog):
    with monitor(inside) as metrics:
        shown = inside.served(httpx.URL(metrics).port)
        key = (inside.folder / "monitor" / "..data").resolve() / "tls.key"
        key.unlink()
        key.write_bytes((inside.folder / "pool" / "tls.key").read_bytes())
        assert inside.served(httpx.URL(metrics).port) == shown
        assert "the certificate before stays in use" in caplog.text
        inside.renew()
        assert inside.served(httpx.URL(metrics).port) == inside.serial("monitor") != shown


def test_our_own_clients_speak_to_the_role_that_they_mean_only(inside):
    with page(inside) as url:
        address = "127.0.0.1", httpx.URL(url).port
        mlflow = LoopbackHttp(address, 20, caller=caller(inside.settings, ProcessRole.MLFLOW))
        assert mlflow.get("/health").text == "OK"
        pool = LoopbackHttp(address, 20, caller=caller(inside.settings, ProcessRole.POOL))
        with pytest.raises(OSError, match="is of spiffe://perennial/mlflow, not of spiffe://perennial/pool"):
            pool.get("/health")


def test_clients_of_pages_speak_to_the_role_that_they_mean_only(inside):
    """A model server's key must not do for the pages to which passwords are sent."""
    with page(inside) as url:
        mlflow = page_verify(inside.settings, ProcessRole.MLFLOW)
        assert httpx.get(url, verify=mlflow).text == "OK"
        airflow = page_verify(inside.settings, ProcessRole.AIRFLOW)
        with pytest.raises(httpx.ConnectError, match="is of spiffe://perennial/mlflow, not of"):
            httpx.get(url, verify=airflow)

        async def ask() -> None:
            async with httpx.AsyncClient(verify=airflow) as client:
                await client.get(url)

        with pytest.raises(httpx.ConnectError, match="is of spiffe://perennial/mlflow, not of"):
            asyncio.run(ask())


def test_mlflows_own_client_speaks_to_mlflow_only(inside, monkeypatch):
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request
    from urllib3.connectionpool import HTTPSConnectionPool

    monkeypatch.setattr(HTTPSConnectionPool, "ConnectionCls", HTTPSConnectionPool.ConnectionCls)
    for name, path in mlflow_certificates(inside.settings, ProcessRole.AGENT).items():
        monkeypatch.setenv(name, path)
    with page(inside) as url:
        server = url.removesuffix("/health")

        def ask() -> str:
            return http_request(get_default_host_creds(server), "/health", "GET", max_retries=0).text

        server_role.require(server, frozenset({identity(ProcessRole.MLFLOW)}))
        assert ask() == "OK"
    with page(inside) as url:
        server = url.removesuffix("/health")
        server_role.require(server, frozenset({identity(ProcessRole.AIRFLOW)}))
        with pytest.raises(MlflowException, match="is of spiffe://perennial/mlflow, not of"):
            ask()


def test_the_probe_of_a_container_shows_a_certificate(inside, capsys):
    with page(inside) as url:
        assert probe.main([url, "--identity", str(inside.folder / "operator")]) == 0
        assert probe.main([url, "--identity", str(inside.folder / "envoy")]) == 1
        assert "answers 403" in capsys.readouterr().err
        assert probe.main([url]) == 1


def test_a_process_without_its_certificate_does_not_start(inside):
    settings = inside.settings.model_copy(update={"internal_role": "nobody"})
    with pytest.raises(SettingsError, match=r"nobody/tls\.crt cannot be read"):
        _ = settings.verify
