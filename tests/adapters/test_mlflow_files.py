"""The lifecycle commands over MLflow on SQLite and files on disk."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from mlflow.cli import gc
from signed_in import sign_in

from perennial import settings as environment
from perennial.adapters.mlflow.connection import connect
from perennial.cli import main
from perennial.core.governance.identity import Role
from perennial.errors import ModelFileError, NotAllowed, NotSignedIn, ReleaseError, UsageError
from perennial.wiring import database, versions

pytestmark = pytest.mark.slow

MODEL = "test_failure_predictor"


@pytest.fixture
def client(tmp_path, monkeypatch):
    """Versions 1.0.0 (champion) and 1.1.0, each with served files and a logged model."""
    url = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("PERENNIAL_TRACKING_URL", url)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    sign_in(monkeypatch, "ann", Role.OPERATOR)
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / f"{MODEL}.yaml").write_text("retention: {archived_files: PT0S}\n")
    monkeypatch.setenv("PERENNIAL_SPEC_OVERLAY", str(tmp_path / "short"))
    client = connect(url)
    client.create_registered_model(MODEL)
    experiment = client.create_experiment(MODEL, artifact_location=(tmp_path / "runs").as_uri())
    for number in range(2):
        run = client.create_run(experiment).info.run_id
        logged = tmp_path / f"logged-{number}"
        logged.mkdir()
        (logged / "model.onnx").write_text("model")
        client.log_artifact(run, str(logged / "model.onnx"), "served")
        client.log_metric(run, "holdout.roc_auc", 0.7)
        tags = {"semantic_version": f"1.{number}.0", "digest": f"{number}" * 64, "capsule": "c"}
        tags["lifecycle"] = "staging"
        client.create_model_version(MODEL, source=logged.as_uri(), run_id=run, tags=tags)
    client.set_registered_model_alias(MODEL, "champion", "1")
    return client


def test_archive_and_purge(client, tmp_path, capsys):
    assert main(["models", "archive", MODEL, "1.0.0", "--reason", "old"]) == ReleaseError.exit_code
    assert main(["models", "retire", MODEL, "1.1.0", "--reason", "unused"]) == 0
    assert main(["models", "purge", MODEL, "--yes", "--json"]) == 0
    capsys.readouterr()
    assert main(["models", "archive", MODEL, "1.1.0", "--reason", "unused"]) == 0
    served = sorted(path.relative_to(tmp_path) for path in (tmp_path / "runs").rglob("model.onnx"))
    assert len(served) == 2
    capsys.readouterr()
    assert main(["models", "purge", MODEL]) == 0
    assert "would delete" in capsys.readouterr().out
    assert len(list((tmp_path / "runs").rglob("model.onnx"))) == 2
    assert main(["models", "purge", MODEL, "--yes", "--json"]) == 0
    assert [version["version"] for version in json.loads(capsys.readouterr().out)] == ["1.1.0"]
    assert len(list((tmp_path / "runs").rglob("model.onnx"))) == 1
    assert not (tmp_path / "logged-1").exists()
    assert (tmp_path / "logged-0" / "model.onnx").exists()
    version = client.get_model_version(MODEL, "2")
    assert version.tags["files"].startswith("deleted")
    assert client.get_run(version.run_id).data.metrics == {"holdout.roc_auc": 0.7}
    versions.lifecycle_ports(environment.load()).files.delete(_ref(client))
    kinds = [row.entry.kind for row in database.store(environment.load()).ledger.rows(MODEL)]
    assert kinds == ["lifecycle.retired", "lifecycle.archived", "lifecycle.purged"]
    assert main(["ledger", "verify"]) == 0


@pytest.mark.parametrize("command", ["retire", "archive", "purge"])
def test_nobody_takes_a_version_out_of_use_unnamed(client, monkeypatch, command):
    arguments = ["--yes"] if command == "purge" else ["1.1.0", "--reason", "old"]
    sign_in(monkeypatch, "vic", Role.VIEWER)
    assert main(["models", command, MODEL, *arguments]) == NotAllowed.exit_code
    monkeypatch.delenv("PERENNIAL_TOKEN")
    monkeypatch.setenv("PERENNIAL_ACTOR", "ann")
    assert main(["models", command, MODEL, *arguments]) == NotSignedIn.exit_code
    assert not database.store(environment.load()).ledger.rows(MODEL)


def test_a_run_that_was_deleted_for_good(client, tmp_path):
    """Its version is shown without figures, and its files cannot be fetched."""
    registry = versions.registry(environment.load())
    run = client.get_model_version(MODEL, "2").run_id
    client.delete_run(run)
    url = f"sqlite:///{tmp_path}/mlflow.db"
    done = CliRunner().invoke(gc, ["--backend-store-uri", url, "--tracking-uri", url, "--run-ids", run])
    assert done.exit_code == 0, done.output
    found = registry.find(MODEL, "1.1.0")
    assert found is not None
    assert found.metrics == {}
    assert [version.ref.version for version in registry.versions(MODEL)] == ["1.0.0", "1.1.0"]
    with pytest.raises(ModelFileError, match="cannot be read from run"):
        registry.fetch(found.ref, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_files_are_kept_as_long_as_the_spec_says(client, monkeypatch):
    monkeypatch.delenv("PERENNIAL_SPEC_OVERLAY")
    assert main(["models", "purge", MODEL, "--older-than", "P1D"]) == UsageError.exit_code
    assert main(["models", "purge", MODEL, "--older-than", "soon"]) == 2
    assert main(["models", "purge", MODEL, "--older-than", "P100D"]) == 0


def _ref(client):
    return versions.registry(environment.load()).find(MODEL, "1.1.0").ref
