"""The manifests of deploy/kustomize: as files, and as kustomize builds them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from containers.described import ROOT

Manifest = dict[str, Any]
KUSTOMIZE = ROOT / "deploy" / "kustomize"
BUILDERS = (["kustomize", "build"], ["kubectl", "kustomize"])
FIRST_WITH_COMPONENTS = (5, 0)


@cache
def builder() -> tuple[str, ...]:
    """Return the command that builds an overlay; empty where no kustomize of version 5 is installed."""
    for command in BUILDERS:
        if shutil.which(command[0]) is None:
            continue
        asked = ["version"] if command[0] == "kustomize" else ["version", "--client", "--output=json"]
        done = subprocess.run([command[0], *asked], capture_output=True, text=True, check=False)
        text = done.stdout
        if command[0] == "kubectl" and done.returncode == 0:
            text = json.loads(text).get("kustomizeVersion", "")
        found = re.search(r"v(\d+)\.(\d+)", text)
        if found and (int(found[1]), int(found[2])) >= FIRST_WITH_COMPONENTS:
            return tuple(command)
    return ()


def build(folder: Path) -> list[Manifest]:
    done = subprocess.run([*builder(), folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def files() -> dict[str, Manifest]:
    """Return the manifests of the base and the components by their path."""
    paths = [
        path for folder in ("base", "components") for path in sorted((KUSTOMIZE / folder).rglob("*.yaml"))
    ]
    read = {str(path.relative_to(KUSTOMIZE)): yaml.safe_load(path.read_text()) for path in paths}
    return {
        name: body for name, body in read.items() if body.get("kind", "Kustomization") not in NO_MANIFESTS
    }


NO_MANIFESTS = {"Kustomization", "Component"}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest, dict[str, str]]]:
    """Yield name, pod and labels of each workload."""
    for body in manifests:
        if (template := template_of(body)) is not None:
            yield body["metadata"]["name"], template["spec"], template["metadata"]["labels"]


def template_of(body: Manifest) -> Manifest | None:
    """Return the template of the pods of a workload; None where it makes none."""
    spec = body.get("spec", {})
    return spec.get("jobTemplate", {}).get("spec", spec).get("template")


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and "matchExpressions" not in selector
