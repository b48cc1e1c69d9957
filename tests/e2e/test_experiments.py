"""`dvc repro` in a fresh checkout: every step runs, a second time nothing does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project_copy import fresh_clone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def dvc(project: Path, *line: str) -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("PERENNIAL_")}
    env |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(project / "src"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *line],
        cwd=project, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def test_repro_is_green_and_a_second_run_does_nothing(tmp_path):
    project = fresh_clone(tmp_path)
    params = yaml.safe_load((project / "params.yaml").read_text())
    small = params | {"source": "simulator", "tuning": {"trials": 2, "epochs": 2, "seed": 7}}
    (project / "params.yaml").write_text(yaml.safe_dump(small))
    first = dvc(project, "repro")
    assert "Running stage 'evaluate'" in first
    assert "up to date" in dvc(project, "repro")
    shown = json.loads(dvc(project, "metrics", "show", "--json").split("\n")[0])
    assert "holdout.roc_auc" in json.dumps(shown)
