"""Overlays that a test makes of those of deploy/."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import yaml
from containers.manifests import KUSTOMIZE, Manifest, build


@pytest.fixture(scope="session")
def overlay_with(tmp_path_factory) -> Callable[[str, str], list[Manifest]]:
    """Return a function that builds an overlay with one more component, both by their names."""

    def built(overlay: str, component: str) -> list[Manifest]:
        folder = tmp_path_factory.mktemp("overlay")
        there = os.path.relpath(KUSTOMIZE, folder)
        text = {
            "namespace": "perennial",
            "resources": [f"{there}/overlays/{overlay}"],
            "components": [f"{there}/components/{component}"],
        }
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(text))
        return build(folder)

    return built
