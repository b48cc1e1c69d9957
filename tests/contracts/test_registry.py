"""The Registry, Labels and Tracker ports: the same cases over the fakes and over MLflow on SQLite."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles.registry import MemoryRegistry
from doubles.tracking import MemoryTracker
from signing import TRUSTED, signed

from perennial.adapters.sql.version_numbers import SqlVersionNumbers
from perennial.core.training.capsule import Capsule
from perennial.core.training.data import DataRevision
from perennial.core.training.registration import NewVersion
from perennial.core.version import Change
from perennial.errors import DatasetMissing, ModelFileError, TrackerUnavailable, UnknownVersion
from perennial.flows.training.package import kept_capsule
from perennial.serving.signed_files import read_listed


@dataclass
class Tools:
    tracker: Any
    registry: Any
    folder: Path
    model: str
    damage: Any

    def train(self, content: float = 1.0, **metrics: float) -> NewVersion:
        folder = self.folder / f"made-{content}"
        folder.mkdir(exist_ok=True)
        write_onnx(folder / "model.onnx", content)
        (folder / "manifest.json").write_text("{}")
        digest = signed(folder, self.model, "c" * 64)
        example = np.zeros((2, 3), dtype=np.float32)
        with self.tracker.run(self.model, "training", {"reason": "person"}) as run:
            uri = run.model(folder, None, example, np.zeros(2, dtype=np.float32))
            run.log(metrics=metrics)
        return NewVersion(
            model=self.model,
            run_id=run.run_id,
            model_uri=uri,
            digest=digest,
            capsule="c" * 64,
            change=Change.RETRAINED,
            description="made for a test",
            tags={"architecture": "tiny/1"},
        )


def write_onnx(path: Path, content: float) -> None:
    """features [batch, 3] -> score [batch]: a constant added to the mean."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("Add", ["mean", "constant"], ["score"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
        [helper.make_tensor("constant", TensorProto.FLOAT, [1], [content])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, str(path))


