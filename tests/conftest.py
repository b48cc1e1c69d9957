"""Fixtures that more than one folder of tests uses; each starts nothing before a test asks for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from examples import DEEP, EVERY_RUN
from hypothesis import settings
from serving_stack import ServingStack

# `--hypothesis-profile=deep` (make test-deep) replaces the first one. No deadline: tests run side by side.
settings.register_profile("ci", max_examples=EVERY_RUN, deadline=None)
settings.register_profile("deep", max_examples=DEEP, deadline=None)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def serving_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingStack]:
    """Envoy and model servers of this session; every test uses a model name of its own."""
    stack = ServingStack(tmp_path_factory.mktemp("serving"))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium on this machine")
    assert found, "CI needs Chromium"
    return found
