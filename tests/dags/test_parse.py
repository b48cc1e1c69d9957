"""Every DAG file parses in under a second and gives the DAGs that the specs ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, sys, time
import airflow.sdk, airflow.providers.standard.operators.bash, airflow.providers.standard.operators.hitl
import perennial.catalog
from airflow.dag_processing.dagbag import DagBag
report = {}
for path in sys.argv[1:]:
    started = time.perf_counter()
    bag = DagBag(dag_folder=path, include_examples=False)
    report[path] = {"seconds": time.perf_counter() - started, "errors": bag.import_errors,
                    "dags": {name: dag.task_ids for name, dag in bag.dags.items()},
                    "shell": [one.bash_command for dag in bag.dags.values() for one in dag.tasks
                              if hasattr(one, "bash_command")]}
report["heavy"] = sorted({"torch", "mlflow", "feast", "evidently", "great_expectations"} & set(sys.modules))
print("REPORT" + json.dumps(report))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    files = sorted(str(path) for path in (ROOT / "dags").glob("*.py"))
    env = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "true",
        "PERENNIAL_HOME": str(home / "state"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(one for one in done.stdout.splitlines() if one.startswith("REPORT"))
    return json.loads(line.removeprefix("REPORT"))


def test_no_import_errors(report):
    assert not {path: one["errors"] for path, one in report.items() if path != "heavy" and one["errors"]}


def test_no_shell_line_holds_what_somebody_may_have_written(report):
    """Form fields, XComs and events are text of people: they reach a command by its environment."""
    lines = [line for path, one in report.items() if path != "heavy" for line in one["shell"]]
    assert len(lines) >= 4
    assert not [line for line in lines if "{{" in line or "{%" in line]


def test_each_file_parses_in_under_a_second(report):
    slow = {path: one["seconds"] for path, one in report.items() if path != "heavy" and one["seconds"] >= 1}
    assert not slow


def test_parsing_loads_no_heavy_tool(report):
    assert report["heavy"] == []


def test_one_set_of_dags_per_spec(report):
    from perennial import catalog

    found = {name for path, one in report.items() if path != "heavy" for name in one["dags"]}
    kinds = ("train", "release", "monitor", "maintain")
    assert found == {f"{kind}_{model}" for kind in kinds for model in catalog.names()}


def test_release_dag_shows_the_steps_of_the_policy(report):
    tasks = next(
        one["dags"]["release_test_failure_predictor"]
        for path, one in report.items()
        if path.endswith("release.py")
    )
    assert tasks == [
        "gate",
        "approval",
        "load",
        "shadow",
        "canary_5_percent",
        "canary_20_percent",
        "canary_50_percent",
        "promote",
    ]
