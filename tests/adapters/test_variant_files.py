"""Converted model files: what becomes smaller, what stays exact, what is refused, and how time is compared."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.tree import DecisionTreeRegressor

from perennial.adapters.variants.conversions import conversions
from perennial.adapters.variants.latency import in_turns
from perennial.core.training.variants import NotMade
from perennial.model_trial import operator_problem

RECIPES = {recipe.name: recipe for recipe in conversions()}
WIDTH = 48


def network(path, scale=1.0, divisor=1.0):
    """features / divisor, two products with a Relu between, and a sigmoid -> score."""
    random = np.random.default_rng(3)
    weights = {
        "first": random.normal(size=(WIDTH, 64)) * 0.2 * scale,
        "second": random.normal(size=(64, 1)) * 0.2,
        "divisor": np.array(divisor),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Div", ["features", "divisor"], ["scaled"]),
            helper.make_node("MatMul", ["scaled", "first"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("MatMul", ["active", "second"], ["raw"]),
            helper.make_node("Sigmoid", ["raw"], ["column"]),
            helper.make_node("Flatten", ["column"], ["score"], axis=0),
        ],
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["one", "batch"])],
        [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


def answers(path, rows):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"features": rows})[0]


@pytest.fixture
def rows():
    return np.random.default_rng(5).normal(size=(200, WIDTH)).astype(np.float32)


@pytest.mark.parametrize(("name", "error"), [("fp16", 2e-3), ("int8-dynamic", 0.05), ("int8-static", 0.05)])
def test_a_conversion_is_smaller_near_the_parent_and_the_same_each_time(tmp_path, rows, name, error):
    parent = network(tmp_path / "model.onnx")
    made = [tmp_path / f"{number}.onnx" for number in range(2)]
    for path in made:
        RECIPES[name].convert(parent, rows, path)
    assert made[0].read_bytes() == made[1].read_bytes()
    assert made[0].stat().st_size < 0.6 * parent.stat().st_size
    assert np.abs(answers(made[0], rows) - answers(parent, rows)).max() < error
    model = onnx.load(str(made[0]))
    onnx.checker.check_model(model)
    assert operator_problem(model) == "", "a server takes its operators"


def test_half_precision_keeps_the_range_of_the_inputs(tmp_path, rows):
    parent, half = network(tmp_path / "model.onnx", divisor=1e6), tmp_path / "half.onnx"
    RECIPES["fp16"].convert(parent, rows, half)
    assert np.abs(answers(half, rows * 1e6) - answers(parent, rows * 1e6)).max() < 2e-3


def test_weights_beyond_half_precision_are_refused(tmp_path, rows):
    with pytest.raises(NotMade, match="largest number of float16"):
        RECIPES["fp16"].convert(network(tmp_path / "model.onnx", scale=1e6), rows, tmp_path / "half.onnx")


@pytest.mark.parametrize("name", list(RECIPES))
def test_trees_have_nothing_to_convert(tmp_path, rows, name):
    tree = DecisionTreeRegressor(max_depth=2).fit(rows, rows[:, 0])
    path = tmp_path / "tree.onnx"
    path.write_bytes(to_onnx(tree, rows[:1]).SerializeToString())
    with pytest.raises(NotMade, match=r"0\.0% of its bytes are weights to multiply by .* TreeEnsemble"):
        RECIPES[name].convert(path, rows, tmp_path / "made.onnx")
    assert not (tmp_path / "made.onnx").exists()


def test_what_a_library_cannot_convert_is_its_reason_and_no_crash(tmp_path, rows):
    with pytest.raises(NotMade, match="cannot be converted"):
        RECIPES["int8-static"].convert(network(tmp_path / "model.onnx"), rows[:, :3], tmp_path / "made.onnx")


def test_times_are_of_the_same_rounds(tmp_path, rows):
    parent = network(tmp_path / "model.onnx")
    before, after = in_turns(parent, parent, rows[:4], rounds=6)
    assert before.shape == after.shape == (6,)
    assert (before > 0).all()
