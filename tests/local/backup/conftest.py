"""The plant that the tests of this folder save."""

from __future__ import annotations

import pytest
from backups.saved_plant import some_plant

from perennial.settings import Settings


@pytest.fixture
def plant(tmp_path) -> Settings:
    return some_plant(tmp_path / "state")
