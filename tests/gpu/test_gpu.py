"""What runs on a GPU: serving on CUDA and TensorRT, the TensorRT variant, training. Skipped without one."""

from __future__ import annotations

import subprocess

import numpy as np
import onnxruntime
import pytest

from perennial.errors import ModelFileError
from perennial.serving.onnx import CUDA, ON_CPU, QUERY, TENSORRT, Execution, open_session

pytestmark = pytest.mark.gpu
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def gpu() -> str:
    """The name of the GPU."""
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no NVIDIA GPU on this machine")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is not installed")
    return answer.stdout.splitlines()[0]


@pytest.fixture(scope="module")
def tensorrt_here(gpu) -> str:
    if "TensorrtExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime was built without TensorRT")
    pytest.importorskip("tensorrt")
    return gpu


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(64, len(NAMES))).astype(np.float32)


@pytest.fixture(scope="module")
def network(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("network") / "model.onnx"
    trained(rows).export(path)
    return path


def trained(rows):
    from perennial.core.tasks import Ranking
    from perennial.models.base import Examples
    from perennial.models.templates.table_network import TableNetwork

    parameters = {
        "width": 32,
        "layers": 1,
        "bins": 4,
        "dropout": 0.0,
        "learning_rate": 5e-3,
        "weight_decay": 1e-3,
    }
    model = TableNetwork(NAMES, parameters, 7, Ranking(kind="ranking", threshold=0.5))
    target = (rows[:, 0] > 0).astype(np.float32)
    model.fit(Examples(rows, target, np.arange(len(rows))), None, 5, lambda *_: None)
    return model


def answers(path, rows, execution=ON_CPU):
    return open_session(path.read_bytes(), path, execution).run(None, {"features": rows})[0]


def test_a_network_answers_alike_on_cuda(gpu, network, rows):
    assert np.abs(answers(network, rows, Execution(CUDA)) - answers(network, rows)).max() < 1e-3


def test_trees_do_not_run_on_cuda_and_are_refused(gpu, tmp_path, rows):
    from skl2onnx import to_onnx
    from sklearn.tree import DecisionTreeRegressor

    path = tmp_path / "tree.onnx"
    tree = DecisionTreeRegressor(max_depth=2).fit(rows, rows[:, 0])
    path.write_bytes(to_onnx(tree, rows[:1]).SerializeToString())
    with pytest.raises(ModelFileError, match="none of its operators runs on CUDAExecutionProvider"):
        open_session(path.read_bytes(), path, Execution(CUDA))


def test_an_engine_is_built_once_for_this_gpu(tensorrt_here, network, rows, tmp_path):
    execution = Execution(TENSORRT, tmp_path)
    assert np.abs(answers(network, rows, execution) - answers(network, rows)).max() < 1e-2
    (folder,) = tmp_path.iterdir()
    built = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.engine")}
    assert built
    answers(network, rows, execution)
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.engine")} == built


def test_the_variant_is_the_file_of_the_parent_for_tensorrt_alone(tensorrt_here, network, rows, tmp_path):
    from perennial.adapters.variants.tensorrt import tensorrt

    recipe = tensorrt(tmp_path / "engines")
    recipe.convert(network, rows, tmp_path / "made.onnx")
    assert (tmp_path / "made.onnx").read_bytes() == network.read_bytes()
    assert recipe.provider == TENSORRT


def test_training_on_cuda_gives_a_model_like_that_of_the_cpu(gpu, rows, monkeypatch):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch was built without CUDA")
    on_cpu = trained(rows).predict(rows)
    monkeypatch.setenv("PERENNIAL_DEVICE", "cuda")
    model = trained(rows)
    assert next(model.network.parameters()).device.type == "cpu", "what is exported lies where it is served"
    assert np.abs(model.predict(rows) - on_cpu).max() < 0.05
