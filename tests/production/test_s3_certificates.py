"""S3 with TLS and a certificate of our own authority, which AWS_CA_BUNDLE names, as a user sets it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from backends.servers import BUCKET, S3
from inside.certificates import LIFE, InsideCertificates

from perennial.adapters.dvc_data import DvcData
from perennial.adapters.exchange import Exchange
from perennial.adapters.mlflow.connection import reaching
from perennial.errors import PerennialError, ToolError, TrackerUnavailable
from perennial.wiring import certificates

pytestmark = pytest.mark.production
DIGEST = "ab" * 32
UNKNOWN = r"(?i)certificate.verify.failed"


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> Iterator[S3]:
    """What `perennial certificates renew --host s3=127.0.0.1` makes, in a server."""
    made = InsideCertificates(tmp_path_factory.mktemp("inside") / "certificates")
    names = certificates.wanted(made.settings, made.authority, {"s3": ("127.0.0.1",)}, ())
    made.authority.renew(names, datetime.now(UTC), LIFE)
    server = S3(tmp_path_factory.mktemp("tls") / "s3", certificate=made.folder / "server-s3")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def trusting(storage, monkeypatch):
    """Trust an authority for S3, as the environment of a process says it."""
    from mlflow.store.artifact.s3_artifact_repo import _cached_get_s3_client
    from s3fs import S3FileSystem

    def forget() -> None:
        """Drop the connections that both keep for the process, of who trusted another authority."""
        S3FileSystem.clear_instance_cache()
        _cached_get_s3_client.cache_clear()

    def trust(authority: Path | None) -> None:
        for name, value in storage.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # by default a refusal takes seconds of further tries
        monkeypatch.delenv("AWS_CA_BUNDLE")
        if authority is not None:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(authority))
        forget()

    yield trust
    forget()


@pytest.fixture
def trusted(trusting, storage) -> None:
    trusting(Path(storage.environment["AWS_CA_BUNDLE"]))


@pytest.fixture(params=["another authority", "the well-known ones"])
def distrusted(request, trusting, tmp_path) -> None:
    stranger = InsideCertificates(tmp_path / "certificates")
    stranger.renew()
    trusting(stranger.folder / "agent" / "ca.crt" if request.param == "another authority" else None)


def exchange() -> bytes:
    there = Exchange(f"s3://{BUCKET}/exchange")
    there.put(DIGEST, {"model": b"bytes"})
    return there.read(f"versions/{DIGEST}/model")


def artifacts(folder: Path) -> bytes:
    """Log a file and get it back as MLflow's client does it for a run whose artifacts lie in S3."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    (folder / "model").write_bytes(b"bytes")
    with reaching("http://127.0.0.1"):
        repository = get_artifact_repository(f"s3://{BUCKET}/mlflow/1/artifacts")
        repository.log_artifact(str(folder / "model"))
        return Path(repository.download_artifacts("model")).read_bytes()


def revision(folder: Path) -> bytes:
    """Commit a file, and get it from the remote into another repository."""
    (folder / "data").write_bytes(b"bytes")
    remote = f"s3://{BUCKET}/dvc"
    made = DvcData(folder / "repo", remote).commit({"data": folder / "data"}, "first")
    DvcData(folder / "other", remote).fetch(made.files, folder / "out")
    return (folder / "out" / "data").read_bytes()


def test_files_of_the_exchange_artifacts_and_data_revisions_go_over_tls(trusted, storage, tmp_path):
    assert storage.environment["AWS_ENDPOINT_URL"].startswith("https://")
    assert exchange() == artifacts(tmp_path) == revision(tmp_path) == b"bytes"
    keys = storage.keys()
    assert {key.partition("/")[0] for key in keys} == {"exchange", "mlflow", "dvc", "probe"}


def test_a_storage_of_an_unknown_authority_is_refused(distrusted, tmp_path):
    with pytest.raises(ToolError, match=UNKNOWN) as refused:
        exchange()
    assert_names_the_setting(refused.value)
    with pytest.raises(TrackerUnavailable, match=UNKNOWN) as refused:
        artifacts(tmp_path)
    assert_names_the_setting(refused.value)
    with pytest.raises(ToolError, match=UNKNOWN) as refused:
        revision(tmp_path)
    assert_names_the_setting(refused.value)


def assert_names_the_setting(error: PerennialError) -> None:
    assert "AWS_CA_BUNDLE" in error.hint
