"""Values for Airflow's official chart: the same Airflow as `perennial local up` starts, with no more than it needs.

The chart itself is not at hand here; docs/guide/deploy.md says how the values were rendered with it.
"""

from __future__ import annotations

import re
import subprocess
from typing import Any

import pytest
import yaml
from containers.described import ROOT, stages
from containers.manifests import KUSTOMIZE, Manifest
from machines.training_machine import SAME

from perennial.backend_settings import LIGHT, TRAINING
from perennial.local import airflow, handed_secrets
from perennial.local.processes import table
from perennial.settings import PREFIX, Settings

VALUES: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "airflow" / "values-celery.yaml").read_text())
COMPONENT = yaml.safe_load((KUSTOMIZE / "components" / "airflow-chart" / "kustomization.yaml").read_text())
WORKER = VALUES["workers"]["celery"]
PARTS = {"api-server": VALUES["apiServer"], "scheduler": VALUES["scheduler"],
         "dag-processor": VALUES["dagProcessor"], "airflow-worker-training": WORKER}  # fmt: skip
OWN = {"core.dags_folder", "core.plugins_folder", "core.simple_auth_manager_passwords_file",
       "core.execution_api_server_url", "celery.worker_concurrency"}  # fmt: skip
"""Options whose values are places in the cluster, or its size."""


@pytest.fixture
def settings(tmp_path) -> Settings:
    literals = dict(text.split("=", 1) for text in COMPONENT["configMapGenerator"][0]["literals"])
    given = {name.removeprefix(PREFIX).lower(): value for name, value in literals.items()}
    return Settings(home=tmp_path, **given)


@pytest.mark.parametrize("section", sorted(VALUES["config"]))
def test_an_option_has_the_value_of_the_plant(section, settings):
    environment = airflow.environment(settings, "scheduler")
    for option, value in VALUES["config"][section].items():
        if f"{section}.{option}" not in OWN:
            expected = environment[f"AIRFLOW__{section.upper()}__{option.upper()}"]
            assert str(value).lower() == expected.lower(), option
    assert VALUES["executor"] == environment["AIRFLOW__CORE__EXECUTOR"]


def test_tasks_and_pages_are_at_the_address_that_the_plant_asks(settings):
    url = VALUES["config"]["core"]["execution_api_server_url"]
    assert url == airflow.environment(settings, "triggerer")["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"]


def test_each_part_of_airflow_is_in_the_chart_or_in_the_plant(settings):
    """The plant keeps what moves releases; each queue has one kind of worker."""
    here = {process.name for process in table(settings) if process.name.startswith("airflow-")}
    assert here == {"airflow-triggerer", f"airflow-worker-{LIGHT}"}
    assert VALUES["triggerer"]["enabled"] is False
    assert WORKER["queue"] == TRAINING
    (patch,) = [
        yaml.safe_load(entry["patch"])
        for entry in COMPONENT["patches"]
        if "kind: StatefulSet\n" in entry["patch"]
    ]
    containers = patch["spec"]["template"]["spec"]["containers"]
    gone = {body["name"] for body in containers if body.get("$patch") == "delete"}
    assert gone == {"airflow-api-server", "airflow-dag-processor", "trainer"}
    (light,) = [body for body in containers if "args" in body]
    assert light["args"][-1] == f"airflow-worker-{LIGHT}"
    image = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    assert light["image"] == image, "it prepares data by code of the models"


def files_of(part: Manifest) -> set[str]:
    return {entry["name"] for entry in part.get("env", ()) if entry["name"].endswith("_FILE")
            and entry["name"].startswith(PREFIX)}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_gets_the_secrets_of_its_process(name):
    process = name if name.startswith("airflow-") else f"airflow-{name}"
    needs = set(handed_secrets.NEEDS.get(process, ()))
    needs -= {"oidc_client_secret"}  # only where people sign in at an issuer; the values say how
    needs -= {"sentry_dsn"}  # only where errors are reported
    if name == "scheduler":  # it runs no task here
        needs = set()
    assert files_of(PARTS[name]) == {f"{PREFIX}{setting.upper()}_FILE" for setting in needs}


