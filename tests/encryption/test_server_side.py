"""Encryption by S3 itself: every writer asks for it, and the doctor sees where it is lacking."""

from __future__ import annotations

import json

import pytest

from perennial.adapters.exchange import Exchange
from perennial.encryption.server_side import VARIABLE
from perennial.errors import SettingsError
from perennial.local.doctor.buckets import answers, encryption_at_rest
from perennial.local.doctor.finding import State
from perennial.local.handed_secrets import base_environment
from perennial.object_storage import storage
from perennial.settings import load
from perennial.wiring import training
from perennial.wiring.accounts import UPLOADS, mlflow_uploads

pytestmark = pytest.mark.server
KEY = "arn:aws:kms:us-east-1:111122223333:key/a1b2"
REMOTE, ARTIFACTS, EXCHANGE = "s3://plant/dvc", "s3://plant/mlflow", "s3://plant/exchange"


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch):
    s3.create_bucket(Bucket="plant")
    for name, value in {"HOME": tmp_path / "home", "DVC_REMOTE": REMOTE, "ARTIFACTS_URL": ARTIFACTS,
                        "EXCHANGE": EXCHANGE}.items():  # fmt: skip
        monkeypatch.setenv(f"PERENNIAL_{name}", str(value))
    monkeypatch.delenv(UPLOADS, raising=False)
    return s3


def written_by_all(tmp_path, monkeypatch) -> None:
    """Write as MLflow's client, DVC, an upload of ours and a large one of ours do."""
    from mlflow.store.artifact.s3_artifact_repo import S3ArtifactRepository, _cached_get_s3_client

    _cached_get_s3_client.cache_clear()  # of the server of an earlier test
    settings, path = load(), tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n")
    for name, value in mlflow_uploads(settings).items():
        monkeypatch.setenv(name, value)
    S3ArtifactRepository(ARTIFACTS).log_artifact(str(path))
    training.data_store(settings).commit({"rows.csv": path}, "rows")
    exchange = Exchange(EXCHANGE)
    exchange.write("small", b"x")
    large = tmp_path / "large"
    large.write_bytes(bytes(60 << 20))  # in parts
    with storage(EXCHANGE) as files:
        files.put_file(str(large), f"{EXCHANGE}/large")


def encryption_of_all(s3) -> dict[str, tuple[str | None, str | None]]:
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="plant")["Contents"]]
    heads = {key: s3.head_object(Bucket="plant", Key=key) for key in keys}
    return {key: (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")) for key, head in heads.items()}


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [("AES256", ("AES256", None)), (f"aws:kms:{KEY}", ("aws:kms", KEY))],
)
def test_every_writer_asks_for_it(bucket, tmp_path, monkeypatch, setting, wanted):
    monkeypatch.setenv(VARIABLE, setting)
    written_by_all(tmp_path, monkeypatch)
    stored = encryption_of_all(bucket)
    assert {key.split("/")[0] for key in stored} == {"dvc", "mlflow", "exchange"}
    assert set(stored.values()) == {wanted}, stored
    assert {finding.state for finding in encryption_at_rest(load())} == {State.OK}
    given = json.loads(base_environment(load())[UPLOADS])
    assert (given["ServerSideEncryption"], given.get("SSEKMSKeyId")) == wanted


def test_the_doctor_names_what_is_not_encrypted(bucket, monkeypatch):
    assert list(encryption_at_rest(load())) == []
    monkeypatch.setenv(VARIABLE, "aws:kms")
    assert {finding.what for finding in encryption_at_rest(load())} == {"nothing lies there yet"}
    bucket.put_object(Bucket="plant", Key="dvc/files/md5/ab/cd", Body=b"rows", ServerSideEncryption="AES256")
    findings = {finding.check: finding for finding in encryption_at_rest(load())}
    assert findings["encryption: data remote"].state is State.PROBLEM
    assert findings["encryption: data remote"].what == "s3://plant/dvc/files/md5/ab/cd is encrypted by AES256"
    monkeypatch.setenv("PERENNIAL_EXCHANGE", "s3://nowhere/exchange")
    findings = {finding.check: finding for finding in encryption_at_rest(load())}
    assert findings["encryption: exchange"].state is State.PROBLEM


def test_the_doctor_names_object_storage_that_does_not_answer(bucket, monkeypatch):
    monkeypatch.setenv("PERENNIAL_WORK_STORE", "s3://plant/work")
    assert {finding.check: finding.state for finding in answers(load())} == {
        "object storage: artifacts": State.OK,
        "object storage: exchange": State.OK, "object storage: work folders": State.OK,
    }  # fmt: skip
    monkeypatch.setenv("PERENNIAL_WORK_STORE", "s3://nowhere/work")
    finding = {finding.check: finding for finding in answers(load())}["object storage: work folders"]
    assert finding.state is State.PROBLEM
    assert finding.what.startswith("s3://nowhere/work: ")


def test_an_unknown_form_and_a_variable_of_somebody_else(bucket, monkeypatch):
    monkeypatch.setenv(VARIABLE, "DES")
    with pytest.raises(SettingsError, match="PERENNIAL_S3_ENCRYPTION"):
        load()
    with pytest.raises(SettingsError, match="PERENNIAL_S3_ENCRYPTION"):
        Exchange(EXCHANGE).write("small", b"x")
    monkeypatch.setenv(VARIABLE, "AES256")
    monkeypatch.setenv(UPLOADS, "{}")
    assert mlflow_uploads(load()) == {}
