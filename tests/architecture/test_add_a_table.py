"""A table of other people becomes a registered version by a few commands; a wrong spec beside it stops only itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project_copy import fresh_clone, git
from sklearn import datasets

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAME = "wine"


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The project as a fresh clone has it, with a CSV file beside it."""
    copy = fresh_clone(tmp_path_factory.mktemp("clone"))
    datasets.load_wine(as_frame=True).frame.to_csv(copy / "wine.csv", index=False)
    return copy


def call(project: Path, *line: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PERENNIAL_")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "OMP_NUM_THREADS": "1",
        "AIRFLOW_HOME": str(project / "airflow"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "true",
    }
    return subprocess.run(
        [sys.executable, *line], cwd=project, env=env, capture_output=True, text=True, check=False
    )


def run(project: Path, *line: str) -> str:
    done = call(project, "-m", "perennial", *line)
    assert done.returncode == 0, f"{' '.join(line)}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def registered(project) -> str:
    """The output of `dvc repro`, and then of `register`, for the model that `init` has made."""
    shown = run(project, "init", NAME, "--from", "wine.csv", "--target", "target", "--yes")
    assert "task: multiclass (3 whole numbers, each a class" in shown
    path = project / "configs" / "models" / f"{NAME}.yaml"
    spec = yaml.safe_load(path.read_text())
    spec["tuning"] |= {"trials": 1, "epochs": 20}
    spec["evaluation"]["bootstrap"] = 20
    spec["gate"]["variants"] = {"agreement": 0.5, "quality_drop": 1.0}
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    run(project, "local", "setup")
    return dvc(project) + run(project, "register", NAME)


def dvc(project: Path) -> str:
    done = call(project, "-m", "dvc", "repro", f"pipelines/{NAME}/dvc.yaml")
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_repro_ran_every_step_and_a_second_run_does_nothing(project, registered):
    for stage in ("prepare", "validate", "train", "evaluate"):
        assert f"Running stage 'pipelines/{NAME}/dvc.yaml:{stage}'" in registered
    assert "up to date" in dvc(project)


def test_init_changed_nothing_that_was_there_but_the_terms(project, registered):
    changed = git(project, "status", "--porcelain", "--untracked-files=all").split("\n")
    assert sorted(filter(None, changed)) == [
        " M configs/sources.yaml",
        f"?? configs/expectations/{NAME}.yaml",
        f"?? configs/models/{NAME}.yaml",
        f"?? data/{NAME}/metrics.json",  # of `dvc repro`, for `dvc metrics diff`
        f"?? models/{NAME}.py",
        f"?? pipelines/{NAME}/dvc.lock",  # of `dvc repro`
        f"?? pipelines/{NAME}/dvc.yaml",
        "?? wine.csv",
    ]
    assert len((project / "models" / f"{NAME}.py").read_text().splitlines()) < 10


def test_the_version_is_registered_and_beats_the_class_frequencies(project, registered):
    assert f"candidate {NAME} 1.0.0" in registered
    listed = json.loads(run(project, "models", "list", "--json"))
    assert {row["model"]: row["candidate"] for row in listed}[NAME] == "1.0.0"
    scores = json.loads((project / "data" / NAME / "evaluation.json").read_text())["scores"]
    assert scores["model"]["log_loss"]["high"] < scores["class_frequency"]["log_loss"]["low"]


def test_airflow_has_its_dags_and_one_that_tells_of_a_wrong_spec(project, registered):
    (project / "configs" / "models" / "broken.yaml").write_text("name: broken\n")
    script = (
        "import sys; from airflow.dag_processing.dagbag import DagBag; "
        "bag = DagBag(dag_folder=sys.argv[1], include_examples=False); "
        "assert not bag.import_errors, bag.import_errors; print('DAGS', *sorted(bag.dags)); "
        "print(bag.dags['train_broken'].doc_md)"
    )
    done = call(project, "-c", script, str(project / "dags"))
    assert done.returncode == 0, done.stderr[-3000:]
    dags = done.stdout.split("DAGS", 1)[1]
    assert {f"{kind}_{NAME}" for kind in ("train", "release", "monitor", "maintain", "batch")} <= set(
        dags.split()
    )
    assert "broken.yaml is not a model spec" in dags


def test_a_variant_of_it_is_a_patch_version(project, registered):
    recipes = ("--recipe", "fp16", "--recipe", "tensorrt")
    made = json.loads(run(project, "optimise", NAME, "1.0.0", *recipes, "--json"))
    half, tensorrt = made["variants"]
    assert (made["parent"], half["version"], tensorrt["version"]) == ("1.0.0", "1.0.1", None)
    assert "is not here" in tensorrt["not_made"]
    assert half["figures"]["bytes"] < half["figures"]["parent_bytes"]
    versions = json.loads(run(project, "models", "show", NAME, "--json"))
    assert [version["version"] for version in versions] == ["1.0.1", "1.0.0"]