@pytest.fixture(scope="module")
def mlflow_folder(tmp_path_factory):
    """One database for all tests: making its tables takes seconds. Each test has a model of its own."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(params=["memory", "mlflow"])
def tools(request, tmp_path, mlflow_folder):
    model = request.node.name.split("[")[0]
    if request.param == "memory":
        tracker = MemoryTracker()

        def damage(run_id: str) -> None:
            tracker.runs[run_id].served["model.onnx"] = b"something else"

        return Tools(tracker, MemoryRegistry(tracker), tmp_path, model, damage)
    from perennial.adapters.mlflow.registry import MlflowRegistry
    from perennial.adapters.mlflow.tracker import MlflowTracker

    url = f"sqlite:///{mlflow_folder / 'mlflow.db'}"

    def damage(run_id: str) -> None:
        (path,) = mlflow_folder.glob(f"artifacts/{model}/{run_id}/artifacts/served/model.onnx")
        path.write_bytes(b"something else")

    tracker = MlflowTracker(url, mlflow_folder / "artifacts")
    registry = MlflowRegistry(url, SqlVersionNumbers(f"sqlite:///{tmp_path / 'numbers.db'}").take, TRUSTED)
    return Tools(tracker, registry, tmp_path, model, damage)


def test_first_version_is_the_candidate(tools):
    ref = tools.registry.register(tools.train(**{"holdout.roc_auc": 0.7}))
    assert ref.version == "1.0.0"
    found = tools.registry.find(tools.model, "candidate")
    assert found.ref == ref
    assert found.aliases == ("candidate",)
    assert found.metrics["holdout.roc_auc"] == 0.7
    assert found.tags["architecture"] == "tiny/1"
    assert found.tags["lifecycle"] == "staging"
    assert found.tags["digest"] == ref.digest


def test_same_run_again_changes_nothing(tools):
    new = tools.train()
    first = tools.registry.register(new)
    tools.registry.alias(tools.model, "candidate", None)
    tools.registry.tag(tools.model, first.key, {"lifecycle": "production"})
    before = tools.registry.versions(tools.model)
    assert tools.registry.register(new) == first
    assert tools.registry.versions(tools.model) == before


def test_a_variant_is_the_next_patch_of_its_parent_and_leaves_the_candidate(tools):
    for number in range(2):
        tools.registry.register(tools.train(float(number)))
    patches = [
        tools.registry.register(
            tools.train(float(number)).model_copy(
                update={"change": Change.REPACKAGED, "patch_of": "1.0.0", "candidate": False}
            )
        ).version
        for number in (2, 3)
    ]
    assert patches == ["1.0.1", "1.0.2"]
    assert tools.registry.find(tools.model, "candidate").ref.version == "1.1.0"
    assert tools.registry.find(tools.model, "1.0.2").tags["lifecycle"] == "staging"


def test_versions_count_by_what_changed(tools):
    versions = []
    for number, change in enumerate(
        [Change.RETRAINED, Change.RETRAINED, Change.ARCHITECTURE, Change.REPACKAGED]
    ):
        new = tools.train(float(number)).model_copy(update={"change": change})
        versions.append(tools.registry.register(new).version)
    assert versions == ["1.0.0", "1.1.0", "2.0.0", "2.0.1"]
    listed = tools.registry.versions(tools.model)
    assert [one.ref.version for one in listed] == versions
    assert [one.aliases for one in listed] == [(), (), (), ("candidate",)]


def test_found_by_version_key_and_alias(tools):
    ref = tools.registry.register(tools.train())
    tools.registry.alias(tools.model, "champion", ref.key)
    for which in (ref.version, f"key:{ref.key}", "champion"):
        assert tools.registry.find(tools.model, which).ref == ref
    for which in ("9.9.9", "key:99", "nobody"):
        assert tools.registry.find(tools.model, which) is None
    assert tools.registry.find("no_such_model", "champion") is None
    assert tools.registry.versions("no_such_model") == []


def test_alias_moves_and_goes(tools):
    first, second = (tools.registry.register(tools.train(float(number))) for number in (1, 2))
    tools.registry.alias(tools.model, "champion", first.key)
    tools.registry.alias(tools.model, "champion", second.key)
    tools.registry.alias(tools.model, "champion", second.key)
    assert tools.registry.find(tools.model, "champion").ref == second
    tools.registry.alias(tools.model, "champion", None)
    tools.registry.alias(tools.model, "champion", None)
    assert tools.registry.find(tools.model, "champion") is None


def test_alias_and_tag_of_an_unknown_version_are_refused(tools):
    tools.registry.register(tools.train())
    with pytest.raises(UnknownVersion):
        tools.registry.alias(tools.model, "champion", "77")
    with pytest.raises(UnknownVersion):
        tools.registry.tag(tools.model, "77", {"a": "b"})


def test_fetched_files_are_the_registered_ones(tools, tmp_path):
    new = tools.train()
    ref = tools.registry.register(new)
    folder = tools.registry.fetch(ref, tmp_path / "fetched")
    assert read_listed(folder, tools.model)[0] == ref.digest
    assert (folder / "manifest.json").read_text() == "{}"


def test_a_changed_file_is_not_handed_out(tools, tmp_path):
    new = tools.train()
    ref = tools.registry.register(new)
    tools.damage(new.run_id)
    with pytest.raises(ModelFileError):
        tools.registry.fetch(ref, tmp_path / "fetched")
    assert not (tmp_path / "fetched" / "model.onnx").exists()


def test_a_run_has_one_model(tools):
    new = tools.train()
    tools.registry.register(new)
    with pytest.raises(ModelFileError):
        tools.registry.register(new.model_copy(update={"digest": "e" * 64}))


def test_run_can_be_reopened_for_more_metrics(tools):
    new = tools.train()
    tools.registry.register(new)
    with tools.tracker.reopen(new.run_id) as run:
        run.log(metrics={"holdout.brier": 0.2}, curve=[{"train_loss": 1.0}, {"train_loss": 0.5}])
    assert tools.registry.find(tools.model, "candidate").metrics["holdout.brier"] == 0.2


def test_error_marks_the_run_as_failed(tmp_path, mlflow_folder):
    from mlflow import MlflowClient

    from perennial.adapters.mlflow.tracker import MlflowTracker

    url = f"sqlite:///{mlflow_folder / 'mlflow.db'}"
    with pytest.raises(RuntimeError):
        with MlflowTracker(url, mlflow_folder / "artifacts").run("failing", "training", {}) as run:
            raise RuntimeError("the training broke")
    assert MlflowClient(url).get_run(run.run_id).info.status == "FAILED"


def test_nested_runs_datasets_and_artifacts_reach_mlflow(tmp_path, mlflow_folder):
    import pandas as pd
    from mlflow import MlflowClient

    from perennial.adapters.mlflow.tracker import MlflowTracker

    url = f"sqlite:///{mlflow_folder / 'mlflow.db'}"
    tracker = MlflowTracker(url, mlflow_folder / "artifacts")
    revision = DataRevision(revision="a" * 40, files={"m/history.parquet": "b" * 32})
    (tmp_path / "note.txt").write_text("hello")
    with tracker.run("lineage", "training", {}) as run:
        run.dataset(revision, pd.DataFrame({"x": [1.0, 2.0]}), "training")
        run.artifact(tmp_path / "note.txt", "notes")
        with tracker.run("lineage", "trial 0", {"pruned": "true"}, parent=run.run_id) as nested:
            nested.log(params={"width": 32})
    client = MlflowClient(url)
    assert client.get_run(nested.run_id).data.tags["mlflow.parentRunId"] == run.run_id
    told = client.get_run(run.run_id)
    assert told.info.status == "FINISHED"
    (dataset,) = told.inputs.dataset_inputs
    assert revision.revision in dataset.dataset.source
    assert [one.path for one in client.list_artifacts(run.run_id, "notes")] == ["notes/note.txt"]


def test_files_of_a_run_come_back_folder_by_folder(tools, tmp_path):
    plots = tmp_path / "plots"
    plots.mkdir()
    (plots / "b.png").write_bytes(b"picture")
    (plots / "a.json").write_text("{}")
    (tmp_path / "top.json").write_text("[]")
    with tools.tracker.run(tools.model, "training", {}) as run:
        run.artifact(plots, "evaluation")
        run.artifact(tmp_path / "top.json")
    found = tools.tracker.files(run.run_id, "evaluation", tmp_path / "into")
    assert found == [tmp_path / "into" / "a.json", tmp_path / "into" / "b.png"]
    assert found[1].read_bytes() == b"picture"
    assert [one.name for one in tools.tracker.files(run.run_id, "", tmp_path / "top")] == ["top.json"]
    assert tools.tracker.files(run.run_id, "nothing", tmp_path / "none") == []


def test_a_server_that_is_away_is_told_quickly():
    from perennial.adapters.mlflow.registry import MlflowRegistry
    from perennial.adapters.mlflow.tracker import MlflowTracker

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(TrackerUnavailable, match="does not answer"):
        MlflowRegistry(url).find("m", "champion")
    with pytest.raises(TrackerUnavailable):
        MlflowTracker(url, Path("unused")).run("m", "training", {})


def test_killed_between_version_and_alias_it_is_finished_by_the_next_call(tmp_path, mlflow_folder):
    from perennial.adapters.mlflow.registry import MlflowRegistry
    from perennial.adapters.mlflow.tracker import MlflowTracker

    url = f"sqlite:///{mlflow_folder / 'mlflow.db'}"
    registry = MlflowRegistry(url, SqlVersionNumbers(f"sqlite:///{tmp_path / 'numbers.db'}").take)
    tools = Tools(MlflowTracker(url, mlflow_folder / "artifacts"), registry, tmp_path, "killed", None)
    new = tools.train()
    ref = registry.register(new)
    # The state after a kill right behind the creation of the version.
    registry.alias("killed", "candidate", None)
    registry.tag("killed", ref.key, {"lifecycle": "development"})
    assert registry.register(new) == ref
    found = registry.find("killed", "candidate")
    assert found.ref == ref
    assert found.tags["lifecycle"] == "staging"
    assert len(registry.versions("killed")) == 1


def test_capsule_as_the_training_kept_it(tools):
    new = tools.train()
    capsule = Capsule(
        code="a" * 40,
        data={"m/examples.parquet": "5" * 32},
        source="simulator",
        features="f",
        spec="s",
        parameters={"width": 32, "rate": 0.001, "epochs": 3, "name": "x"},
        constraints="c",
        model=new.digest,
    )
    (tools.folder / "capsule.json").write_text(capsule.model_dump_json())
    tools.tracker.reopen(new.run_id).artifact(tools.folder / "capsule.json")
    tools.registry.register(new)
    found = kept_capsule(tools.registry.find(tools.model, "candidate"), tools.tracker)
    assert (found, found.hash) == (capsule, capsule.hash)


def test_run_without_a_capsule(tools):
    tools.registry.register(tools.train())
    with pytest.raises(DatasetMissing, match="capsule"):
        kept_capsule(tools.registry.find(tools.model, "candidate"), tools.tracker)
