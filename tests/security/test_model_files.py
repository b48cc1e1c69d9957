"""A model file is a foreign program: what loops, eats memory, or brings code of its own is never loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hostile_models import FEATURES, SCORE, constant, endless, saved
from onnx import TensorProto, helper
from signing import TRUSTED, signed
from tiny_models import tiny_version

from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.errors import ModelFileError
from perennial.model_probe import ModelTrials, model_problem, probe
from perennial.model_trial import Trial, operator_problem
from perennial.serving import session
from perennial.serving.desired_state import DesiredVersion


def mean(path: Path) -> Path:
    return saved(path, [helper.make_node("ReduceMean", ["features"], ["score"], axes=[1], keepdims=0)])


def huge(path: Path, size: int = 1_600_000_000) -> Path:
    nodes = [
        helper.make_node("ConstantOfShape", ["n"], ["big"]),
        helper.make_node("ReduceSum", ["big", "axes"], ["zero"], keepdims=0),
        helper.make_node("ReduceMean", ["features"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Add", ["m", "zero"], ["score"]),
    ]
    return saved(path, nodes, [constant("n", np.array([size])), constant("axes", np.array([0]))])


def huge_by_input(path: Path) -> Path:
    """The size of what it allocates is in the request: 0 rows of memory for zeros, gigabytes for 1e30."""
    nodes = [
        helper.make_node("ReduceMax", ["features"], ["top"], keepdims=0),
        helper.make_node("Abs", ["top"], ["size"]),
        helper.make_node("Min", ["size", "cap"], ["capped"]),
        helper.make_node("Cast", ["capped"], ["n"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["n", "one"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["big"]),
        helper.make_node("ReduceSum", ["big", "axes"], ["zero"], keepdims=0),
        helper.make_node("ReduceMean", ["features"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Add", ["m", "zero"], ["score"]),
    ]
    given = [
        constant("cap", np.float32(2e9)),
        constant("one", np.array([1])),
        constant("axes", np.array([0])),
    ]
    return saved(path, nodes, given)


def test_a_sound_model_passes_and_says_what_it_took(tmp_path):
    found = probe(mean(tmp_path / "model.onnx"))
    assert found.problem == ""
    assert 0 < found.peak_bytes < 1 << 30


@pytest.mark.parametrize("make", [endless, huge, huge_by_input])
def test_neither_endless_nor_huge_models_get_through(tmp_path, make):
    path = make(tmp_path / "model.onnx")
    assert path.stat().st_size < 1000, "small files"
    onnx.checker.check_model(str(path))  # which finds nothing wrong with them
    found = probe(path, memory_bytes=2 << 30)
    assert found.problem
    assert found.peak_bytes < 3 << 30


@pytest.mark.slow
def test_a_model_that_only_takes_long_is_ended(tmp_path):
    """Without the list of operators: the clock ends it."""
    size = constant("w", np.ones((2000, 2000), np.float32))
    nodes = [helper.make_node("MatMul", ["w", "w"], ["x0"])]
    nodes += [helper.make_node("MatMul", [f"x{n}", "w"], [f"x{n + 1}"]) for n in range(400)]
    nodes += [
        helper.make_node("ReduceMean", ["x400"], ["zero"], keepdims=0),
        helper.make_node("ReduceMean", ["features"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Add", ["m", "zero"], ["score"]),
    ]
    found = probe(saved(tmp_path / "model.onnx", nodes, [size]), cpu_seconds=4, wall_seconds=8)
    assert "does not finish" in found.problem or "ended the process" in found.problem


def test_control_flow_and_chance_are_found_inside_functions_too():
    inner = helper.make_node("RandomUniformLike", ["x"], ["y"])
    function = helper.make_function("mine", "f", ["x"], ["y"], [inner], [helper.make_opsetid("", 17)])
    call = helper.make_node("f", ["features"], ["score"], domain="mine")
    graph = helper.make_graph([call], "g", [FEATURES], [SCORE])
    model = helper.make_model(graph, functions=[function])
    assert "RandomUniformLike" in operator_problem(model)
    foreign = helper.make_graph(
        [helper.make_node("Run", ["features"], ["score"], domain="evil")], "g", [FEATURES], [SCORE]
    )
    assert "evil" in operator_problem(helper.make_model(foreign))


def test_weights_in_another_file_are_not_read(tmp_path):
    (tmp_path / "secret").write_bytes(np.ones(3, np.float32).tobytes())
    weights = constant("w", np.ones(3, np.float32))
    path = saved(tmp_path / "model.onnx", [
        helper.make_node("Mul", ["features", "w"], ["x"]),
        helper.make_node("ReduceMean", ["x"], ["score"], axes=[1], keepdims=0),
    ], [weights])  # fmt: skip
    model = onnx.load(str(path))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "secret")
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    assert "another file" in probe(path).problem


def test_no_model_at_all(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no model")
    assert probe(path).problem


def test_neither_a_scorer_nor_a_server_opens_an_endless_model(tmp_path):
    ref, files = tiny_version(tmp_path, "tiny", "1.0.0", 0.0)
    endless(files / "model.onnx")
    digest = signed(files, "tiny")
    with pytest.raises(ModelFileError, match="not allowed: Loop"):
        OnnxScorer(model_problem).score(files, np.zeros((1, 3), np.float32))
    wanted = DesiredVersion.of(ref.model_copy(update={"digest": digest}))
    with pytest.raises(ModelFileError, match="not allowed: Loop"):
        session.load(wanted, files, TRUSTED, model_problem)


def test_what_ends_its_child_touches_no_other_trial(tmp_path):
    """Every file has a child of its own, and what is started for them starts again."""
    trials = ModelTrials()
    sound, large = mean(tmp_path / "sound.onnx"), huge(tmp_path / "huge.onnx")
    try:
        assert trials.probe(Trial(str(sound))).problem == ""
        assert trials.probe(Trial(str(large), cpu_seconds=0)).problem
        assert trials.probe(Trial(str(sound))).problem == ""
        trials.stop()
        assert trials.probe(Trial(str(sound))).problem == ""
    finally:
        trials.stop()
