"""The checks over real files: sound ones pass, and each fault is found by its own rule."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import time
import zipfile

import numpy as np
import onnx
import pandas as pd
import pytest
from hostile_models import endless
from training_world import SPEC, TrainingWorld

from perennial import catalog
from perennial.adapters.fairlearn_groups import group_figures
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.adapters.scanning.file_scan import scan
from perennial.cli import main
from perennial.core.training.artifacts import ModelManifest
from perennial.core.verdict import Verdict
from perennial.errors import ModelFileError
from perennial.flows.evaluation.checks import CheckPorts, check
from perennial.flows.training.workdir import read_record
from perennial.wiring import releasing


@pytest.fixture(scope="module")
def trained_world(tmp_path_factory):
    made = TrainingWorld(tmp_path_factory.mktemp("training"))
    made.release()
    return made


@pytest.fixture
def files(trained_world, tmp_path):
    return shutil.copytree(trained_world.work.model, tmp_path / "files")


def verdicts(files, spec=SPEC):
    return {one.rule: one.verdict for one in releasing.checks(spec, files)}


def changed(**checks):
    spec = SPEC.gate.checks.model_copy(update=checks)
    return SPEC.model_copy(update={"gate": SPEC.gate.model_copy(update={"checks": spec})})


class Bad:
    """A scorer that a test makes misbehave."""

    def __init__(self, answer):
        self.answer = answer

    def score(self, folder, features):
        return self.answer(features)


@pytest.mark.slow
def test_real_version_is_checked_by_every_rule(files):
    found = verdicts(files)
    assert set(found) == {
        "file_scan", "behaviour", "safety", "noise", "missing_values", "fairness_history_length",
    }  # fmt: skip
    assert found["safety"] is Verdict.PASS
    assert found["file_scan"] is Verdict.PASS
    again = [one.model_dump() for one in releasing.checks(SPEC, files)]
    assert again == [one.model_dump() for one in releasing.checks(SPEC, files)]


def test_limits_of_the_spec_count(files):
    assert verdicts(files, changed(noise_change=0.0))["noise"] is Verdict.FAIL
    assert verdicts(files, changed(missing_change=0.0))["missing_values"] is Verdict.FAIL


def test_no_number_and_crash_are_unsafe(files, monkeypatch):
    monkeypatch.setattr("perennial.wiring.releasing.scorer", lambda: Bad(lambda rows: rows.sum(axis=1)))
    assert verdicts(files)["safety"] is Verdict.FAIL

    monkeypatch.setattr(
        "perennial.wiring.releasing.scorer", lambda: Bad(lambda rows: np.ones((len(rows), 3)))
    )
    found = verdicts(files)
    assert (found["safety"], found["behaviour"]) == (Verdict.FAIL, Verdict.FAIL), "another shape"

    def crash(rows):
        raise ModelFileError("it fails", hint="")

    monkeypatch.setattr("perennial.wiring.releasing.scorer", lambda: Bad(crash))
    found = verdicts(files)
    assert (found["safety"], found["behaviour"]) == (Verdict.FAIL, Verdict.FAIL)


def test_model_that_learnt_the_wrong_way_round_fails_its_behaviour(files, monkeypatch):
    place = SPEC.features.names.index("failure_rate")
    monkeypatch.setattr(
        "perennial.wiring.releasing.scorer",
        lambda: Bad(lambda rows: 1 - np.nan_to_num(rows[:, place], nan=0.5)),
    )
    assert verdicts(files)["behaviour"] is Verdict.FAIL


def test_a_model_that_loops_for_ever_fails_within_the_limit_of_time(files):
    """A file that got past the scan: each rule that scores it fails after half a second, and the checks end."""
    endless(files / "model.onnx", len(SPEC.features.names))
    cases = releasing.entrypoint(SPEC.gate.behaviour, SPEC)
    begun = time.monotonic()
    found = check(
        SPEC, files, CheckPorts(OnnxScorer(seconds=0.5), lambda folder: ([], 1), cases, group_figures)
    )
    assert time.monotonic() - begun < 60
    assert {one.rule: one.verdict for one in found} == {
        "file_scan": Verdict.PASS, "behaviour": Verdict.FAIL, "safety": Verdict.FAIL
    }  # fmt: skip
    assert all("does not end within 0.5 s on these rows" in one.observed for one in found[1:])


def test_reference_that_is_missing_or_too_old_is_an_error(files):
    path = files / "reference.parquet"
    pd.read_parquet(path).drop(columns="history_length").to_parquet(path)
    assert verdicts(files)["fairness_history_length"] is Verdict.ERROR
    path.unlink()
    assert verdicts(files)["robustness"] is Verdict.ERROR


def test_column_that_somebody_protects(files):
    """Groups of the reference rows: one that is wrong far more often fails, one too small asks a person."""
    path, spec = (
        files / "reference.parquet",
        SPEC.model_copy(update={"data": SPEC.data.model_copy(update={"sensitive": ("team",)})}),
    )
    rows = pd.read_parquet(path)
    wrong = (rows["score"] >= SPEC.task.threshold) != (rows["failed"] >= 0.5)
    rows.assign(team=np.where(wrong, "unlucky", "lucky")).to_parquet(path)
    assert rows["cycle"].nunique() >= SPEC.gate.fairness.min_groups
    assert wrong.sum() >= SPEC.evaluation.slice_min_rows
    assert verdicts(files, spec)["fairness_team"] is Verdict.FAIL
    rows.assign(team=np.where(np.arange(len(rows)) < 3, "small", "large")).to_parquet(path)
    assert verdicts(files, spec)["fairness_team"] is Verdict.UNSURE


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps([1]))
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def polyglot() -> bytes:
    """Sound JSON for who reads from the start, an archive with a pickle for who reads from the end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    return b"{}\n" + buffer.getvalue()


