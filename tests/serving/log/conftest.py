"""The log that the tests of this folder upload."""

from __future__ import annotations

from pathlib import Path

import pytest
from uploading.days import write_days


@pytest.fixture
def log(tmp_path, s3) -> Path:
    """Ten days of predictions, those of today in a journal; and the bucket."""
    s3.create_bucket(Bucket="logs")
    write_days(tmp_path)
    return tmp_path
