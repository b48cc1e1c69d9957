"""The online store in a Redis that lets nobody in without a certificate, by the address of its settings."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

import hiredis
import pytest
from backends.servers import Server
from inside.certificates import LIFE, InsideCertificates
from redis import Redis, RedisError
from redis.asyncio import ConnectionPool
from serving_stack import free_ports

from perennial.serving.online.redis_pipeline import RedisPipeline
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
