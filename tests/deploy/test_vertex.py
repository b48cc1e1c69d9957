"""Vertex AI: what the two request bodies name is answered by the container that they start, run natively."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from containers.described import ROOT, Container, stages
from containers.native import Machine
from containers.plant import Plant
from tiny_models import tensor_body

from perennial.commands.servers.cell import cell
from perennial.errors import FileRefused, SettingsError
from perennial.local import cells, vertex_container

FOLDER = ROOT / "deploy" / "vertex-ai"
UPLOAD: dict[str, Any] = json.loads((FOLDER / "upload.json").read_text())["model"]
SPEC = UPLOAD["containerSpec"]
DEPLOY: dict[str, Any] = json.loads((FOLDER / "deploy.json").read_text())["deployedModel"]
MODEL = "warning_acceptance"
FIELDS = {
    "imageUri",
    "args",
    "ports",
    "healthRoute",
    "predictRoute",
    "deploymentTimeout",
    "startupProbe",
    "healthProbe",
}
"""Fields of ModelContainerSpec that are used, by the names of its REST reference."""


@pytest.fixture
def plant(tmp_path) -> Plant:
    return Plant(tmp_path / "plant")


def set_by_vertex() -> dict[str, str]:
    """Return the variables that Vertex AI sets in the container of the upload."""
    return {
        "AIP_HTTP_PORT": str(SPEC["ports"][0]["containerPort"]),
        "AIP_HEALTH_ROUTE": SPEC["healthRoute"],
        "AIP_PREDICT_ROUTE": SPEC["predictRoute"],
    }


def container() -> Container:
    image = stages()[SPEC["imageUri"].removeprefix("perennial/").partition(":")[0]]
    return dataclasses.replace(
        image, name="vertex", command=("perennial", *SPEC["args"]), environment={**image.environment, **set_by_vertex()}
    )  # fmt: skip


def test_the_bodies_have_what_is_required():
    assert UPLOAD["displayName"] == DEPLOY["displayName"]
    assert set(SPEC) == FIELDS
    assert len(SPEC["ports"]) == 1, "Vertex AI asks the first alone"
    assert {probe["httpGet"]["port"] for probe in (SPEC["startupProbe"], SPEC["healthProbe"])} == {
        SPEC["ports"][0]["containerPort"]
    }
    resources = DEPLOY["dedicatedResources"]
    assert resources["machineSpec"]["machineType"]
    assert 1 <= resources["minReplicaCount"] <= resources["maxReplicaCount"]


def test_routes_that_the_model_does_not_have_are_named_with_the_right_ones():
    vertex_container.check_routes(set_by_vertex(), MODEL)
    with pytest.raises(SettingsError, match="AIP_PREDICT_ROUTE") as refused:
        vertex_container.check_routes(set_by_vertex(), "another")
    assert refused.value.hint == "upload the model with containerSpec.predictRoute /v2/models/another/infer"


def test_it_starts_as_a_container_of_vertex_ai_only(plant, tmp_path, monkeypatch):
    """Nobody else has asked the callers who they are."""
    plant.serve(MODEL)
    cells.export(plant.settings, tmp_path / "out", [])
    monkeypatch.delenv("AIP_HTTP_PORT", raising=False)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    done = CliRunner().invoke(cell, ["vertex", "--from", str(tmp_path / "out")])
    assert isinstance(done.exception, SettingsError)
    assert "no container of Vertex AI" in str(done.exception)


def test_a_cell_of_two_models_is_refused(plant, tmp_path, monkeypatch):
    plant.serve(MODEL)
    plant.serve("another")
    cells.export(plant.settings, tmp_path / "out", [])
    for name, value in set_by_vertex().items():
        monkeypatch.setenv(name, value)
    settings = plant.settings.model_copy(update={"home": tmp_path / "state"})
    with pytest.raises(FileRefused, match="has 2 models"):
        vertex_container.serve(settings, tmp_path / "out", print)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine({"AIP_HTTP_PORT": set_by_vertex()["AIP_HTTP_PORT"]})
    yield machine
    machine.remove()


@pytest.mark.server
@pytest.mark.timeout(600)
def test_the_routes_of_the_upload_answer(plant, machine, tmp_path):
    """From the image's part of an exported folder: without its secrets, and without a key."""
    plant.serve(MODEL)
    cells.export(plant.settings, tmp_path / "out", [])
    (tmp_path / "out" / "secrets").rename(tmp_path / "secrets")
    machine.path("/cell").rmdir()
    (tmp_path / "out").rename(machine.path("/cell"))
    for path in (machine.path("/cell"), *machine.path("/cell").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    machine.start(container())
    address = f"http://127.0.0.1:{machine.port(8080)}"
    with httpx.Client(
        base_url=address, headers={"host": "model.example"}, timeout=10, trust_env=False
    ) as client:

        def answers(route: str) -> bool:
            try:
                return client.get(route).status_code == 200
            except httpx.TransportError:
                return False

        for probe in (SPEC["startupProbe"], SPEC["healthProbe"]):
            machine.until(lambda probe=probe: answers(probe["httpGet"]["path"]), "probe of the upload")
        assert answers(SPEC["healthRoute"])
        answer = client.post(SPEC["predictRoute"], json=tensor_body())
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == "1.0.0"
    machine.stop("vertex", 300.0)
