"""MLflow with its records in PostgreSQL and its artifacts in S3, by settings alone."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from backends.servers import BUCKET, PASSWORDS, SECRET
from mlflow_server import MlflowServer
from signing import TRUSTED
from tiny_models import WIDTH, tiny_version

from perennial.adapters.mlflow.files import MlflowFiles
from perennial.adapters.mlflow.registry import MlflowRegistry
from perennial.adapters.mlflow.tracker import MlflowTracker
from perennial.adapters.sql.store import SqlStore
from perennial.adapters.sql.version_numbers import SqlVersionNumbers
from perennial.core.events import Entry
from perennial.core.training.registration import NewVersion
from perennial.core.version import Change, VersionRef
from perennial.encryption.keyring import generate
from perennial.errors import FileRefused, ModelFileError, TrackerUnavailable
from perennial.flows.governance.ledger_check import check
from perennial.local.backup.make import make
from perennial.local.backup.restore import restore
from perennial.settings import Settings

pytestmark = [pytest.mark.production, pytest.mark.timeout(900)]
MODEL = "rates"


@pytest.fixture(scope="module")
def server(databases, bucket, tmp_path_factory):
    server = MlflowServer(
        tmp_path_factory.mktemp("mlflow"),
        mlflow_database_url=databases.address("mlflow"),
        artifacts_url=f"s3://{BUCKET}/mlflow",
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def registry(server, tmp_path, monkeypatch) -> MlflowRegistry:
    """The registry as a training sees it, which is signed in as such."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "training")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", server.accounts["training"].password)
    numbers = SqlVersionNumbers(f"sqlite:///{tmp_path / 'numbers.db'}")
    return MlflowRegistry(server.url, numbers.take, TRUSTED)


def register(server: MlflowServer, registry: MlflowRegistry, folder: Path, bias: float) -> VersionRef:
    """Train and register a version of a tiny model."""
    made, files = tiny_version(folder, MODEL, "1.0.0", bias)
    example = np.zeros((2, WIDTH), dtype=np.float32)
    with MlflowTracker(server.url, "unused").run(MODEL, "training", {}) as run:
        uri = run.model(files, None, example, np.zeros(2, dtype=np.float32))
        run.log(metrics={"holdout.roc_auc": 0.7})
    return registry.register(
        NewVersion(
            model=MODEL, run_id=run.run_id, model_uri=uri, digest=made.digest, capsule=made.capsule,
            change=Change.RETRAINED, description="made for a test", tags={},
        )
    )  # fmt: skip


def test_a_version_is_registered_fetched_and_deleted(server, registry, bucket, tmp_path):
    of_others = set(bucket.keys("mlflow"))
    ref = register(server, registry, tmp_path, 0.0)
    record = registry.find(MODEL, "candidate")
    assert record.ref == ref
    assert record.metrics == {"holdout.roc_auc": 0.7}
    assert not list((server.settings.mlflow_dir / "artifacts").iterdir()), "nothing goes to the disk"
    fetched = registry.fetch(ref, tmp_path / "into")
    made = tmp_path / f"{MODEL}-1.0.0" / "model.onnx"
    assert (fetched / "model.onnx").read_bytes() == made.read_bytes()
    (one, *_) = MlflowTracker(server.url, "unused").files(record.run_id, "served", tmp_path / "copies")
    assert one.parent == tmp_path / "copies"
    for _ in range(2):  # the second time there is nothing left
        MlflowFiles(server.url).delete(ref)
        left = set(bucket.keys("mlflow")) - of_others
        assert not [key for key in left if record.run_id in key or "/models/" in key]
    with pytest.raises(ModelFileError, match="cannot be read"):
        registry.fetch(ref, tmp_path / "again")
    assert registry.find(MODEL, ref.version).metrics == {"holdout.roc_auc": 0.7}


def test_the_server_decides_where_artifacts_are(server, registry, tmp_path):
    ref = register(server, registry, tmp_path, 1.0)
    run = registry.find(MODEL, ref.version).run_id
    training = server.client("training")
    chosen = {"name": "elsewhere", "artifact_location": f"s3://{BUCKET}/elsewhere"}
    assert training.post("experiments/create", chosen).status_code == 403
    number = training.post("experiments/create", {"name": "own"}).json()["experiment_id"]
    own = training.post("runs/create", {"experiment_id": number}).json()["run"]["info"]
    assert own["artifact_uri"].startswith(f"s3://{BUCKET}/mlflow/{number}/")
    body = {"name": MODEL, "run_id": own["run_id"]}
    others = own["artifact_uri"].replace(own["run_id"], run)
    for source in (
        others,
        "s3://others/place",
        f"{own['artifact_uri']}/../../other",
        f"s3://{BUCKET}/mlflow",
    ):
        refused = training.post("model-versions/create", {**body, "source": source})
        assert refused.status_code == 403, source
        assert "artifact folder" in refused.text
    tags = [{"key": "semantic_version", "value": "9.9.9"}]
    source = f"{own['artifact_uri']}/model"
    assert training.post("model-versions/create", {**body, "source": source, "tags": tags}).status_code == 200


