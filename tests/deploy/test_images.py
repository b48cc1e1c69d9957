"""Dockerfile and compose file: pinned, without secrets, and no container with more rights than its process needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from containers.described import COMPOSE, DOCKERFILE, ROOT, compose, service, stages
from containers.schemas import check_form

from perennial import __version__
from perennial.local.processes import table
from perennial.settings import Settings

BIN = Path(sys.executable).parent
ROLES = ("edge", "serving", "mlflow", "airflow", "monitor", "trainer", "cell", "backup", "tools")
SERVICES = compose()["services"]
OURS = sorted(name for name, body in SERVICES.items() if body["image"].startswith("perennial/"))
ONE_SHOT = {"admit-plant", "admit-recorder", "bucket", "owner", "setup", "tools"}
WITHOUT_ADDRESS = {"net", "guard", "worker-training", "worker-light"}
"""They run for long and have nothing that could be asked: the engine restarts them when they end."""
every_service = pytest.mark.parametrize("name", sorted(SERVICES))


def test_hadolint_has_nothing_to_say():
    done = subprocess.run([BIN / "hadolint", DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_compose_file_has_the_form_of_its_schema():
    check_form("vendor.compose-spec", [COMPOSE])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_runs_as_no_root_and_asks_for_its_health(role):
    image = stages()[role]
    assert image.user == "10001:10001"
    assert image.command[0] == "perennial"
    assert role in ("backup", "tools") or image.health[:3] == ("python", "-m", "perennial.local.probe")


def test_base_images_and_packages_are_pinned():
    text = DOCKERFILE.read_text()
    bases = {base for base in re.findall(r"^FROM (\S+)", text, re.M) if base not in stages()}
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) for base in bases)
    assert len(re.findall(r"pip install", text)) == len(
        re.findall(r"pip install .*--?c(?:onstraint)? ?constraints.txt", text)
    )


def test_only_what_the_dockerfile_copies_is_sent_to_the_build():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.read_text(), re.M)
    assert {name for line in copied for name in line.split()} == kept - {"docs"}
    assert all((ROOT / name).exists() for name in kept)


@every_service
def test_a_service_has_no_more_rights_than_it_needs(name):
    body = SERVICES[name]
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert not body.get("privileged")
    assert int(body["user"].partition(":")[0]) > 0
    assert {"cpus", "memory", "pids"} <= set(body["deploy"]["resources"]["limits"])
    assert not any("docker.sock" in str(volume) for volume in body.get("volumes", ()))


@every_service
def test_an_image_has_a_version(name):
    tag = SERVICES[name]["image"].partition(":")[2]
    assert re.match(r"v?\d", tag), tag


@every_service
def test_a_service_says_when_it_is_healthy(name):
    body = SERVICES[name]
    if name in ONE_SHOT:
        assert body["restart"] == "no"
    elif name in WITHOUT_ADDRESS:
        assert body["restart"] == "unless-stopped"
        assert not body["image"].startswith("perennial/") or not service(name).health
    else:
        assert body.get("healthcheck") or service(name).health


@every_service
def test_secrets_come_by_file(name):
    body = SERVICES[name]
    for variable, value in body.get("environment", {}).items():
        assert not re.search("PASSWORD|SECRET|TOKEN|_KEY", variable) or variable.endswith("_FILE"), variable
        assert not re.search(r"://[^/@]*:[^/@]*@", str(value)), variable
    assert {text.rpartition("/")[2] for text in map(str, body.get("environment", {}).values())
            if text.startswith("/run/secrets/")} <= set(body.get("secrets", ()))  # fmt: skip
    assert set(body.get("secrets", ())) <= set(compose()["secrets"])


@every_service
def test_what_a_service_waits_for_can_come(name):
    for other, wanted in SERVICES[name].get("depends_on", {}).items():
        completed = wanted["condition"] == "service_completed_successfully"
        assert completed == (other in ONE_SHOT), other
        assert {"core", *SERVICES[name]["profiles"]} & set(SERVICES[other]["profiles"]), other


def test_our_images_have_the_version_of_the_package():
    """In the compose file, the manifests and Cloud Run alike; an overlay names the tag of its own cells."""
    files = [COMPOSE, *(ROOT / "deploy").rglob("*.yaml"), *(ROOT / "deploy").rglob("*.json")]
    named = re.findall(
        r"perennial/\w+(?::\$\{PERENNIAL_TAG:-|:|, newTag: )(\d[\w.]*)", "".join(map(Path.read_text, files))
    )
    assert len(named) > len(ROLES)
    assert set(named) == {__version__}


def test_each_process_of_local_up_has_a_container(tmp_path):
    settings = Settings(
        home=tmp_path, ports_stable="3101,3102,3103,3104", airflow_executor="CeleryExecutor", port_alerts=1
    )
    started = {service(name).command[-1] for name in OURS if "exec" in service(name).command}
    assert started == {process.name for process in table(settings)}


def test_a_health_check_asks_the_server_of_its_container():
    for name in OURS:
        container = service(name)
        port = re.search(r"server-\w+-(\d+)", " ".join(container.command))
        if port:
            assert f"http://127.0.0.1:{port[1]}/livez" in container.health, name


def test_the_made_secrets_are_those_of_the_compose_file(tmp_path):
    make = [ROOT / "docker" / "make-secrets.sh", tmp_path / "secrets"]
    subprocess.run(make, check=True, capture_output=True)
    first = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(compose()["secrets"]) <= set(first)
    for identity in json.loads(first["s3_identities"])["identities"]:
        (key,) = identity["credentials"]
        assert all(text in first[f"s3_{identity['name']}"] for text in key.values())
    for name, role, database in (
        ("owner_database", "owner", "plant"), ("database", "plant", "plant"),
        ("recorder_database", "recorder", "plant"), ("mlflow_database", "mlflow", "mlflow"),
        ("airflow_database", "airflow", "airflow"), ("tuning", "tuning", "tuning"),
    ):  # fmt: skip
        assert (
            f"//{role}:{first[f'{role}_password']}@postgres:5432/{database}\n" in f"{first[f'{name}_url']}\n"
        )
    for name, setting in (("queue", "celery_broker_url"), ("features", "online_store")):
        assert f"requirepass {first[f'{name}_password']}\n" in first[f"{name}_conf"]
        assert f":{first[f'{name}_password']}@{name}:6379" in first[setting]
    drawn = [text for name, text in first.items() if name.endswith(("_password", "_key", "_secret"))]
    assert len(drawn) == len(set(drawn))
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    subprocess.run(make, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()} == first


def test_no_file_names_the_address_of_a_package_registry():
    hosts = re.compile(
        r"pypi\.|files\.pythonhosted|registry\.|ghcr\.io|docker\.io|quay\.io|gcr\.io|pkg\.dev|--index-url|npmjs"
    )
    places = [ROOT / name for name in ("docker", "deploy", ".github", "Makefile", ".dockerignore")]
    files = [
        path
        for place in places
        for path in ([place] if place.is_file() else place.rglob("*"))
        if path.is_file()
    ]
    named = [f"{path.name}: {found[0]}" for path in files if (found := hosts.search(path.read_text()))]
    assert not named


def test_without_an_engine_a_target_says_what_to_do_instead(tmp_path):
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    for target in ("docker-build", "docker-up", "docker-down"):
        made = ["make", "-C", ROOT, target]
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        done = subprocess.run(made, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "no Docker engine" in done.stdout
        assert "make up" in done.stdout
