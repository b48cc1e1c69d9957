"""The backup of a plant in a cluster: its job has the settings of the plant, the addresses it needs, and a guide."""

from __future__ import annotations

import re

import pytest
import yaml
from containers.described import ROOT, pod_containers
from containers.manifests import KUSTOMIZE, Manifest, files, template_of

from perennial.cli import app
from perennial.local.backup import sources
from perennial.secret_settings import SECRETS
from perennial.settings import PREFIX, Settings

FOLDER = KUSTOMIZE / "components" / "backup"
JOBS = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in ("backup", "restore")}
GUIDE = (ROOT / "docs" / "guide" / "backup.md").read_text()
BASE = files()
each = pytest.mark.parametrize("name", sorted(JOBS))


def pod(name: str) -> Manifest:
    template = template_of(JOBS[name])
    assert template is not None
    return template["spec"]


def given(name: str) -> dict[str, str]:
    """Return the settings of a job's container: those of the plant's ConfigMap, and its own."""
    (container,) = pod(name)["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": "plant-settings"}}]
    generators = yaml.safe_load((KUSTOMIZE / "base" / "plant" / "kustomization.yaml").read_text())[
        "configMapGenerator"
    ]
    shared = dict(text.split("=", 1) for text in generators[0]["literals"])
    return shared | {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


@each
def test_a_job_never_runs_twice_at_once_and_ends(name):
    spec = JOBS[name]["spec"]
    assert spec["concurrencyPolicy"] == "Forbid"
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] > 0
    assert pod(name)["restartPolicy"] == "OnFailure"


@each
def test_a_job_knows_every_database_and_place_of_the_plant(name, tmp_path):
    """What is not in its settings would silently be looked for in the state folder."""
    environment = given(name)
    values = {key.removeprefix(PREFIX).lower().removesuffix("_file"): value
              for key, value in environment.items() if key.startswith(PREFIX)}  # fmt: skip
    addresses = {
        key: "s3://data/dvc" if key == "dvc_remote" else f"postgresql+psycopg://{key}@postgres/{key}"
        for key in values.keys() & SECRETS - {"encryption_keys"}
    }
    values.pop("encryption_keys")
    settings = Settings(home=tmp_path, **(values | addresses))
    assert [database.kind for database in sources.databases(settings)] == [sources.POSTGRESQL] * 4
    assert set(sources.outside(settings)) == {"artifacts", "dvc-remote", "log"}


@each
def test_a_job_mounts_what_its_settings_name_and_the_guide_makes(name):
    volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
    secrets = [source["secret"] for source in volumes["secrets"]["projected"]["sources"]]
    mounted = {f"/secrets/{item['path']}" for secret in secrets for item in secret["items"]}
    (container,) = pod(name)["containers"]
    named = {value for value in (*given(name).values(), *container["args"]) if value.startswith("/secrets/")}
    assert named == mounted
    assert "PERENNIAL_ENCRYPTION_KEYS_FILE" in given(name), "a backup leaves the plant encrypted only"
    (made,) = re.findall(r"generic backup-secrets (.*?)\n(?! )", GUIDE, re.DOTALL)
    keys = {
        item["key"] for secret in secrets if secret["name"] == "backup-secrets" for item in secret["items"]
    }
    assert keys <= set(re.findall(r"\w+", made))


@each
def test_the_command_is_one_of_the_command_line(name):
    (container,) = list(pod_containers(pod(name)))
    command = app.get_command(None, container.command[1])
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    given = {word for word in container.command if word.startswith("--")}
    assert {"--keys"} <= given <= options


def test_an_empty_volume_is_like_that_of_the_plant():
    empty = yaml.safe_load((FOLDER / "empty-state.yaml").read_text())
    (template,) = BASE["base/plant/stateful-set.yaml"]["spec"]["volumeClaimTemplates"]
    assert empty["metadata"]["name"] == f"{template['metadata']['name']}-plant-0"
    assert empty["spec"] == template["spec"]
    assert "components/backup/empty-state.yaml" in GUIDE


def test_the_client_of_postgresql_is_not_older_than_the_server():
    text = (ROOT / "docker" / "Dockerfile").read_text() + (ROOT / "docker" / "compose.yaml").read_text()
    (client,), (server,) = (
        re.findall(r"postgresql-client-(\d+)", text),
        re.findall(r"image: postgres:(\d+)", text),
    )
    assert int(client) >= int(server)
