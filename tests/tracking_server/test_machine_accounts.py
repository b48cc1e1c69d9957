"""The machines' accounts can do their work through the real adapters, and no more."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from signing import signed

from perennial.core.governance.identity import Role
from perennial.core.training.registration import NewVersion
from perennial.core.training.variants import VARIANT_KEY, VARIANT_OF, VARIANT_RECIPE
from perennial.core.version import Change
from perennial.errors import SettingsError, TrackerRefused
from perennial.settings import Settings
from perennial.wiring import accounts, versions
from perennial.wiring import training as training_wiring

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]
NAMES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")


@pytest.fixture
def no_account(monkeypatch):
    """This process is nobody yet, and nobody again afterwards."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # so that what a test signs in as is taken back
        monkeypatch.delenv(name)
    monkeypatch.setattr(accounts, "_OURS", {})

    def forget() -> None:
        accounts._OURS.clear()
        for name in NAMES:
            os.environ.pop(name, None)

    return forget


def trained(settings: Settings, folder: Path, model: str = "by_training") -> NewVersion:
    """A run with a served model of one constant, logged by the training account."""
    import onnx
    from onnx import TensorProto, helper

    folder.mkdir()
    nodes = [helper.make_node("ReduceMean", ["features"], ["score"], axes=[1], keepdims=0)]
    graph = helper.make_graph(
        nodes, "tiny",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 9
    onnx.save(made, str(folder / "model.onnx"))
    digest = signed(folder, model, "c" * 64)
    example = np.zeros((2, 3), dtype=np.float32)
    with training_wiring.tracker(settings).run(model, "training", {}) as run:
        uri = run.model(folder, None, example, np.zeros(2, dtype=np.float32))
        run.log(metrics={"holdout.roc_auc": 0.7})
    return NewVersion(
        model=model,
        run_id=run.run_id,
        model_uri=uri,
        digest=digest,
        capsule="c" * 64,
        change=Change.RETRAINED,
        description="made for a test",
        tags={"architecture": "tiny/1"},
    )


def test_training_registers_and_the_release_machine_moves_the_aliases(mlflow_server, tmp_path, no_account):
    settings = mlflow_server.settings
    made = trained(settings, tmp_path / "made")
    assert versions.registry(settings).find(made.model, "champion") is None, "the first training asks, too"
    assert versions.registry(settings).find(made.model, "1.0.0") is None
    ref = versions.registry(settings).register(made)
    assert versions.registry(settings).find(made.model, "champion") is None
    training = versions.labels(settings)
    with pytest.raises(TrackerRefused, match="the account training"):
        training.alias(ref.model, "champion", ref.key)
    with pytest.raises(TrackerRefused, match="role approver"):
        training.tag(ref.model, ref.key, {"approval": "approved"})
    with pytest.raises(SettingsError, match="cannot become release"):
        versions.registry(settings, Role.RELEASE)
    no_account()
    machine = versions.labels(settings, Role.RELEASE)
    machine.tag(
        ref.model, ref.key, {"approval": "waiting", "gate.roc_auc": "PASS", "lifecycle": "production"}
    )
    machine.alias(ref.model, "champion", ref.key)
    machine.alias(ref.model, "candidate", None)
    found = versions.registry(settings, Role.RELEASE).find(ref.model, "champion")
    assert (found.ref, found.aliases, found.tags["approval"]) == (ref, ("champion",), "waiting")
    assert found.metrics["holdout.roc_auc"] == 0.7
    with pytest.raises(TrackerRefused, match="role approver"):
        machine.tag(ref.model, ref.key, {"approval": "approved"})


def test_training_registers_a_variant_and_proposes_it(mlflow_server, tmp_path, no_account):
    settings, name = mlflow_server.settings, "with_variants"
    registry, labels = versions.registry(settings), versions.labels(settings)
    parent = registry.register(trained(settings, tmp_path / "parent", name))
    tags = {VARIANT_OF: parent.digest, VARIANT_RECIPE: "fp16", VARIANT_KEY: "k" * 64}
    new = trained(settings, tmp_path / "variant", name).model_copy(
        update={"tags": tags, "change": Change.REPACKAGED, "patch_of": parent.version, "candidate": False}
    )
    variant = registry.register(new)
    assert variant.version == "1.0.1"
    assert registry.find(name, "candidate").ref == parent
    labels.alias(name, "candidate", variant.key)
    assert registry.find(name, "candidate").ref == variant
    with pytest.raises(TrackerRefused, match="never changed"):
        labels.tag(name, variant.key, {VARIANT_OF: "f" * 64})


def test_a_wrong_password_is_told_as_such(mlflow_server, no_account, monkeypatch):
    monkeypatch.setenv(NAMES[0], "training")
    monkeypatch.setenv(NAMES[1], "not the password")
    with pytest.raises(TrackerRefused, match="refuses the account training"):
        versions.registry(mlflow_server.settings).find("by_training", "1.0.0")


def test_the_environment_says_who_a_process_is(mlflow_server, no_account, monkeypatch):
    """As a training on another machine is told: there is no accounts file."""
    monkeypatch.setenv(NAMES[0], "vic")
    monkeypatch.setenv(NAMES[1], mlflow_server.accounts["vic"].password)
    elsewhere = Settings(home=mlflow_server.settings.state / "nowhere", tracking_url=mlflow_server.url)
    assert versions.registry(elsewhere, Role.RELEASE).find("nobody", "1.0.0") is None
    monkeypatch.delenv(NAMES[0])
    with pytest.raises(SettingsError, match="there are no accounts"):
        versions.registry(elsewhere)
