"""Every DAG file parses in under a second of processor time and gives the DAGs that the specs ask for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from perennial.local.airflow import PLUGINS

pytestmark = pytest.mark.slow

MODEL = "test_failure_predictor"
ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import json, sys, time
from pathlib import Path
from types import SimpleNamespace
from airflow.task.priority_strategy import validate_and_load_priority_weight_strategy as strategy
from airflow.sdk.definitions._internal.dag_parsing_context import _airflow_parsing_context_manager as of_task
import airflow.sdk, airflow.providers.standard.operators.bash, airflow.providers.standard.operators.hitl
import perennial.catalog
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
report = {}
for path in sys.argv[1:]:
    started = time.process_time()
    bag = DagBag(dag_folder=path, include_examples=False)
    report[path] = {"seconds": time.process_time() - started, "errors": bag.import_errors,
                    "dags": {name: dag.task_ids for name, dag in bag.dags.items()},
                    "queues": {f"{name}.{one.task_id}": one.queue for name, dag in bag.dags.items()
                               for one in dag.tasks},
                    "weights": {f"{name}.{one.task_id}": strategy(one.weight_rule).get_weight(
                        SimpleNamespace(task=one, run_id="asset_triggered__2026-01-05"))
                                for name, dag in bag.dags.items() for one in dag.tasks},
                    "stored": {name: json.dumps(DagSerialization.to_dict(dag)) for name, dag in bag.dags.items()},
                    "params": {name: dag.params.dump() for name, dag in bag.dags.items()},
                    "env": {f"{name}.{one.task_id}": one.env for name, dag in bag.dags.items() for one in dag.tasks
                            if getattr(one, "env", None)},
                    "shell": [one.bash_command for dag in bag.dags.values() for one in dag.tasks
                              if hasattr(one, "bash_command")]}
for path in sys.argv[1:]:  # last: the context outlives its block
    with of_task(dag_id=Path(path).stem + "_digits", task_id="t"):
        report[path]["of a task"] = sorted(DagBag(dag_folder=path, include_examples=False).dags)
report["heavy"] = sorted({"torch", "mlflow", "feast", "evidently", "great_expectations"} & set(sys.modules))
print("REPORT" + json.dumps(report))
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return parsed(tmp_path_factory, sorted(str(path) for path in (ROOT / "dags").glob("*.py")))


def parsed(tmp_path_factory, files, **environment):
    home = tmp_path_factory.mktemp("airflow")
    env = os.environ | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__UNIT_TEST_MODE": "true",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "PERENNIAL_HOME": str(home / "state"),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *files], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(one for one in done.stdout.splitlines() if one.startswith("REPORT"))
    return json.loads(line.removeprefix("REPORT"))


def test_no_import_errors(report):
    assert not {path: one["errors"] for path, one in report.items() if path != "heavy" and one["errors"]}


def test_a_file_that_did_not_change_makes_no_new_version_of_its_dags(report):
    """The address of an object in what Airflow stores makes a version of each DAG with runs at each parse."""
    stored = {
        name: text for path, one in report.items() if path != "heavy" for name, text in one["stored"].items()
    }
    assert not [name for name, text in stored.items() if " object at 0x" in text or "<function" in text]


def test_what_uses_a_work_folder_is_for_the_workers_of_trainings(report):
    queues = {}
    for path, one in report.items():
        if path != "heavy":
            queues |= {name.replace(f"_{MODEL}.", "."): queue for name, queue in one["queues"].items()}
    steps = ("prepare", "validate", "train", "evaluate", "register", "offer")
    assert {queues[f"train.{step}"] for step in steps} | {queues["maintain.clear_work"]} == {"training"}
    assert set(queues.values()) == {"training", "light"}
    light = ("train.why", "release.gate", "release.approval", "monitor.window", "maintain.seal_predictions")
    assert queues["monitor.effect"] == "light"
    assert {queues[name] for name in light} == {"light"}


def test_a_release_goes_before_trainings_and_a_training_ends_before_the_next_begins(report):
    weights = {
        name: weight
        for path, one in report.items()
        if path != "heavy"
        for name, weight in one["weights"].items()
    }
    steps = ("why", "prepare", "validate", "train", "evaluate", "register", "offer")
    of_training = [weights[f"train_{MODEL}.{step}"] for step in steps]
    assert of_training == sorted(set(of_training)), "a later step has the greater weight"
    of_release = {weight for name, weight in weights.items() if name.startswith("release_")}
    assert min(of_release) > max(of_training)


def test_the_process_of_a_task_builds_the_dags_of_its_model_only(report):
    """Else a task of one in a hundred models would read a hundred specs."""
    built = {Path(path).stem: one["of a task"] for path, one in report.items() if path != "heavy"}
    assert built.pop("train") == ["train_digits"]
    assert all(dags in ([], [f"{kind}_digits"]) for kind, dags in built.items())


def test_no_shell_line_holds_what_somebody_may_have_written(report):
    """Form fields, XComs and events are text of people: they reach a command by its environment."""
    lines = [line for path, one in report.items() if path != "heavy" for line in one["shell"]]
    assert len(lines) >= 4
    assert not [line for line in lines if "{{" in line or "{%" in line]


def test_each_file_parses_in_under_a_second_of_processor_time(report):
    slow = {path: one["seconds"] for path, one in report.items() if path != "heavy" and one["seconds"] >= 1}
    assert not slow


def test_parsing_loads_no_heavy_tool(report):
    assert report["heavy"] == []


def test_one_set_of_dags_per_spec(report):
    from perennial import catalog

    found = {name for path, one in report.items() if path != "heavy" for name in one["dags"]}
    kinds = ("train", "release", "monitor", "maintain")
    dags = {f"{kind}_{model}" for kind in kinds for model in catalog.names()}
    batches = {f"batch_{spec.name}" for spec in catalog.specs() if spec.features.source == "request"}
    of_models = dags | (batches - {"batch_market_forecast"})  # a forecast is not asked in batches
    assert found == of_models | {"prune"}


@pytest.mark.parametrize(
    ("chosen", "given"), [(None, "--dry-run"), ("", "--dry-run"), ("true", "--dry-run"), ("false", "")]
)
def test_the_daily_prune_deletes_only_where_that_was_said(report, tmp_path, chosen, given):
    (line,) = report[str(ROOT / "dags" / "prune.py")]["shell"]
    program = tmp_path / "perennial"
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"} | ({} if chosen is None else {"DRY_RUN": chosen})
    said = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["prune", *given.split()]


@pytest.mark.parametrize(("setting", "dry"), [({}, "true"), ({"PERENNIAL_PRUNE_DAILY": "true"}, "false")])
def test_the_prune_that_nobody_started_deletes_by_a_setting_only(tmp_path_factory, setting, dry):
    path = str(ROOT / "dags" / "prune.py")
    report = parsed(tmp_path_factory, [path], **setting)[path]
    template = jinja2.Template(report["env"]["prune.prune"]["DRY_RUN"])
    assert template.render(params=report["params"]["prune"]) == dry


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


def shell(report, name):
    """The shell lines of the commands of one model."""
    return [one for one in report[str(ROOT / "dags" / name)]["shell"] if f" {MODEL} " in f"{one} "]


def test_steps_run_in_the_task_itself_without_an_account_of_their_own(report):
    steps = ("prepare", "validate", "train", "evaluate", "register")
    assert shell(report, "train.py") == [f'perennial {step} {MODEL} --workdir "$WORK"' for step in steps]
    assert shell(report, "maintain.py") == [
        f"perennial features publish {MODEL}",
        f"perennial predictions seal {MODEL}",
    ]


def test_tasks_ask_the_account_that_trains_for_its_steps(tmp_path_factory):
    files = [str(ROOT / "dags" / name) for name in ("train.py", "maintain.py")]
    report = parsed(tmp_path_factory, files, PERENNIAL_TRAINING_SOCKET="/run/ask.sock")
    asked = [
        f'perennial training ask {step} {MODEL} --workdir "$WORK"'
        for step in ("prepare", "validate", "train", "evaluate")
    ]
    own = [
        f'perennial features publish {MODEL} --workdir "$WORK"',
        f'perennial register {MODEL} --workdir "$WORK"',
    ]
    assert shell(report, "train.py") == [*asked[:2], own[0], *asked[2:], own[1]]
    assert f'perennial training ask clear_work {MODEL} --workdir "$WORK"' in shell(report, "maintain.py")


def test_with_a_work_store_only_the_steps_that_read_data_stay_on_the_machine_of_the_plant(tmp_path_factory):
    files = [str(ROOT / "dags" / "train.py")]
    report = parsed(tmp_path_factory, files, PERENNIAL_WORK_STORE="s3://work/plant")[files[0]]
    steps = ("prepare", "validate", "train", "evaluate", "register")
    kept = [f'perennial {step} {MODEL} --workdir "$WORK" --kept-in "$KEPT"' for step in steps]
    assert [line for line in report["shell"] if line.split()[2] == MODEL] == kept
    queues = [report["queues"][f"train_{MODEL}.{step}"] for step in (*steps, "offer")]
    assert queues == ["light"] * 2 + ["training"] * 4
