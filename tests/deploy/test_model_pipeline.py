"""The workflow of models: its order and rights, its commands, and its make targets over a small DVC pipeline."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from containers.described import ROOT

from perennial.cli import app

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "models.yaml").read_text())
JOBS = WORKFLOW["jobs"]
PLANTS = {name for name, job in JOBS.items() if "self-hosted" in job["runs-on"]}
PIPELINE = """\
stages:
  validate:
    cmd: echo ran >>runs.txt && mkdir -p data/model && cp params.yaml data/model/validation.txt
    deps: [params.yaml]
    outs: [data/model/validation.txt]
  evaluate:
    cmd: python measure.py
    deps: [data/model/validation.txt]
    metrics: [data/model/metrics.json: {cache: false}]
"""
MEASURE = """\
import json, pathlib
text = pathlib.Path("data/model/validation.txt").read_text()
pathlib.Path("data/model/metrics.json").write_text(json.dumps({"roc_auc": float(text.split()[1])}))
"""


def commands(job: dict) -> list[str]:
    return [line.strip() for step in job["steps"] for line in step.get("run", "").splitlines()]


def test_each_step_to_production_waits_for_the_one_before():
    chain, name = [], "production"
    while name:
        chain.append(name)
        name = JOBS[name].get("needs", "")
    assert chain == ["production", "integration", "staging", "experiment", "data"]
    assert JOBS["production"]["environment"] == "production"
    assert JOBS["staging"]["environment"] == JOBS["integration"]["environment"] == "staging"
    assert {"schedule", "workflow_dispatch", "pull_request"} == set(WORKFLOW[True])


def test_a_plant_never_runs_the_code_of_a_pull_request():
    """A job behind another that a pull request skips is skipped as well."""
    assert {"staging", "integration", "production"} == PLANTS
    assert "github.event_name != 'pull_request'" in JOBS["staging"]["if"]
    assert "refs/heads/main" in JOBS["staging"]["if"]
    assert all("if" not in JOBS[name] and JOBS[name]["needs"] in PLANTS for name in PLANTS - {"staging"})


def test_what_may_write_to_a_pull_request_runs_nothing_of_it():
    job = JOBS["comment"]
    assert "head.repo.full_name == github.repository" in job["if"]
    assert not any("uses" in step for step in job["steps"])
    assert all(shlex.split(line)[0] in ("gh", "printf") for line in commands(job))


@pytest.mark.parametrize("name", sorted(JOBS))
def test_commands_of_ours_are_there_with_their_options(name):
    for line in commands(JOBS[name]):
        words = shlex.split(line)
        if not words[0].endswith("perennial"):
            continue
        command, rest = app, words[1:]
        while isinstance(command, click.Group):
            _, command, rest = command.resolve_command(click.Context(command), rest)
        command.make_context(command.name, [word for word in rest if not word.startswith(">")])


def test_the_bounds_of_the_gate_are_compared_before_anything_is_registered():
    lines = commands(JOBS["experiment"])
    assert lines.index("make repro") < lines.index("make thresholds")
    assert not any("register" in line for line in lines)
    uploaded = next(
        step["with"]["path"] for step in JOBS["experiment"]["steps"] if "upload" in step.get("uses", "")
    )
    assert {"data/report.md", "data/*/plots"} <= set(uploaded.split())


class Project:
    """A git repository with a DVC pipeline of two stages, our `.gitignore` and our Makefile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.folder.mkdir()
        shutil.copy(ROOT / ".gitignore", self.folder)
        (self.folder / "dvc.yaml").write_text(PIPELINE)
        (self.folder / "measure.py").write_text(MEASURE)
        (self.folder / ".git-identity").write_text("[user]\nname = test\nemail = test@example.com\n")
        self.set(0.5)
        self.run("git", "init", "--quiet", "--initial-branch=main")
        self.run("dvc", "init", "--quiet")
        self.run("dvc", "config", "cache.type", "copy")
        self.run("dvc", "remote", "add", "--default", "kept", str(folder / "remote"))

    def set(self, value: float) -> None:
        (self.folder / "params.yaml").write_text(f"value: {value}\n")

    def run(self, *command: str) -> str:
        environment = {
            **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_GLOBAL": str(self.folder / ".git-identity"),
        }  # fmt: skip
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def make(self, *target: str) -> str:
        return self.run(
            "make", "--no-print-directory", "--file", str(ROOT / "Makefile"), "--old-file=setup", *target
        )

    def runs(self) -> int:
        return len((self.folder / "runs.txt").read_text().split())


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """A project whose branch main has the metrics of an experiment, tagged data-v1.0, and a change of them since."""
    project = Project(tmp_path_factory.mktemp("pipeline"))
    project.make("data-check")
    project.make("repro")
    project.run("git", "add", ".")
    project.run("git", "commit", "--quiet", "--message=the first experiment")
    project.run("git", "tag", "data-v1.0")
    project.run("dvc", "push", "--run-cache")
    project.set(0.75)
    project.make("repro")
    return project


@pytest.mark.slow
def test_the_metrics_are_in_git_and_the_data_is_not(project):
    kept = project.run("git", "ls-tree", "-r", "--name-only", "main").split()
    assert {"dvc.lock", "data/model/metrics.json"} <= set(kept)
    assert "data/model/validation.txt" not in kept


@pytest.mark.slow
def test_the_report_shows_what_changed_since_main(project):
    printed = project.make("report")
    assert (project.folder / "data" / "report.md").read_text() == printed
    row = next(line for line in printed.splitlines() if "roc_auc" in line)
    assert re.sub(r"\s", "", row).endswith("|roc_auc|0.5|0.75|0.25|")


@pytest.mark.slow
def test_a_fresh_checkout_pulls_what_was_pushed_and_runs_nothing_again(project, tmp_path):
    """By the tag of the data: `dvc pull` brings its files, and the checks have their result."""
    project.run("git", "clone", "--quiet", "--branch=data-v1.0", ".", str(tmp_path / "fresh"))
    fresh = object.__new__(Project)
    fresh.folder = tmp_path / "fresh"
    before = fresh.runs()
    fresh.make("data-check")
    assert (fresh.folder / "data" / "model" / "validation.txt").read_text() == "value: 0.5\n"
    assert fresh.runs() == before
