"""The ML-BOM: valid CycloneDX 1.6, and what stands in it is what the version was made of."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest
from doubles.releases import MemoryStore
from training_world import SPEC, TrainingWorld

from perennial.adapters.documents.cyclonedx_bom import check, to_json
from perennial.adapters.documents.markdown_page import page
from perennial.adapters.scanning.installed_packages import direct_dependencies
from perennial.core.governance.bom import Package
from perennial.errors import DatasetMissing, MalformedInput
from perennial.files import sha256
from perennial.flows.governance.documents import DocumentPorts, keep, kept_bom, write_bom
from perennial.flows.versions import find_version

NOW = datetime(2026, 1, 5, tzinfo=UTC)
PACKAGES = [
    Package(name="onnx", version="1.23.2", licence="Apache-2.0"),
    Package(name="numpy", version="2.4.6", licence="BSD-3-Clause AND 0BSD AND MIT"),
    Package(name="odd", version="1", licence="Some licence of our own"),
    Package(name="silent", version="2", licence=None),
]


@pytest.fixture(scope="module")
def trained_world(tmp_path_factory):
    trained_world = TrainingWorld(tmp_path_factory.mktemp("training"))
    trained_world.release()
    return trained_world


@pytest.fixture
def ports(trained_world):
    return DocumentPorts(trained_world.registry, MemoryStore().ledger, trained_world.tracker, page)


@pytest.fixture
def written(ports, tmp_path):
    record = find_version(SPEC.name, "1.0.0", ports.registry)
    return record, write_bom(SPEC, record, ports, PACKAGES, to_json, tmp_path, NOW)


def of_type(document, kind):
    return {one["name"]: one for one in document["components"] if one["type"] == kind}


@pytest.mark.slow
def test_it_is_valid_and_names_what_the_version_was_made_of(trained_world, written):
    record, file = written
    text = file.read_text()
    check(text)
    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    model = document["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", SPEC.name, "1.0.0")
    assert model["hashes"] == [{"alg": "SHA-256", "content": sha256(trained_world.work.model / "model.onnx")}]
    files = of_type(document, "file")
    signed = {"model.onnx", "manifest.json", "background.json", "reference.parquet"}
    assert set(files) == {*signed, "signed_files.json"}
    for name, one in files.items():
        digest = hashlib.sha256((trained_world.work.model / name).read_bytes()).hexdigest()
        assert one["hashes"][0]["content"] == digest
    capsule = json.loads(trained_world.tracker.runs[record.run_id].artifacts["capsule.json"])
    data = of_type(document, "data")
    assert {name: one["properties"][0]["value"] for name, one in data.items()} == capsule["data"]
    assert all(one["data"][0]["type"] == "dataset" for one in data.values())
    used = model["modelCard"]["modelParameters"]["datasets"]
    assert {one["ref"] for one in used} == {one["bom-ref"] for one in data.values()}


def test_figures_come_from_the_evaluation(trained_world, written):
    metrics = json.loads(written[1].read_text())["metadata"]["component"]["modelCard"]["quantitativeAnalysis"]
    evaluation = json.loads(trained_world.work.evaluation.read_text())
    (auc,) = [one for one in metrics["performanceMetrics"] if one["type"] == "roc_auc" and "slice" not in one]
    wanted = evaluation["scores"]["model"]["roc_auc"]
    assert float(auc["value"]) == pytest.approx(wanted["value"], rel=1e-5)
    assert float(auc["confidenceInterval"]["lowerBound"]) == pytest.approx(wanted["low"], rel=1e-5)
    assert any(one.get("slice", "").startswith("history_length=") for one in metrics["performanceMetrics"])


def test_licences_as_spdx_where_they_are(written):
    libraries = of_type(json.loads(written[1].read_text()), "library")
    assert libraries["onnx"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]
    assert libraries["numpy"]["licenses"] == [{"expression": "BSD-3-Clause AND 0BSD AND MIT"}]
    assert libraries["odd"]["licenses"] == [{"license": {"name": "Some licence of our own"}}]
    assert "licenses" not in libraries["silent"]
    assert libraries["onnx"]["purl"] == "pkg:pypi/onnx@1.23.2"


def test_the_same_facts_give_the_same_document(ports, written, tmp_path):
    record, file = written
    again = write_bom(SPEC, record, ports, PACKAGES[::-1], to_json, tmp_path / "again", NOW)
    assert again.read_bytes() == file.read_bytes()


def test_what_was_kept_is_found_again(ports, written, tmp_path):
    record, file = written
    assert kept_bom(record, ports, tmp_path / "none") is None
    keep(record, [file], ports.tracker)
    assert kept_bom(record, ports, tmp_path / "kept").read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["components"][0].update(type="thing"),
        lambda d: d.update(unheard="of"),
        lambda d: d["metadata"]["component"]["modelCard"].update(mood="good"),
        lambda d: d["components"][0].update(hashes=[{"alg": "MD5", "content": "xyz"}]),
    ],
)
def test_what_is_not_cyclonedx_is_refused(written, spoil):
    document = json.loads(written[1].read_text())
    spoil(document)
    with pytest.raises(MalformedInput, match="CycloneDX"):
        check(json.dumps(document))


def test_a_run_without_capsule_is_refused(trained_world, ports, written, tmp_path):
    record, _ = written
    kept = trained_world.tracker.runs[record.run_id].artifacts
    capsule = kept.pop("capsule.json")
    try:
        with pytest.raises(DatasetMissing, match="capsule"):
            write_bom(SPEC, record, ports, PACKAGES, to_json, tmp_path, NOW)
    finally:
        kept["capsule.json"] = capsule


def test_installed_direct_dependencies_have_versions_and_licences():
    found = {one.name.lower(): one for one in direct_dependencies()}
    assert {"onnxruntime", "numpy", "mlflow"} <= set(found)
    assert "pytest" not in found
    assert sum(one.licence is not None for one in found.values()) >= 0.9 * len(found)
