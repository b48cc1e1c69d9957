"""Make targets of a deploy: the commands that they print with DRY_RUN=1, and the approval that none of them skips."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from containers.described import ROOT
from some_release import MODEL, a_release

from perennial.core.release.phase import Phase
from perennial.errors import ApprovalRefused, UnknownRelease
from perennial.settings import Settings
from perennial.wiring import database

KUBECTL = "kubectl --namespace {}"
IN_PLANT = f"{KUBECTL} exec plant-0 --container guard -- perennial "
AS_PERSON = (
    f'printf %s "$PERENNIAL_TOKEN" | {KUBECTL} exec --stdin plant-0 --container guard -- '
    "sh -c 'PERENNIAL_TOKEN=$(cat) exec \"$@\"' - perennial "
)
STAGING, PRODUCTION = "perennial-staging", "perennial"


def applied(overlay: str, namespace: str) -> list[str]:
    at = KUBECTL.format(namespace)
    return [
        f"{at} apply --kustomize deploy/kustomize/overlays/{overlay}",
        f"{at} rollout status statefulset/plant --timeout=15m",
        f"{at} rollout status deployment/serving --timeout=15m",
    ]


PRINTED = {
    "deploy-local": ["perennial local up", "perennial doctor"],
    "deploy-staging": applied("staging", STAGING),
    "deploy-staging MODEL=rates VERSION=1.2.0": [
        *applied("staging", STAGING),
        AS_PERSON.format(STAGING) + "release start rates --version 1.2.0",
    ],
    "deploy-production MODEL=rates VERSION=1.2.0": [
        IN_PLANT.format(PRODUCTION) + "release deploy rates --version 1.2.0 --check",
        *applied("production", PRODUCTION),
        IN_PLANT.format(PRODUCTION) + "release deploy rates --version 1.2.0",
    ],
    "promote MODEL=rates": ["perennial release promote rates"],
    "promote MODEL=rates ON=production": [AS_PERSON.format(PRODUCTION) + "release promote rates"],
    "rollback MODEL=rates": ["perennial release rollback rates"],
    "rollback MODEL=rates ON=staging": [AS_PERSON.format(STAGING) + "release rollback rates"],
    "status": ["perennial local status"],
    "status ON=production": [
        f"{KUBECTL.format(PRODUCTION)} get pods,horizontalpodautoscalers,poddisruptionbudgets"
    ],
    "logs": ['tail --lines 100 "${PERENNIAL_HOME:-.perennial}"/logs/*.log'],
    "logs PROCESS=guard LINES=5": ['tail --lines 5 "${PERENNIAL_HOME:-.perennial}"/logs/guard.log'],
    "logs ON=staging PROCESS=guard": [f"{KUBECTL.format(STAGING)} logs plant-0 --container guard --tail 100"],
    "logs ON=staging": [f"{KUBECTL.format(STAGING)} logs plant-0 --all-containers --prefix --tail 100"],
    "backup TARGET=/b": ["perennial backup /b"],
    "backup TARGET=/b KEYS=/k": ["perennial backup /b --keys /k"],
    "restore SOURCE=/b KEYS=/k": ["perennial restore /b --keys /k"],
    "clean-deployments": ["perennial prune"],
    "clean-deployments ON=production": [IN_PLANT.format(PRODUCTION) + "prune"],
}
"""Target with its variables -> commands."""
FAKE_KUBECTL = """#!/bin/sh
# Writes down how it was called; `exec` runs the command here.
echo "$@" >> "$CALLS"
case " $* " in *" exec "*) while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;; esac
"""


def make(target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    left_out = ("MODEL", "VERSION", "TARGET", "SOURCE", "MAKEFLAGS", "MFLAGS", "ON")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    command = ["make", "--no-print-directory", *target.split()]
    return subprocess.run(
        command, cwd=ROOT, env=inherited | environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """Variables with which kubectl is the one above, and the plant a state folder of this test."""
    for name, text in {
        "kubectl": FAKE_KUBECTL,
        "perennial": f'#!/bin/sh\nexec "{sys.executable}" -m perennial "$@"\n',
    }.items():
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "CALLS": str(tmp_path / "calls"), "PERENNIAL_HOME": str(tmp_path / "state")}


@pytest.mark.parametrize("target", PRINTED)
def test_a_dry_run_prints_the_commands_and_runs_none(target, cluster):
    done = make(f"{target} DRY_RUN=1", **cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == PRINTED[target]
    assert not Path(cluster["CALLS"]).exists()
    assert not Path(cluster["PERENNIAL_HOME"]).exists()


def test_every_target_of_a_deploy_is_in_the_table_and_has_a_text():
    text = (ROOT / "Makefile").read_text()
    section = text[text.index("##@ Deploy") : text.index("##@ Experiment")]
    targets = set(re.findall(r"^([a-z-]+):.*## \w", section, re.M))
    assert targets == {target.split()[0] for target in PRINTED}
    assert all(target in make("help").stdout for target in targets)


@pytest.mark.parametrize(
    "target", ["deploy-production", "deploy-production MODEL=rates", "backup", "restore"]
)
def test_a_missing_variable_is_named_before_anything_runs(target, cluster):
    done = make(target, **cluster)
    assert done.returncode
    assert re.search(r"(MODEL|VERSION|TARGET|SOURCE)= is missing: make " + target.split()[0], done.stderr)
    assert not Path(cluster["CALLS"]).exists()


def test_an_unknown_place_is_no_local_one(cluster):
    done = make("rollback ON=prod", **cluster)
    assert "ON=prod is none of local, staging, production" in done.stderr


@pytest.mark.parametrize("offered", [True, False])
def test_production_takes_no_version_that_people_have_not_approved(cluster, offered):
    """make shows the exit code of the command; its own is always 2."""
    store = database.store(Settings(home=Path(cluster["PERENNIAL_HOME"])))
    waiting = a_release(datetime.now(UTC), Phase.AWAITING_APPROVAL)
    if offered:
        store.releases.save(waiting, None, [])
    done = make(f"deploy-production MODEL={MODEL} VERSION=1.0.0", **cluster)
    refused = ApprovalRefused if offered else UnknownRelease
    assert done.returncode == 2
    assert f"Error {refused.exit_code}" in done.stderr
    assert refused.__name__ in done.stderr
    (call,) = Path(cluster["CALLS"]).read_text().splitlines()
    assert call.endswith("--check"), "nothing was applied"
    assert store.releases.latest(MODEL) == ([waiting.model_copy(update={"revision": 0})] if offered else [])
    assert store.ledger.rows() == []
