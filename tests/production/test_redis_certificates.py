"""Online store and queue of tasks in a Redis that lets nobody in without a certificate, by their settings."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import hiredis
import pytest
from backends.servers import Server
from celery import Celery
from inside.certificates import LIFE, InsideCertificates
from redis import Redis, RedisError
from redis.asyncio import ConnectionPool
from serving_stack import free_ports, until

from perennial.backend_settings import TRAINING
from perennial.local import celery_workers, processes, supervisor
from perennial.serving.online.redis_pipeline import RedisPipeline
from perennial.settings import Settings
from perennial.wiring import certificates

pytestmark = [
    pytest.mark.production,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on this machine"),
]


@pytest.fixture(scope="module")
def inside(tmp_path_factory) -> InsideCertificates:
    made = InsideCertificates(tmp_path_factory.mktemp("inside") / "certificates")
    names = certificates.wanted(made.settings, made.authority, {"redis": ("127.0.0.1",)}, ("features",))
    made.authority.renew(names, datetime.now(UTC), LIFE)
    return made


@pytest.fixture(scope="module")
def address(inside, tmp_path_factory) -> Iterator[str]:
    """The address with the certificate of the client, as PERENNIAL_ONLINE_STORE has it."""
    (port,) = free_ports(1)
    files, own = inside.folder / "server-redis", inside.folder / "database-features"
    options = [
        "--port",
        "0",
        "--tls-port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--tls-auth-clients",
        "yes",
    ]
    for option, name in (("cert-file", "tls.crt"), ("key-file", "tls.key"), ("ca-cert-file", "ca.crt")):
        options += [f"--tls-{option}", str(files / name)]
    server = Server(tmp_path_factory.mktemp("redis"), ("redis-server", *options))
    url = (
        f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={own / 'ca.crt'}&ssl_certfile={own / 'tls.crt'}"
        f"&ssl_keyfile={own / 'tls.key'}"
    )
    try:
        server.start(lambda: answers(url) == "True")
        yield url
    finally:
        server.kill()


def answers(url: str) -> str:
    try:
        return str(Redis.from_url(url).ping())
    except (RedisError, ssl.SSLError, OSError) as error:
        return str(error)


def test_reads_of_requests_go_over_tls(address):
    async def ask() -> list:
        pipeline = RedisPipeline(ConnectionPool.from_url(address, socket_timeout=20).make_connection, 20)
        done = await pipeline.ask(hiredis.pack_command(("PING",)), 1)
        pipeline.retire()
        return done

    assert asyncio.run(ask()) == [b"PONG"]


def test_nobody_gets_in_without_a_certificate_of_the_plant(address, inside):
    without = address.partition("&ssl_certfile")[0]
    assert answers(without) != "True"
    assert answers(address) == "True"


def test_a_server_of_another_authority_is_refused(address, tmp_path):
    stranger = InsideCertificates(tmp_path / "certificates")
    stranger.renew()
    foreign = address.replace(
        address.partition("ssl_ca_certs=")[2].partition("&")[0], str(tmp_path / "certificates/pool/ca.crt")
    )
    assert "certificate verify failed" in answers(foreign).lower()


@pytest.fixture(scope="module")
def queue(address, tmp_path_factory) -> Iterator[tuple[Settings, Path]]:
    """The settings of a plant whose broker is that Redis, and the log of its worker, which answers."""
    folder = tmp_path_factory.mktemp("plant")
    settings = Settings(
        home=folder, celery_broker_url=address, workers_light=0,
        airflow_executor="CeleryExecutor", airflow_password="word-of-the-test",
    )  # fmt: skip
    supervisor.set_up(settings, lambda line: None)
    (worker,) = [
        process for process in processes.table(settings) if process.name.startswith("airflow-worker")
    ]
    log = folder / "worker.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            worker.command, env={**os.environ, **worker.environment}, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: running.poll() is not None or not worker.check(None), 300, "an answer of the worker")
        assert running.poll() is None, log.read_text()
        yield settings, log
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def test_a_worker_takes_tasks_over_tls(queue):
    settings, log = queue
    with Celery(broker=settings.celery_broker_url, set_as_current=False) as app:
        app.send_task("of_no_worker", queue=TRAINING)
    until(
        lambda: "unregistered task of type 'of_no_worker'" in log.read_text(), 120, "the task at the worker"
    )


def test_a_broker_of_another_authority_is_refused(queue, address, inside, tmp_path):
    stranger = InsideCertificates(tmp_path / "certificates")
    stranger.renew()
    own = str(inside.folder / "database-features" / "ca.crt")
    foreign = address.replace(own, str(stranger.folder / "pool" / "ca.crt"))
    for url in (foreign, address.partition("?")[0]):
        said = celery_workers.problem(Settings(home=tmp_path, celery_broker_url=url), "training@nowhere")
        assert "certificate verify failed" in said, url
        assert said.startswith("PERENNIAL_CELERY_BROKER_URL: ")
