"""Workflows of GitHub: of the right form, with pinned actions and few rights, and with commands that exist here."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml
from containers.described import ROOT, stages
from containers.schemas import check_form

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))
FORMS = sorted(
    set((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")) - set(ROOT.glob(".github/*/config.yml"))
)
SCHEMAS = {
    "vendor.github-workflows": WORKFLOWS,
    "custom.github-workflows-require-timeout": WORKFLOWS,
    "vendor.github-issue-forms": FORMS,
}
ATTESTS = {"id-token": "write", "attestations": "write"}
WRITES = {
    ("release", "package"): {"contents": "write", **ATTESTS},
    ("release", "images"): {"contents": "read", **ATTESTS},
}
"""(workflow, job) -> rights beyond reading the repository."""
COMMENTS = {("models", "comment"): {"pull-requests": "write"}}
"""The same for jobs that run nothing of the repository (`test_model_pipeline.py`), and so wait for nobody."""
JOBS = [
    (path.stem, name, job)
    for path in WORKFLOWS
    for name, job in yaml.safe_load(path.read_text())["jobs"].items()
]
every_job = pytest.mark.parametrize(
    ("workflow", "name", "job"), JOBS, ids=[f"{file}-{name}" for file, name, _ in JOBS]
)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_files_have_the_form_of_their_schema(schema):
    assert SCHEMAS[schema]
    check_form(schema, SCHEMAS[schema])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read(path):
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in path.read_text(), "it runs the code of strangers with our secrets"


@every_job
def test_a_job_that_writes_waits_for_a_person(workflow, name, job):
    rights = job.get("permissions", {"contents": "read"})
    assert rights == {**WRITES, **COMMENTS}.get((workflow, name), {"contents": "read"})
    if (workflow, name) in WRITES or "secrets." in str(job):
        assert job["environment"] == "release"


@every_job
def test_actions_are_pinned_and_leave_no_token(workflow, name, job):
    for step in job["steps"]:
        action = step.get("uses", "")
        assert re.fullmatch(r"(actions/[\w-]+@[0-9a-f]{40})?", action), action
        if action.startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@every_job
def test_a_command_is_one_that_works_by_hand(workflow, name, job):
    """No text of a pull request is put into a shell; targets, images and files are there."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    for step in job["steps"]:
        command = step.get("run", "")
        assert "${{" not in command, command
        assert set(re.findall(r"\bmake ([a-z][\w-]*)", command)) <= targets
        assert all((ROOT / file).is_file() for file in re.findall(r"--file (\S+)", command))
    assert set(job.get("strategy", {}).get("matrix", {}).get("role", ())) <= set(stages())


def test_the_tag_of_a_release_is_compared_with_the_version():
    from perennial import __version__

    (step,) = [
        step
        for _, name, job in JOBS
        if name == "package"
        for step in job["steps"]
        if "grep" in step.get("run", "")
    ]
    for tag, expected in ((f"v{__version__}", 0), ("v99.0.0", 1)):
        done = subprocess.run(["bash", "-c", step["run"]], env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"},
                              cwd=ROOT, check=False)  # fmt: skip
        assert done.returncode == expected, tag
