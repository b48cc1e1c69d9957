"""The SDK of KServe, installed once, and a server of two models behind its door."""

from __future__ import annotations

import pytest
from clients import kserve_sdk


@pytest.fixture(scope="session")
def kserve(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kserve")
    kserve_sdk.install(folder)
    return folder
