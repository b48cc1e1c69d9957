"""The execution provider of a server: the one that was asked for, or an error; never the CPU in silence."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import EPFail
from signing import TRUSTED, signed
from tiny_models import WIDTH, tiny_version

from perennial.cli import main
from perennial.errors import ModelFileError, SettingsError
from perennial.serving import session
from perennial.serving.desired_state import DesiredVersion
from perennial.serving.onnx import Execution, engine_folder, execution_of, open_session
from perennial.settings import Settings

MISSING = [name for name, known in (("cuda", "CUDAExecutionProvider"), ("tensorrt", "TensorrtExecutionProvider"))
           if known not in onnxruntime.get_available_providers()]  # fmt: skip


@pytest.mark.parametrize("provider", MISSING)
def test_a_provider_that_is_not_here_is_an_error_that_says_what_to_install(tmp_path, provider):
    _, files = tiny_version(tmp_path, "m", "1.0.0", 0.0)
    path = files / "model.onnx"
    for open_one in (
        lambda: open_session(path.read_bytes(), path, Execution(provider)),
        lambda: execution_of(Settings(project=tmp_path, provider=provider)),
    ):
        with pytest.raises(SettingsError, match=f"'{provider}' is not here") as caught:
            open_one()
        assert "install onnxruntime-gpu" in caught.value.hint


def test_a_session_that_fell_back_is_refused(tmp_path, monkeypatch):
    """ONNX Runtime was built for the GPU, but cannot start it: it warns, and runs on the CPU."""
    _, files = tiny_version(tmp_path, "m", "1.0.0", 0.0)
    path = files / "model.onnx"
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    with pytest.raises(SettingsError, match=r"loaded with \['CPUExecutionProvider'\]"):
        open_session(path.read_bytes(), path, Execution("cuda"))


def test_a_version_made_for_one_provider_is_loaded_on_no_other(tmp_path):
    ref, files = tiny_version(tmp_path, "m", "1.0.0", 0.0)
    manifest = files / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "provider": "tensorrt"}))
    wanted = DesiredVersion(**{**ref.model_dump(), "digest": signed(files, "m")})
    with pytest.raises(ModelFileError, match="needs tensorrt, this server runs on cpu") as caught:
        session.load(wanted, files, TRUSTED, lambda model: "")
    assert "PERENNIAL_PROVIDER=tensorrt" in caught.value.hint


def test_an_engine_is_kept_by_gpu_and_library():
    folder = engine_folder(Path("engines"), "NVIDIA H200, 570.1")
    assert folder.name == f"NVIDIA-H200--570.1-onnxruntime-{onnxruntime.__version__}"


def test_an_unknown_provider_or_device_is_a_wrong_setting(monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_PROVIDER", "gpu")
    assert main(["models", "list"]) == 11
    assert "PERENNIAL_PROVIDER" in capsys.readouterr().err


def test_training_without_the_device_is_an_error(monkeypatch):
    torch = pytest.importorskip("torch")
    from perennial.models.device import training_device

    assert training_device().type == "cpu"
    monkeypatch.setenv("PERENNIAL_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SettingsError, match="PERENNIAL_DEVICE is cuda"):
        training_device()


def test_a_provider_that_fails_at_a_request_is_not_replaced_by_the_cpu(tmp_path, monkeypatch):
    """By default a session of ONNX Runtime opens itself again on the CPU, and prints that."""
    _, files = tiny_version(tmp_path, "m", "1.0.0", 0.0)
    path = files / "model.onnx"
    opened = open_session(path.read_bytes(), path)

    class Broken:
        def run(self, *given):
            raise EPFail("the GPU is gone")

        def __getattr__(self, name):
            return getattr(inner, name)

    inner = opened._sess
    monkeypatch.setattr(opened, "_sess", Broken())
    with pytest.raises(EPFail, match="the GPU is gone"):
        opened.run(["score"], {"features": np.zeros((1, WIDTH), np.float32)})


def test_a_model_of_which_nothing_runs_on_the_provider_is_refused(tmp_path, monkeypatch):
    """The GPU is there, and ONNX Runtime has left every operator to the CPU, as of trees."""
    _, files = tiny_version(tmp_path, "m", "1.0.0", 0.0)
    path = files / "model.onnx"
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    placed = SimpleNamespace(ep_name="CPUExecutionProvider", get_nodes=lambda: [None])
    opened = SimpleNamespace(get_providers=lambda: both, get_provider_graph_assignment_info=lambda: [placed])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: both)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *given, **named: opened)
    with pytest.raises(ModelFileError, match="none of its operators runs on CUDAExecutionProvider"):
        open_session(path.read_bytes(), path, Execution("cuda"))
    placed.ep_name = "CUDAExecutionProvider"
    assert open_session(path.read_bytes(), path, Execution("cuda")) is opened
