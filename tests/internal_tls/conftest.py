"""Certificates of a plant as they are before a renewal."""

from __future__ import annotations

import pytest
from inside.certificates import InsideCertificates


@pytest.fixture
def inside(tmp_path) -> InsideCertificates:
    """Certificates that are six days old: due, and valid for another day."""
    made = InsideCertificates(tmp_path / "certificates")
    made.renew(days_ago=6)
    return made
