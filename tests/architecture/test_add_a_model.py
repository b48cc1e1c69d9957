"""A new model is one module and one YAML: added to a fresh clone, trained there by `dvc repro`, registered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project_copy import fresh_clone, git

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).resolve().parents[2]
EXISTING = "test_failure_predictor"
NAME = "linear_failure_predictor"

MODULE = '''
"""Logistic regression on three features, as small as a model can be."""

import numpy as np
import torch

from perennial.models.base import Model


class LinearFailurePredictor(Model):
    architecture = "logistic-regression/1"

    @staticmethod
    def suggest(trial):
        return {"rate": trial.suggest_float("rate", 0.01, 0.3, log=True)}

    def fit(self, train, validation, epochs, progress):
        torch.manual_seed(self.seed)
        self.network = Network(train.features.shape[1])
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.parameters["rate"])
        features, target = torch.from_numpy(train.features), torch.from_numpy(train.target)
        for epoch in range(epochs):
            loss = torch.nn.functional.binary_cross_entropy(self.network(features), target)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            progress(epoch, {"train_loss": loss.item()})
        return epochs

    def predict(self, features):
        with torch.inference_mode():
            return self.network(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))).numpy()

    def export(self, path):
        example = (torch.zeros((2, len(self.feature_names))),)
        shapes = ({0: torch.export.Dim("batch", min=1)},)
        torch.onnx.export(
            self.network, example, input_names=["features"], output_names=["score"],
            dynamic_shapes=shapes, dynamo=True, verbose=False,
        ).save(str(path))

    def parameter_count(self):
        return sum(parameter.numel() for parameter in self.network.parameters())


class Network(torch.nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.linear = torch.nn.Linear(inputs, 1)

    def forward(self, features):
        return torch.sigmoid(self.linear(torch.nan_to_num(features))).squeeze(-1)
'''


def spec_of_the_new_model() -> dict:
    """The existing YAML with another name, entrypoint and features; thresholds stay."""
    spec = yaml.safe_load((ROOT / "configs" / "models" / f"{EXISTING}.yaml").read_text())
    columns = ["failure_rate", "pass_rate_30d", "last_execution_status"]
    return spec | {
        "name": NAME,
        "description": "The chance that a test fails, from three features.",
        "entrypoint": f"perennial.models.{NAME}:LinearFailurePredictor",
        "features": spec["features"]
        | {
            "service": NAME,
            "columns": [f"test_execution_features:{name}" for name in columns],
            "request": {},
        },
        "evaluation": spec["evaluation"] | {"bootstrap": 20},
        "tuning": spec["tuning"] | {"trials": 2, "epochs": 8},
        "monitoring": spec["monitoring"] | {"columns": ["failure_rate", "pass_rate_30d"]},
    }


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The project as a fresh clone has it, plus two files."""
    copy = fresh_clone(tmp_path_factory.mktemp("clone"))
    (copy / "src" / "perennial" / "models" / f"{NAME}.py").write_text(MODULE.lstrip())
    (copy / "configs" / "models" / f"{NAME}.yaml").write_text(yaml.safe_dump(spec_of_the_new_model()))
    return copy


def run(project: Path, tool: str, *line: str) -> str:
    """Run a command line in the clone; returns its output."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PERENNIAL_")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", tool, *line],
        cwd=project, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(line)}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_two_files_are_all_that_was_added(project):
    added = git(project, "status", "--porcelain", "--untracked-files=all").split()[1::2]
    assert sorted(added) == [f"configs/models/{NAME}.yaml", f"src/perennial/models/{NAME}.py"]


def test_it_is_listed(project):
    listed = json.loads(run(project, "perennial", "models", "list", "--json"))
    there = {path.stem for path in (ROOT / "configs" / "models").glob("*.yaml")}
    assert EXISTING in there
    assert {row["model"] for row in listed} == there | {NAME}


@pytest.fixture(scope="module")
def reproduced(project) -> str:
    """The output of `dvc repro` for the new model on a simulated history."""
    params = yaml.safe_load((project / "params.yaml").read_text())
    small = {"model": NAME, "source": "simulator", "tuning": {"trials": 2, "epochs": 8, "seed": 7}}
    (project / "params.yaml").write_text(yaml.safe_dump(params | small))
    run(project, "perennial", "local", "setup")
    return run(project, "dvc", "repro")


@pytest.mark.deep  # minutes; test_add_a_table has the same pipeline for a table
def test_repro_is_green_and_a_second_run_does_nothing(project, reproduced):
    for stage in ("bootstrap", "prepare", "validate", "train", "evaluate"):
        assert f"Running stage '{stage}'" in reproduced
    assert "up to date" in run(project, "dvc", "repro")
    shown = json.loads(run(project, "dvc", "metrics", "show", "--json").split("\n")[0])
    assert "holdout.roc_auc" in json.dumps(shown)


@pytest.mark.deep  # minutes; test_add_a_table has the same pipeline for a table
def test_it_becomes_a_registered_version(project, reproduced):
    work = project / "data" / NAME
    run(project, "perennial", "register", NAME, "--workdir", str(work))
    text = json.dumps(json.loads(run(project, "perennial", "models", "show", NAME, "--json")))
    assert "1.0.0" in text
    assert "logistic-regression/1" in text
    manifest = json.loads((work / "model" / "manifest.json").read_text())
    assert manifest["features"] == ["failure_rate", "pass_rate_30d", "last_execution_status"]
