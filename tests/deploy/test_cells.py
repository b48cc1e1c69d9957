"""Cells: what the plant answers with, exported, and served by the containers of the Deployment run natively."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator

import httpx
import pytest
import yaml
from click.testing import CliRunner
from containers.described import ROOT, pod_containers
from containers.native import Machine
from containers.plant import Plant
from signing import FOLDER
from tiny_models import tensor_body

from perennial.adapters.envoy import state as envoy_state
from perennial.commands.servers.cell import cell
from perennial.core.release.traffic import Route, Target
from perennial.errors import (
    FeaturesUnavailable,
    FileRefused,
    NotLoaded,
    NotSigned,
    ReleaseConflict,
    UnknownModel,
)
from perennial.local import cells
from perennial.serving import desired_state
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.desired_state import DesiredState
from perennial.settings import Settings

DEPLOYMENT = ROOT / "deploy" / "kustomize" / "base" / "serving" / "deployment.yaml"
CLOUD_RUN = ROOT / "deploy" / "cloud-run" / "service.yaml"
PORTS = {
    "PERENNIAL_PORT_ENVOY": "8000", "PERENNIAL_PORTS_STABLE": "3101", "PERENNIAL_PORTS_STABLE_GRPC": "3201",
    "PERENNIAL_PORTS_CANARY": "3111", "PERENNIAL_PORTS_CANARY_GRPC": "3211",
}  # fmt: skip


@pytest.fixture
def plant(tmp_path) -> Plant:
    return Plant(tmp_path / "plant")


def test_a_cell_has_the_champions_and_nothing_that_is_only_the_plants(plant, tmp_path):
    backup = Target(version="0.9.0", digest="e" * 64, release_id="r0")
    first = plant.serve("first", backup=backup)
    plant.serve("second")
    printed = cells.export(plant.settings, tmp_path / "out", ["first"])
    assert printed == [f"first 1.0.0 {first.digest}"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "desired",
        "models",
        "secrets",
        "trusted",
    ]
    routes = envoy_state.read(tmp_path / "out" / "desired" / "routes.json").routes
    assert routes == {"first": Route(model="first", stable=first)}
    assert [path.name for path in (tmp_path / "out" / "models").iterdir()] == [first.digest]
    assert len(cells.export(plant.settings, tmp_path / "both", [])) == 2


def test_what_a_cell_cannot_serve_is_refused(plant, tmp_path):
    with pytest.raises(UnknownModel, match="no route leads to any model"):
        cells.export(plant.settings, tmp_path / "out", [])
    served = plant.serve("first")
    with pytest.raises(UnknownModel, match="no route leads to other"):
        cells.export(plant.settings, tmp_path / "out", ["other"])
    plant.serve("stored", service="a_service")
    with pytest.raises(FeaturesUnavailable, match="stored reads features"):
        cells.export(plant.settings, tmp_path / "out", [])
    plant.serve("moving", canary=served, canary_weight=5.0)
    with pytest.raises(ReleaseConflict, match="a release of moving is running"):
        cells.export(plant.settings, tmp_path / "other", ["moving"])
    assert not (tmp_path / "other").exists()


def test_files_that_nobody_signed_or_nobody_holds_are_not_exported(plant, tmp_path):
    target = plant.serve("first")
    store = desired_state.version_folder(plant.settings.serving_dir, target.digest)
    (store / "model.onnx").write_bytes(b"another model")
    with pytest.raises(NotSigned):
        cells.export(plant.settings, tmp_path / "out", [])
    desired_state.write(desired_state.state_file(plant.settings.serving_dir, "stable"), DesiredState())
    with pytest.raises(NotLoaded, match="does not hold first"):
        cells.export(plant.settings, tmp_path / "out", [])


def test_a_folder_that_is_none_is_named(plant, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(FileRefused, match="is not empty"):
        cells.export(plant.settings, tmp_path / "full", [])
    with pytest.raises(FileRefused, match=r"stable\.json is missing"):
        cells.arrange(plant.settings, tmp_path / "full")


def test_secrets_may_be_mounts_of_their_own(plant, tmp_path):
    """As on Cloud Run, where a volume holds one secret."""
    plant.serve("first")
    plant.add_key()
    cells.export(plant.settings, tmp_path / "out", [])
    for name, folder in (("internal", "of-cell"), ("client-keys.json", "of-clients")):
        (tmp_path / "out" / "secrets" / folder).mkdir()
        (tmp_path / "out" / "secrets" / name).rename(tmp_path / "out" / "secrets" / folder / name)
    state = Settings(home=tmp_path / "cell")
    cells.arrange(state, tmp_path / "out")
    assert set(ClientKeys(state.client_keys).all()) == {"first"}
    assert state.internal_secret == (tmp_path / "out" / "secrets" / "of-cell" / "internal").read_text()


def test_the_command_says_what_is_secret(plant, tmp_path, monkeypatch):
    plant.serve("first")
    monkeypatch.setenv("PERENNIAL_HOME", str(plant.settings.state))
    monkeypatch.setenv("PERENNIAL_TRUSTED_KEYS", str(FOLDER))
    done = CliRunner().invoke(cell, ["export", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "secrets is secret" in done.output


def test_cloud_run_runs_the_containers_of_the_deployment():
    def run(path):
        pod = yaml.safe_load(path.read_text())["spec"]["template"]["spec"]
        return [(body["name"], body["image"], body["args"], body["env"]) for body in pod["containers"]]

    assert run(CLOUD_RUN) == run(DEPLOYMENT)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(PORTS)
    yield machine
    machine.remove()


@pytest.mark.server
@pytest.mark.timeout(1200)
def test_the_pod_of_the_deployment_answers(plant, machine):
    """Its containers share neither state nor Python; each is a process with a folder of its own."""
    plant.serve("first")
    key = plant.add_key()
    machine.path("/cell").rmdir()
    cells.export(plant.settings, machine.path("/cell"), [])
    for path in (machine.path("/cell"), *machine.path("/cell").rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    pod = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]
    envoy, server = pod_containers(pod)
    apart = [
        dataclasses.replace(container, environment={**container.environment, "PERENNIAL_HOME": f"/state/{number}"})
        for number, container in enumerate((envoy, server))
    ]  # fmt: skip
    for container in apart:
        machine.start(container)
    machine.until_healthy(apart[1])
    address = f"http://127.0.0.1:{machine.port(8000)}"
    with httpx.Client(base_url=address, timeout=10, trust_env=False) as client:
        ready = pod["containers"][0]["readinessProbe"]["httpGet"]["path"]
        machine.until(lambda: client.get(ready).status_code == 200, f"{ready} of the pod")
        ask = {"json": tensor_body(), "headers": {"authorization": f"Bearer {key}"}}
        answer = client.post("/v2/models/first/infer", **ask)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_version"] == "1.0.0"
        assert client.post("/v2/models/first/infer", json=tensor_body()).status_code == 401
    for container in apart:
        machine.stop(container.name, 300.0)
    assert json.loads((machine.path("/cell") / "desired" / "stable.json").read_text())["generation"] == 1
