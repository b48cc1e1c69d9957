"""Files that somebody hands over as a finished model: what could run code, or take the machine, is refused."""

from __future__ import annotations

import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from foreign.pipelines import wine
from hostile_models import constant, endless, saved
from onnx import TensorProto, helper

from perennial.adapters.importing import mlflow_model, unsafe_files
from perennial.adapters.importing.onnx_model import OnnxModel
from perennial.adapters.importing.served_form import served_form
from perennial.adapters.importing.skops_model import SkopsModel
from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.tasks import Binary
from perennial.errors import DatasetMissing, ModelFileError
from perennial.model_probe import model_problem

TASK = Binary(threshold=0.5, positive="yes", negative="no")


class Bomb:
    def __reduce__(self):
        return (os.system, ("touch /tmp/perennial-was-here",))


PICKLE = pickle.dumps(Bomb())
OLD_PICKLE = pickle.dumps(Bomb(), protocol=0)


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["m.pkl", "m.pickle", "m.joblib", "m.pt", "m.pth", "m.bin", "m.ckpt", "m.PKL", "m.npy"]
)
def test_a_pickle_is_refused_by_its_name(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"harmless")
    with pytest.raises(ModelFileError, match="pickle"):
        unsafe_files.format_of(path)


@pytest.mark.parametrize("name", ["m.onnx", "m.safetensors", "m.skops"])
@pytest.mark.parametrize("content", [PICKLE, OLD_PICKLE])
def test_a_pickle_is_refused_under_any_name(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        unsafe_files.format_of(path)


@pytest.mark.parametrize(
    "members",
    [
        {"schema.json": b"{}", "data.pkl": b"x"},
        {"schema.json": b"{}", "0": PICKLE},
        {"schema.json": b"{}", "inner.zip": b"PK\x03\x04"},
        {"schema.json": b"{}", "0": b"PK\x03\x04"},
        {"0.npy": b"\x80\x04."},
    ],
)
def test_a_pickle_inside_an_archive_is_refused(tmp_path, members):
    with pytest.raises(ModelFileError, match="pickle"):
        unsafe_files.format_of(archive(tmp_path / "m.skops", **members))


def test_an_archive_behind_a_sound_model_is_refused(tmp_path):
    path = wine(tmp_path).onnx(tmp_path / "m.onnx")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("data.pkl", PICKLE)
    with pytest.raises(ModelFileError, match="archive"):
        unsafe_files.format_of(path)


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unsafe_files, "LARGEST_MEMBERS", 1 << 20)
    with zipfile.ZipFile(tmp_path / "m.skops", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("0.npy", bytes(2 << 20))
    with pytest.raises(ModelFileError, match="too much"):
        unsafe_files.format_of(tmp_path / "m.skops")


def test_links_folders_and_large_files_are_refused(tmp_path, monkeypatch):
    path = wine(tmp_path).onnx(tmp_path / "m.onnx")
    (tmp_path / "link.onnx").symlink_to(path)
    (tmp_path / "folder.onnx").mkdir()
    for name in ("link.onnx", "folder.onnx", "nothing.onnx"):
        with pytest.raises(DatasetMissing):
            unsafe_files.format_of(tmp_path / name)
    monkeypatch.setattr(unsafe_files, "LARGEST_BYTES", 100)
    with pytest.raises(ModelFileError, match="MiB"):
        unsafe_files.format_of(path)


def foreign(path: Path) -> Path:
    node = helper.make_node("Run", ["features"], ["score"], domain="evil")
    return saved(path, [node], opsets=(("", 17), ("evil", 1)))


def elsewhere(path: Path) -> Path:
    saved(path, [
        helper.make_node("Mul", ["features", "w"], ["x"]),
        helper.make_node("ReduceMean", ["x"], ["score"], axes=[1], keepdims=0),
    ], [constant("w", np.ones(3, np.float32))])  # fmt: skip
    model = onnx.load(str(path))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "/etc/passwd")
    model.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def one_row(path: Path) -> Path:
    saved(path, [helper.make_node("ReduceMean", ["features"], ["score"], axes=[1], keepdims=0)])
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    path.write_bytes(model.SerializeToString())
    return path


