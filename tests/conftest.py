"""Fixtures that more than one folder of tests uses; each starts nothing before a test asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from examples import DEEP, EVERY_RUN
from hypothesis import settings
from reruns.undisturbed import pytest_pyfunc_call
from serving_stack import ServingStack

if TYPE_CHECKING:  # imported by the fixture that a test asks for: their libraries are large
    from airflow_server import AirflowServer
    from live_releases import LiveReleases
    from mlflow_server import MlflowServer
    from oidc.issuer import Issuer
    from online_stores.redis_server import RedisServer

__all__ = ["pytest_pyfunc_call"]  # pytest takes the hook from here

# `--hypothesis-profile=deep` (make test-deep) replaces the first one. No deadline: tests run side by side.
settings.register_profile("ci", max_examples=EVERY_RUN, deadline=None)
settings.register_profile("deep", max_examples=DEEP, deadline=None)
settings.load_profile("ci")

LANES = {
    "traffic": {"serving_stack", "live_releases"},
    "server": {"mlflow_server", "airflow", "postgres", "s3"},
}
"""Marker -> fixtures that need it: else their servers would start in a second lane, too."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if settings().max_examples < DEEP:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("deep")])
        items[:] = [item for item in items if not item.get_closest_marker("deep")]
    for item in items:
        for marker, fixtures in LANES.items():
            if fixtures & set(getattr(item, "fixturenames", ())) and not item.get_closest_marker(marker):
                raise pytest.UsageError(f"{item.nodeid} needs pytest.mark.{marker}: see tests/README.md")
    # Slow files begin first: at the end of a parallel run no process is left alone with minutes of work.
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def serving_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingStack]:
    """Envoy and model servers of this session; every test uses a model name of its own."""
    stack = ServingStack(tmp_path_factory.mktemp("serving"))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 server that runs for this test, which the AWS environment names to everybody else."""
    import boto3
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "anything",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        }.items():
            monkeypatch.setenv(name, value)
        # Moto keeps buckets, and s3fs its connections, for the whole process: those of an earlier test.
        httpx.post(f"http://{host}:{port}/moto-api/reset", trust_env=False).raise_for_status()
        S3FileSystem.clear_instance_cache()
        yield boto3.client("s3")
    finally:
        server.stop()


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine")
    assert found, "CI needs Chromium"
    return found


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL database that tests share; each test drops its tables."""
    from postgres_server import BINARIES, running_postgres

    if not BINARIES and not os.environ.get("CI"):
        pytest.skip("no PostgreSQL is installed under /usr/lib/postgresql")
    with running_postgres() as address:
        yield address


@pytest.fixture(scope="session")
def redis_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that tests share; it starts at once, so that it needs no lane."""
    from online_stores.redis_server import PROGRAM, RedisServer

    if PROGRAM is None and not os.environ.get("CI"):
        pytest.skip("no redis-server on this machine")
    assert PROGRAM, "CI needs redis-server"
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """The Redis, running and empty."""
    if redis_process.process is None:
        redis_process.start()
    with redis_process.client() as client:
        client.flushall()
    return redis_process


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The MLflow server of this session, with the accounts of `mlflow_server.PEOPLE`."""
    from mlflow_server import MlflowServer

    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowServer]:
    """The Airflow of this session, with three small DAGs and one release that waits for a person."""
    from airflow_server import AirflowServer

    server = AirflowServer(tmp_path_factory.mktemp("airflow"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    """An OpenID Connect issuer of this session; it starts at once, so that it needs no lane."""
    from oidc.issuer import Issuer
    from serving_stack import free_ports

    started = Issuer(*free_ports(1))
    try:
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def live_releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveReleases]:
    """Three registered versions that can be released on a stack under supervisord."""
    from live_releases import furnished

    with furnished(tmp_path_factory.mktemp("releases")) as releases:
        yield releases