def test_no_process_shows_the_address(server):
    shown = Path(f"/proc/{server._process.pid}/cmdline").read_bytes()
    shown += Path(f"/proc/{server._process.pid}/environ").read_bytes()
    assert b"postgresql" not in shown
    assert PASSWORDS["mlflow"].encode() not in shown
    assert SECRET.encode() not in shown


def test_a_role_reaches_its_own_database_only(databases):
    import psycopg

    for role in ("mlflow", "perennial", "optuna"):
        for database in ("mlflow", "perennial", "optuna", "postgres"):
            address = databases.address(role, database).replace("+psycopg", "")
            if role == database:
                with psycopg.connect(address) as connection:
                    connection.execute("CREATE TABLE own (x int)")
                    connection.execute("DROP TABLE own")
                    for wrong in ("CREATE ROLE other", "CREATE DATABASE other"):
                        with pytest.raises(psycopg.Error), psycopg.connect(address, autocommit=True) as again:
                            again.execute(wrong)
            else:
                with pytest.raises(psycopg.OperationalError, match="permission denied"):
                    psycopg.connect(address)


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "encrypted"])
def test_a_backup_is_restored_into_other_databases_and_another_place(
    server, registry, databases, bucket, tmp_path, encrypted
):
    generate(tmp_path / "keys", "2026-03")
    keys = (tmp_path / "keys").read_text() if encrypted else None
    place = "encrypted" if encrypted else "again"
    plant = server.settings.model_copy(
        update={"database_url": databases.address("perennial"), "encryption_keys": keys}
    )
    ref = register(server, registry, tmp_path, 3.0)
    SqlStore(plant.database).ledger.append(
        Entry(at=datetime.now(UTC), actor="ann", kind="k", model=MODEL, digest=ref.digest)
    )
    saved = make(plant, tmp_path / "backup", None, datetime.now(UTC), print)
    register(server, registry, tmp_path / "later", 4.0)
    for role in ("perennial", "mlflow"):
        databases.sql(f"CREATE DATABASE {role}_{place} OWNER {role}")
    new = Settings(
        home=tmp_path / "state", artifacts_url=f"s3://{BUCKET}/{place}", encryption_keys=keys,
        database_url=databases.address("perennial", f"perennial_{place}"),
        mlflow_database_url=databases.address("mlflow", f"mlflow_{place}"),
    )  # fmt: skip
    with pytest.raises(FileRefused, match="is not empty"):
        restore(new.model_copy(update={"database_url": plant.database}), tmp_path / "backup", None, print)
    with pytest.raises(FileRefused, match="is not empty"):
        restore(new.model_copy(update={"artifacts_url": plant.artifacts}), tmp_path / "backup", None, print)
    assert not new.state.exists()
    restore(new, tmp_path / "backup", None, print)
    assert check(SqlStore(new.database).ledger, None, None, lambda *_: False).newest == saved.ledger.hash
    restored = MlflowRegistry(new.mlflow_database, SqlVersionNumbers(new.database).take, TRUSTED)
    assert restored.find(MODEL, "candidate").ref == ref, "what was registered later is not there"
    fetched = restored.fetch(ref, tmp_path / "into")
    assert (fetched / "model.onnx").read_bytes() == (tmp_path / f"{MODEL}-1.0.0" / "model.onnx").read_bytes()
    assert not [name for name in bucket.keys(place) if name not in
                {f"{place}/{file.removeprefix('places/artifacts/')}" for file in saved.files}]  # fmt: skip
    assert not encrypted or all(
        path.suffix == ".enc" for path in (tmp_path / "backup").rglob("*.*") if path.is_file()
    )
    text = b"".join(path.read_bytes() for path in (tmp_path / "backup").rglob("*.*") if path.is_file())
    assert not [word for word in (*PASSWORDS.values(), SECRET) if word.encode() in text]
    with pytest.raises(FileRefused, match="is not empty"):
        restore(new, tmp_path / "backup", None, print)


def test_servers_that_go_and_come_back_lose_nothing(server, registry, databases, bucket, tmp_path):
    ref = register(server, registry, tmp_path, 2.0)
    databases.kill()
    with pytest.raises(TrackerUnavailable) as away:
        MlflowRegistry(server.url).find(MODEL, ref.version)
    assert PASSWORDS["mlflow"] not in str(away.value)
    databases.revive()
    assert registry.find(MODEL, ref.version).ref == ref
    bucket.kill()
    with pytest.raises(TrackerUnavailable, match="artifact store"):
        registry.fetch(ref, tmp_path / "meanwhile")
    with pytest.raises(TrackerUnavailable):
        MlflowFiles(server.url).delete(ref)
    bucket.revive()
    assert (registry.fetch(ref, tmp_path / "after") / "model.onnx").is_file()
    assert os.environ["AWS_SHARED_CREDENTIALS_FILE"]
