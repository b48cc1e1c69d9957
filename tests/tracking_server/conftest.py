"""One MLflow server with accounts for every test of this folder that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow_house import MlflowHouse


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowHouse]:
    made = MlflowHouse(tmp_path_factory.mktemp("mlflow"))
    try:
        made.start()
        yield made
    finally:
        made.stop()
