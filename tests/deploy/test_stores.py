"""The S3 server of compose.yaml with its made keys: each may do what its process needs, and nothing else."""

from __future__ import annotations

import configparser
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends.servers import BUCKET, S3
from containers.described import ROOT, service

pytestmark = [pytest.mark.server, pytest.mark.timeout(300)]
BUCKETS = ("data", "models", "log")


class Keys:
    """The files that docker/make-secrets.sh makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        subprocess.run([ROOT / "docker" / "make-secrets.sh", folder], check=True, capture_output=True)
        self.identities = (folder / "s3_identities").read_text()

    def of(self, name: str) -> tuple[str, str]:
        """Return id and text of a key, from the file that the container gets."""
        parser = configparser.ConfigParser()
        parser.read(self._folder / f"s3_{name}")
        return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> Keys:
    return Keys(tmp_path_factory.mktemp("made") / "secrets")


@pytest.fixture(scope="module")
def server(keys, tmp_path_factory) -> Iterator[S3]:
    server = S3(tmp_path_factory.mktemp("stores") / "s3", keys.of("admin"), keys.identities)
    try:
        for bucket in {*BUCKETS} - {BUCKET}:
            server.client().create_bucket(Bucket=bucket)
        yield server
    finally:
        server.stop()


def refused(client, operation: str, **arguments) -> bool:
    from botocore.exceptions import ClientError

    try:
        getattr(client, operation)(**arguments)
    except ClientError as error:
        return error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return False


def test_the_job_makes_the_buckets_that_the_settings_name():
    program = service("bucket").command[-1]
    settings = service("setup").environment
    for name in ("PERENNIAL_DVC_REMOTE", "PERENNIAL_ARTIFACTS_URL", "PERENNIAL_LOG_BUCKET"):
        assert repr(settings[name].split("/")[2]) in program, name
    assert all(repr(bucket) in program for bucket in BUCKETS)


@pytest.mark.parametrize("bucket", BUCKETS)
def test_the_key_of_trainings_and_releases_uses_the_buckets_and_makes_none(server, keys, bucket):
    client = server.client(keys.of("perennial"))
    client.put_object(Bucket=bucket, Key="a/b", Body=b"text")
    assert client.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"text"
    assert [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket, Prefix="a/")["Contents"]] == [
        "a/b"
    ]
    client.delete_object(Bucket=bucket, Key="a/b")
    assert refused(client, "create_bucket", Bucket="another")
    assert refused(client, "delete_bucket", Bucket=bucket)


def test_the_key_of_mlflows_page_reads_artifacts_and_nothing_else(server, keys):
    server.client().put_object(Bucket="models", Key="mlflow/1", Body=b"text")
    client = server.client(keys.of("reader"))
    assert client.get_object(Bucket="models", Key="mlflow/1")["Body"].read() == b"text"
    assert client.list_objects_v2(Bucket="models")["KeyCount"] >= 1
    assert refused(client, "put_object", Bucket="models", Key="mlflow/2", Body=b"text")
    assert refused(client, "delete_object", Bucket="models", Key="mlflow/1")
    for bucket in ("data", "log"):
        assert refused(client, "list_objects_v2", Bucket=bucket)
        assert refused(client, "get_object", Bucket=bucket, Key="a")
