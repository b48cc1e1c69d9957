"""Settings that compose file, manifests and images give: each is one that the code knows, and none is lacking."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers.described import ROOT, compose, service, stages
from containers.manifests import KUSTOMIZE, build, builder, pods

from perennial.local import databases, handed_secrets
from perennial.local.processes import table
from perennial.secret_settings import ENDINGS, SECRETS
from perennial.settings import PREFIX, Settings, load

KNOWN = {PREFIX + name.upper() for name in Settings.model_fields} | {
    f"{PREFIX}{name.upper()}{ending}" for name in SECRETS for ending in ENDINGS
}
STORES = {"database_url", "mlflow_database_url", "airflow_database_url", "tuning_url", "online_store", "dvc_remote",
          "artifacts_url", "log_bucket"}  # fmt: skip
"""What keeps state, and so must not be a file of one machine."""
SERVICES = compose()["services"]
OURS = sorted(name for name, body in SERVICES.items() if body["image"].startswith("perennial/"))
ON_S3 = ("dvc_remote",)


def given(body: object) -> set[str]:
    """Return the names of our settings at any depth: keys, `name` of the entries of a list, and texts NAME=VALUE."""
    if isinstance(body, dict):
        names = {str(name) for name in (*body, body.get("name", "")) if str(name).startswith(PREFIX)}
        return names.union(*map(given, body.values()))
    if isinstance(body, list):
        return set().union(*map(given, body))
    name, equals, _ = str(body).partition("=")
    return {name} if equals and name.startswith(PREFIX) else set()


def files() -> list[Path]:
    return [ROOT / "docker" / "compose.yaml", *sorted((ROOT / "deploy").rglob("*.yaml"))]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_gives_only_settings_that_the_code_knows(path):
    named = set().union(*map(given, yaml.safe_load_all(path.read_text())))
    assert named <= KNOWN
    assert named or path.name != "compose.yaml"


def test_an_image_gives_only_settings_that_the_code_knows():
    named = {name for image in stages().values() for name in image.environment if name.startswith(PREFIX)}
    assert named
    assert named <= KNOWN


@pytest.fixture
def plant(tmp_path, monkeypatch) -> Settings:
    """The settings of the service that prepares, as `make docker-up PROFILES=core,scale` gives them."""
    environment = {**service("setup").environment, "PERENNIAL_AIRFLOW_EXECUTOR": "CeleryExecutor"}
    return read(environment, tmp_path, monkeypatch)


def read(environment: Mapping[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Read the settings of a container; each secret file is made in a folder."""
    for name, value in environment.items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, str(value))
        if name.startswith(PREFIX) and name.endswith("_FILE"):
            secret = name.removeprefix(PREFIX).removesuffix("_FILE").lower()
            database = secret.removeprefix("recorder_")  # another role in the same database
            (folder / secret).write_text(f"redis://{secret}:6379/0" if "database" not in secret
                                         else f"postgresql+psycopg://{secret}@postgres:5432/{database}")  # fmt: skip
            monkeypatch.setenv(name, str(folder / secret))
    monkeypatch.setenv("PERENNIAL_HOME", str(folder / "state"))
    return load()


def test_no_state_is_a_file_of_one_machine(plant):
    assert {name for name in STORES if getattr(plant, name) is None} == set()
    databases.check(plant)


@pytest.fixture(scope="module", params=["staging", "production", "two-regions/north"])
def pod(request) -> dict[str, dict[str, Any]]:
    """The containers of the plant's pod: `settings`, those of its ConfigMap too, and `mounted` files of its Secret."""
    if not builder():
        pytest.skip("no kustomize of version 5 on this machine")
    built = build(KUSTOMIZE / "overlays" / request.param)
    shared = {body["metadata"]["name"]: body["data"] for body in built if body["kind"] == "ConfigMap"}
    (spec,) = [pod for name, pod, _ in pods(built) if name == "plant"]
    volumes = {volume["name"]: volume.get("secret", {}) for volume in spec["volumes"]}
    containers = {}
    for body in (*spec["containers"], *spec["initContainers"]):
        settings = {entry["name"]: entry["value"] for entry in body.get("env", ())}
        for source in body["envFrom"]:
            settings = {**shared[source["configMapRef"]["name"]], **settings}
        mounted = {
            f"{mount['mountPath']}/{item['path']}"
            for mount in body["volumeMounts"]
            for item in volumes.get(mount["name"], {}).get("items", ())
        }
        containers[body["name"]] = {"settings": settings, "mounted": mounted}
    return containers


def test_the_pod_of_the_plant_has_all_state_in_stores(pod, tmp_path, monkeypatch):
    settings = read(pod["prepare"]["settings"], tmp_path, monkeypatch)
    assert {name for name in STORES if getattr(settings, name) is None} == set()
    databases.check(settings)


def test_a_container_mounts_the_files_that_its_settings_name_and_no_other(pod):
    for name, container in pod.items():
        named = {
            value
            for key, value in container["settings"].items()
            if key.endswith(("_FILE", "AWS_CONFIG_FILE"))
        }
        assert name == "prepare" or named == container["mounted"], name
    assert {name for name, container in pod.items() if container["mounted"]} == {
        "mlflow", "airflow-triggerer", "trainer", "monitor", "guard"
    }  # fmt: skip


def test_only_the_start_has_the_addresses_that_only_one_process_needs():
    """Commands of people get no address that would let them approve as another, or queue a task."""
    private = {f"{PREFIX}{name.upper()}_FILE" for name in
               ("mlflow_database_url", "airflow_database_url", "celery_broker_url")}  # fmt: skip
    assert [name for name in OURS if private & set(service(name).environment)] == ["setup"]


def test_only_the_services_that_change_tables_have_the_address_of_their_owner():
    """They run a command and end; what stays running, and the commands of people, have a role that owns nothing."""
    has = {name for name, body in SERVICES.items() if "owner_database_url" in body.get("secrets", ())}
    assert has == {"admit-plant", "admit-recorder", "owner"}
    assert {SERVICES[name]["restart"] for name in has} == {"no"}
    assert SERVICES["setup"]["depends_on"]["admit-recorder"] == {
        "condition": "service_completed_successfully"
    }


def test_what_reads_the_buckets_has_a_key_of_them(plant):
    """Every process that is handed the remote of the data, and MLflow's page with a key that only reads."""
    processes = {process.name for process in table(plant)}
    services = {service(name).command[-1]: service(name) for name in OURS}
    for process in processes:
        key = (
            services[process].environment.get("AWS_SHARED_CREDENTIALS_FILE") if process in services else None
        )
        needs = set(ON_S3) & set(handed_secrets.NEEDS.get(process, ()))
        assert key == "/run/secrets/s3_perennial" or not needs, process
    assert services["mlflow"].environment["AWS_SHARED_CREDENTIALS_FILE"] == "/run/secrets/s3_reader"
    for process in ("envoy", "server-stable-3101", "guard"):
        assert "AWS_SHARED_CREDENTIALS_FILE" not in services[process].environment, process


def test_make_starts_the_workers_with_the_profile_that_has_them():
    """The executor is not known to the compose file: a profile cannot change the settings of a service."""
    text = (ROOT / "Makefile").read_text()
    assert "PERENNIAL_AIRFLOW_EXECUTOR=CeleryExecutor" in text
