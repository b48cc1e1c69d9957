"""The model of the benchmark and its feature store, on the disk as a model server finds them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from signing import signed

from perennial.adapters.feast.features import FeastFeatures
from perennial.core.spec import ModelSpec
from perennial.history.prepare import prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.serving import desired_state
from perennial.settings import Settings

WIDTH = 64
TESTS = 200
"""Tests in the feature store."""
MODEL = "test_failure_predictor"


def make_version(spec: ModelSpec, folder: Path) -> str:
    """Write a network with a hidden layer of 64 and random weights; return its digest."""
    folder.mkdir(parents=True)
    random, names = np.random.default_rng(0), list(spec.features.names)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    # A missing value is NaN for the model: it counts as zero.
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["known"]),
        helper.make_node("Gemm", ["known", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["share"]),
        helper.make_node("Squeeze", ["share", "axes"], ["score"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((), np.float32), "zero"),
        numpy_helper.from_array(np.array([1]), "axes"),
        weights("w1", len(names), WIDTH), weights("b1", WIDTH), weights("w2", WIDTH, 1), weights("b2", 1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", len(names)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    manifest = {
        "format": 1, "model": MODEL, "capsule": "benchmark", "input": "features", "output": "score",
        "feature_service": spec.features.service, "entities": list(spec.features.entities),
        "request": spec.features.request, "features": names, "threshold": 0.5,
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return signed(folder, MODEL, "benchmark")


def furnish(spec: ModelSpec, settings: Settings) -> tuple[Path, list[str]]:
    """Publish features, and ask the stable pool for the version.

    Returns:
        The folder of the version, and the tests in the feature store.
    """
    version = settings.home / "version"
    digest = make_version(spec, version)
    store = desired_state.version_folder(settings.serving_dir, digest)
    store.parent.mkdir(parents=True)
    store.symlink_to(version)
    wanted = desired_state.DesiredVersion(
        model=MODEL, version="1.0.0", key="1", digest=digest, capsule="benchmark"
    )
    state = desired_state.DesiredState(generation=1, models=(wanted,))
    desired_state.write(desired_state.state_file(settings.serving_dir, "stable"), state)
    return version, publish(spec, settings)


def publish(spec: ModelSpec, settings: Settings) -> list[str]:
    """Publish features to the online store of the settings; return the tests."""
    history = simulate(SimulationScenario(cycles=10, tests=TESTS))
    features = FeastFeatures(
        settings.shipped("feature_repo"),
        settings.feast_dir,
        lambda: [spec],
        online_store=settings.online_store,
    )
    features.publish(prepare(history).views)
    return sorted(set(history["test_id"]))


def processor() -> str:
    """Return the name of the processor."""
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else "unknown processor"