def foreign() -> bytes:
    node = onnx.helper.make_node("Run", ["x"], ["y"], domain="somebody.else")
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    graph = onnx.helper.make_graph([node], "g", sides[:1], sides[1:])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("somebody.else", 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("weights.pkl", pickle.dumps([1]), "pickle"),
        ("manifest2.json", pickle.dumps([1]), "pickle"),
        ("evil.pkl", pickle.dumps(Evil()), "system (dangerous)"),
        ("evil.json", pickle.dumps(Evil(), protocol=0), "system (dangerous)"),
        ("both.json", polyglot(), "system (dangerous)"),
        ("weights.onnx", b"7z\xbc\xaf\x27\x1c", "archive"),
        ("old.json", pickle.dumps([1], protocol=0), "no JSON"),
        ("archive.onnx", zipped(), "archive"),
        ("code.py", b"print()", "not allowed"),
        ("bad.onnx", b"not a model at all", "no sound ONNX"),
        ("foreign.onnx", foreign(), "somebody.else"),
        ("bad.parquet", b"nothing", "no Parquet"),
    ],
)
def test_file_that_could_run_code_or_is_broken(files, name, content, told):
    (files / name).write_bytes(content)
    problems, _ = scan(files)
    assert len(problems) == 1
    assert told in problems[0]
    assert verdicts(files) == {"file_scan": Verdict.FAIL}


def outside() -> onnx.TensorProto:
    """A tensor whose numbers lie in the file `weights` beside the model."""
    tensor = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights")
    return tensor


def with_tensor_at(place: str) -> onnx.ModelProto:
    """A model that keeps a tensor in another file, at one of the places where the format allows it."""
    make, value = (
        onnx.helper,
        lambda name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]),
    )
    constant = make.make_node("Constant", [], ["c"], value=outside())
    branch = make.make_graph([make.make_node("Identity", ["w"], ["b"])], "b", [], [value("b")], [outside()])
    domain, opsets = "made.of.others", [make.make_opsetid("", 17)]
    nodes, more = [make.make_node("Identity", ["x"], ["y"])], {}
    if place == "attribute":
        nodes = [constant, make.make_node("Add", ["x", "c"], ["y"])]
    elif place == "subgraph":
        yes = make.make_node("Cast", ["x"], ["yes"], to=onnx.TensorProto.BOOL)
        nodes = [yes, make.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
    elif place == "function":
        body = [constant, make.make_node("Add", ["a", "c"], ["b"])]
        opsets.append(make.make_opsetid(domain, 1))
        more["functions"] = [make.make_function(domain, "Plus", ["a"], ["b"], body, opsets[:1])]
        nodes = [make.make_node("Plus", ["x"], ["y"], domain=domain)]
    graph = make.make_graph(nodes, "g", [value("x")], [value("y")])
    if place == "initializer":
        graph.initializer.append(outside())
    elif place == "sparse":
        where = make.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
        graph.sparse_initializer.append(make.make_sparse_tensor(outside(), where, [4]))
    return make.make_model(graph, opset_imports=opsets, ir_version=9, **more)


@pytest.mark.parametrize("stands", ["beside the weights", "elsewhere"])
@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function", "sparse"])
def test_weights_in_another_file_are_refused_wherever_the_process_stands(
    tmp_path, monkeypatch, place, stands
):
    """The checker looks for them in the working directory: there they are found, and nothing seems wrong."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "weights").write_bytes(np.ones(1, dtype=np.float32).tobytes())
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(with_tensor_at(place).SerializeToString())
    monkeypatch.chdir(tmp_path / "here" if stands == "beside the weights" else tmp_path)
    assert scan(folder)[0] == ["model.onnx: keeps weights in another file, which no digest covers"]


def test_link_is_no_file(files, tmp_path):
    (tmp_path / "elsewhere.json").write_text("{}")
    (files / "link.json").symlink_to(tmp_path / "elsewhere.json")
    assert scan(files)[0] == ["link.json: no plain file"]


def test_command(trained_world, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("perennial.wiring.versions.registry", lambda settings: trained_world.registry)
    monkeypatch.setattr(catalog, "spec", lambda name, settings: SPEC)
    spoilt = changed(noise_change=0.0)
    code = main(["release", "check", SPEC.name, "--version", "1.0.0", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert code == (64 if any(one["verdict"] in ("FAIL", "ERROR") for one in told["rules"]) else 0)
    monkeypatch.setattr(catalog, "spec", lambda name, settings: spoilt)
    assert main(["release", "check", SPEC.name, "--version", "1.0.0"]) == 64
    assert "noise" in capsys.readouterr().err
    assert main(["release", "check", SPEC.name, "--version", "9.9.9"]) == 32


def test_a_version_from_before_kinds_of_task_is_judged_as_a_ranking(files):
    """Manifest of format 1, and reference rows without decisions."""
    before = releasing.checks(SPEC, files)
    path = files / "manifest.json"
    manifest = json.loads(path.read_text())
    threshold = manifest.pop("task")["threshold"]
    path.write_text(json.dumps({**manifest, "format": 1, "threshold": threshold}))
    reference = files / "reference.parquet"
    pd.read_parquet(reference).drop(columns="decision").to_parquet(reference, index=False)
    assert releasing.checks(SPEC, files) == before
    assert read_record(path, ModelManifest, "train").task == SPEC.task