def image(path: Path) -> Path:
    value = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3, 8, 8])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])
    node = helper.make_node("ReduceMean", ["features"], ["score"], axes=[1, 2, 3], keepdims=0)
    model = helper.make_model(helper.make_graph([node], "g", [value], [score]),
                              opset_imports=[helper.make_opsetid("", 17)])  # fmt: skip
    model.ir_version = 9
    path.write_bytes(model.SerializeToString())
    return path


def nothing(path: Path) -> Path:
    path.write_bytes(b"\x08\x09")
    return path


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (endless, "not allowed: Loop"),
        (foreign, "evil|no sound ONNX model"),
        (elsewhere, "another file"),
        (one_row, "exactly 1 rows|does not run"),
        (image, "no column and no matrix"),
        (nothing, "no sound ONNX model"),
    ],
)
def test_a_hostile_or_unfit_graph_is_refused_before_it_is_loaded_here(tmp_path, make, said):
    with pytest.raises(ModelFileError, match=said):
        OnnxModel(make(tmp_path / "m.onnx"), model_problem)


def test_names_of_a_graph_cannot_take_the_place_of_ours(tmp_path):
    """A tensor named like those around the given graph keeps its own meaning."""
    nodes = [
        helper.make_node("Neg", ["features"], ["columns_in_order"]),
        helper.make_node("Sigmoid", ["columns_in_order"], ["as_float"]),
        helper.make_node("ReduceMean", ["as_float"], ["score"], axes=[1], keepdims=0),
    ]
    path = saved(tmp_path / "m.onnx", nodes)
    inputs = {name: InputSpec(type=InputKind.FLOAT, missing="allow") for name in ("b", "a", "c")}
    model, rows = OnnxModel(path, model_problem), np.array([[1, 2, 3], [0, -1, 5]], np.float32)
    content, outputs = model.convert(inputs, rows, TASK)
    served = served_form(content, inputs, ("a", "b", "c"), outputs, TASK, None, None)
    import onnxruntime

    session = onnxruntime.InferenceSession(served.onnx, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"features": rows[:, [1, 0, 2]]})
    assert answer == pytest.approx((1 / (1 + np.exp(rows))).mean(axis=1), abs=1e-6)


@pytest.mark.slow
def test_a_skops_file_with_foreign_types_is_read_by_nobody(tmp_path):
    import skops.io

    skops.io.dump(wine(tmp_path).model, path := tmp_path / "m.skops")
    with zipfile.ZipFile(path) as file:
        schema = json.loads(file.read("schema.json"))
    schema |= {"__class__": "system", "__module__": "posix", "__loader__": "FunctionNode",
               "content": {"module_path": "posix", "function": "system"}}  # fmt: skip
    archive(path, **{"schema.json": json.dumps(schema).encode()})
    for trust in ((), ("posix.system",)):
        with pytest.raises(ModelFileError, match=r"not trusted|cannot be read"):
            SkopsModel(path, trust)


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"{}", struct.pack("<Q", 1 << 60), struct.pack("<Q", 2) + b"{}"])
def test_a_damaged_safetensors_file(tmp_path, content):
    from perennial.models.safetensors_model import SafetensorsModel

    (tmp_path / "m.safetensors").write_bytes(content)
    with pytest.raises(ModelFileError):
        SafetensorsModel(tmp_path / "m.safetensors")


@pytest.mark.parametrize("data", ["../../secret.onnx", "/etc/passwd", "nothing.onnx", 7, None])
def test_a_description_in_mlflow_names_no_file_outside_of_the_model(tmp_path, data):
    (tmp_path / "secret.onnx").write_bytes(b"x")
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    with pytest.raises(ModelFileError):
        mlflow_model.flavour(
            "models:/m/1", folder, {"flavors": {"onnx": {"data": data}, "python_function": {}}}
        )
