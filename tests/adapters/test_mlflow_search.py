"""Searching versions through MLflow on SQLite."""

from __future__ import annotations

import json
import shutil

import pytest

from perennial.adapters.mlflow import records, search
from perennial.adapters.mlflow.connection import MlflowClient, connect
from perennial.adapters.mlflow.registry import MlflowRegistry
from perennial.adapters.mlflow.search import MlflowSearch
from perennial.cli import main
from perennial.errors import UnknownVersion, UsageError
from perennial.settings import load

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


NAME = "test_failure_predictor"
"""A model with a spec."""


@pytest.fixture(scope="module")
def by_hand(url) -> str:
    """A version of NAME that a person has added in MLflow, and that has the alias candidate, beside one of ours."""
    client = connect(url)
    client.create_registered_model(NAME)
    run = client.create_run(client.get_experiment_by_name("m").experiment_id).info.run_id
    client.log_metric(run, "holdout.brier", 0.081)
    client.log_metric(run, "holdout.roc_auc", 0.6)
    ours = {"semantic_version": "1.0.0", "digest": "d", "capsule": "c", "lifecycle": "production"}
    made = client.create_model_version(NAME, source="/tmp", run_id=run, tags=ours)
    client.set_registered_model_alias(NAME, "champion", made.version)
    added = client.create_model_version(NAME, source="/tmp", run_id=run)
    client.set_registered_model_alias(NAME, "candidate", added.version)
    return str(added.version)


@pytest.mark.parametrize("which", ["candidate", "key"])
def test_a_version_added_by_hand_is_named_and_says_what_to_do(url, by_hand, which):
    which = f"key:{by_hand}" if which == "key" else which
    with pytest.raises(UnknownVersion, match="by hand") as caught:
        MlflowRegistry(url).find(NAME, which)
    assert f"perennial models import {NAME} models:/{NAME}/{by_hand}" in caught.value.hint


def test_versions_added_by_hand_are_shown_apart(url, by_hand, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_TRACKING_URL", url)
    assert main(["models", "show", NAME, "--json"]) == 0
    shown = capsys.readouterr()
    assert [row["version"] for row in json.loads(shown.out)] == ["1.0.0"]
    assert f"by hand, so not evaluated and not released: {by_hand}." in shown.err
    assert main(["models", "search", f"name = '{NAME}'", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_list_and_search_show_the_metric_of_the_spec(url, by_hand, monkeypatch, capsys, tmp_path):
    shutil.copytree(load().configs, tmp_path / "configs")
    path = tmp_path / "configs" / "models" / f"{NAME}.yaml"
    path.write_text(path.read_text().replace("improvement: {metric: roc_auc", "improvement: {metric: brier"))
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_TRACKING_URL", url)
    assert main(["models", "list", "--json"]) == 0
    (listed,) = [row for row in json.loads(capsys.readouterr().out) if row["model"] == NAME]
    assert (listed["champion"], listed["candidate"]) == ("1.0.0", "by hand")
    assert (listed["task"], listed["metric"], listed["value"]) == ("ranking", "brier", 0.081)
    assert main(["models", "search", f"name = '{NAME}'", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["metric"], found["value"]) == ("brier", 0.081)


MANY = 12


@pytest.fixture(scope="module")
def many(url) -> list[str]:
    """Models with one version and with MANY, each with a champion and a candidate; their names."""
    client = connect(url)
    experiment = client.get_experiment_by_name("m").experiment_id
    names = [f"one_{number}" for number in range(4)] + ["many"]
    for name in names:
        client.create_registered_model(name)
        for number in range(MANY if name == "many" else 1):
            run = client.create_run(experiment).info.run_id
            client.log_metric(run, "holdout.roc_auc", number / 100)
            tags = {
                "semantic_version": f"1.{number}.0",
                "digest": "d",
                "capsule": "c",
                "lifecycle": "staging",
            }
            made = client.create_model_version(name, source="/tmp", run_id=run, tags=tags)
        client.set_registered_model_alias(name, "champion", "1")
        client.set_registered_model_alias(name, "candidate", made.version)
    return names


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The names of the calls to MLflow."""
    made: list[str] = []

    def counted(name, real):
        def call(*given, **named):
            made.append(name)
            return real(*given, **named)

        return call

    for name in vars(MlflowClient):
        if name.startswith(("get_", "search_")):
            monkeypatch.setattr(MlflowClient, name, counted(name, getattr(MlflowClient, name)))
    return made


def test_versions_are_asked_for_by_the_page_and_not_one_by_one(url, many, calls):
    for read in (MlflowRegistry(url).versions, lambda name: MlflowSearch(url).search(f"name = '{name}'")):
        asked = {}
        for name in ("one_0", "many"):
            calls.clear()
            versions = read(name)
            asked[name] = list(calls)
        assert [each.metrics["holdout.roc_auc"] for each in versions] == [n / 100 for n in range(MANY)]
        assert (versions[0].aliases, versions[1].aliases) == (("champion",), ())
        assert asked["many"] == asked["one_0"]
        assert len(asked["many"]) <= 4


def test_a_search_by_a_metric_reads_only_the_versions_of_runs_that_meet_it(url, many, monkeypatch):
    query = "name = 'many' and metrics.`holdout.roc_auc` >= 0.05"
    monkeypatch.setattr(records, "NAMED", 3)
    for few in (1000, 0):
        monkeypatch.setattr(search, "FEW", few)
        versions = MlflowSearch(url).search(query)
        assert [each.ref.version for each in versions] == [f"1.{number}.0" for number in range(5, MANY)]
    monkeypatch.setattr(search, "FEW", 1000)
    read = []
    real = search.versions_of
    monkeypatch.setattr(search, "versions_of", lambda *given: read.extend(got := real(*given)) or got)
    assert [each.ref.version for each in MlflowSearch(url).search("metrics.`holdout.roc_auc` > 0.79")] == [
        "1.2.0"
    ]
    assert len(read) == 1


def test_every_page_is_read(url, many, monkeypatch):
    monkeypatch.setattr(records, "PAGE", 5)
    monkeypatch.setattr(records, "NAMED", 5)
    versions = MlflowSearch(url).search("name = 'many'")
    assert [each.ref.version for each in versions] == [f"1.{number}.0" for number in range(MANY)]
    assert all("holdout.roc_auc" in each.metrics for each in versions)
    assert set(MlflowSearch(url).aliased(many, ["champion"])) == set(many)


def test_champions_of_many_models_are_few_calls(url, many, calls):
    asked = []
    for names in (["one_0"], many):
        calls.clear()
        aliased = MlflowSearch(url).aliased(names, ("champion", "candidate"))
        asked.append(len(calls))
    assert aliased["many"]["champion"].ref.key == "1"
    assert aliased["many"]["candidate"].ref.key == str(MANY)
    assert aliased["many"]["candidate"].metrics["holdout.roc_auc"] == (MANY - 1) / 100
    assert {aliased[name]["champion"].ref.model for name in many} == set(many)
    assert asked[1] - asked[0] <= 1, "the other key of one of them"


def test_one_version_is_found_without_the_others(url, many, calls):
    assert MlflowRegistry(url).find("many", "1.7.0").ref.key == "8"
    assert len(calls) <= 3
    assert MlflowRegistry(url).find("many", "1.70.0") is None