def test_the_worker_has_the_settings_of_a_machine_that_only_trains():
    """`make test-production` runs such a machine. Its queue and Airflow's database come by the chart."""
    given = {entry["name"] for entry in (*VALUES["env"], *WORKER["env"])}
    named = {
        f"{PREFIX}{name.upper()}"
        for name in SAME
        if name not in ("airflow_database_url", "celery_broker_url")
    }
    for name in named | {"PERENNIAL_SIGNING_KEY", "PERENNIAL_TRUSTED_KEYS", "PERENNIAL_ACCOUNTS_PATH"}:
        assert {name, f"{name}_FILE"} & given, name
    (kept,) = [entry["value"] for entry in VALUES["env"] if entry["name"] == "PERENNIAL_WORK_STORE"]
    assert f"PERENNIAL_WORK_STORE={kept}" in COMPONENT["configMapGenerator"][0]["literals"]


def test_the_worker_finds_each_file_that_its_settings_name(tmp_path):
    """The copies are for their owner only, as the code wants keys and passwords."""
    mounted = {mount["name"]: mount["mountPath"] for mount in WORKER["extraVolumeMounts"]}
    secrets = next(volume for volume in WORKER["extraVolumes"] if volume["name"] == "secrets")
    files = {f"{mounted['secrets']}/{item['path']}" for item in secrets["secret"]["items"]} | {
        mounted["trusted"]
    }
    (copies,) = WORKER["extraInitContainers"]
    (tmp_path / "keys").mkdir()
    for name in ("signing.pem", "accounts.json"):
        (tmp_path / "keys" / name).write_text(name)
        (tmp_path / "keys" / name).chmod(0o440)
    here = [re.sub("(^|=)(/keys|/state)", rf"\1{tmp_path}\2", word) for word in copies["command"]]
    subprocess.run(here, check=True)
    for path in (tmp_path / "state").rglob("*.*"):
        assert path.stat().st_mode & 0o777 == 0o600
        files.add(f"/{path.relative_to(tmp_path)}")
    named = {entry["value"] for entry in WORKER["env"]}
    assert {value for value in named if value.startswith("/")} <= files


def test_secrets_are_named_and_nothing_secret_is_written():
    named = {
        VALUES["data"][key]
        for key in ("metadataSecretName", "resultBackendSecretName", "brokerUrlSecretName")
    }
    named |= {"training-keys"}
    named |= {VALUES[key] for key in ("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName")}
    guide = (ROOT / "docs" / "guide" / "deploy.md").read_text()
    assert all(f"generic {name} " in guide for name in named)
    assert not re.search(r"://[^/\s]*:[^/\s]*@|[Pp]assword: ", yaml.safe_dump(VALUES))
    assert not any(
        VALUES[name]["enabled"] for name in ("postgresql", "redis", "createUserJob", "migrateDatabaseJob")
    )


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_has_limits_no_token_and_probes_that_its_image_has(name):
    part = PARTS[name]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(part["resources"]["limits"])
    assert {"cpu", "memory"} <= set(part["resources"]["requests"])
    assert part["serviceAccount"]["automountServiceAccountToken"] is False
    assert part["waitForMigrations"]["enabled"] is False, (
        "its container has no command: our entry point is perennial"
    )
    assert part["command"] == ["/usr/bin/env"]
    if name != "api-server":  # it is asked by HTTP
        assert part["livenessProbe"]["command"]
        assert "/entrypoint" not in str(part["livenessProbe"]["command"])
        assert part["logGroomerSidecar"]["enabled"] is False


def test_pods_run_as_the_user_of_the_image_without_rights():
    image = stages()[VALUES["defaultAirflowRepository"].removeprefix("perennial/")]
    assert (f"{VALUES['uid']}:{VALUES['gid']}") == image.user
    pod, container = VALUES["securityContexts"]["pod"], VALUES["securityContexts"]["containers"]
    assert pod["runAsNonRoot"] is True
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == image.user
    assert container == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                         "capabilities": {"drop": ["ALL"]}}  # fmt: skip
    assert VALUES["rbac"]["create"] is False
    assert VALUES["allowPodLaunching"] is False


def test_the_version_of_airflow_is_the_pinned_one():
    assert f"apache-airflow=={VALUES['airflowVersion']}\n" in (ROOT / "constraints.txt").read_text()
