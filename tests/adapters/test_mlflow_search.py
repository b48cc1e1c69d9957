"""Searching versions through MLflow on SQLite."""

from __future__ import annotations

import json

import pytest

from perennial.adapters.mlflow.connection import connect
from perennial.adapters.mlflow.search import MlflowSearch
from perennial.cli import main
from perennial.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Three versions of `m`: archived with 0.6, production with 0.7 and 0.8 of a later one."""
    folder = tmp_path_factory.mktemp("mlflow")
    url = f"sqlite:///{folder}/mlflow.db"
    client = connect(url)
    client.create_registered_model("m")
    experiment = client.create_experiment("m", artifact_location=(folder / "artifacts").as_uri())
    for number, (lifecycle, auc) in enumerate([("archived", 0.6), ("production", 0.7), ("staging", 0.8)]):
        run = client.create_run(experiment).info.run_id
        client.log_metric(run, "holdout.roc_auc", auc)
        tags = {"semantic_version": f"1.{number}.0", "digest": "d", "capsule": "c", "lifecycle": lifecycle}
        client.create_model_version("m", source=str(folder), run_id=run, tags=tags)
    return url


@pytest.mark.parametrize(
    ("query", "versions"),
    [
        ("", ["1.0.0", "1.1.0", "1.2.0"]),
        ("lifecycle = 'production'", ["1.1.0"]),
        ("tags.lifecycle != 'archived'", ["1.1.0", "1.2.0"]),
        ("metrics.`holdout.roc_auc` >= 0.7", ["1.1.0", "1.2.0"]),
        ("name = 'm' AND metrics.`holdout.roc_auc` >= 0.65 and lifecycle = 'staging'", ["1.2.0"]),
        ("name = 'other'", []),
    ],
)
def test_search(url, query, versions):
    assert [result.ref.version for result in MlflowSearch(url).search(query)] == versions


@pytest.mark.parametrize("query", ["nonsense", "metrics.x >", "lifecycle ~ 'x'"])
def test_query_that_mlflow_does_not_know(url, query):
    with pytest.raises(UsageError):
        MlflowSearch(url).search(query)


def test_command(url, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_TRACKING_URL", url)
    assert main(["models", "search", "lifecycle = 'production'", "--json"]) == 0
    assert [row["version"] for row in json.loads(capsys.readouterr().out)] == ["1.1.0"]
    assert main(["models", "search", "lifecycle = 'nowhere'"]) == 0
    assert "no version" in capsys.readouterr().out
