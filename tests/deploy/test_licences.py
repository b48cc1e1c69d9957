"""Licences of what is installed: each is allowed by deploy/licences.yaml, or an exception with its reason."""

from __future__ import annotations

import pytest
import yaml
from containers.licences import POLICY, installed, problems

from perennial.core.governance.bom import Package

RULES = yaml.safe_load(POLICY.read_text())


def test_every_installed_package_may_be_used():
    """A new package with another licence fails here until somebody decides."""
    packages = installed()
    assert len(packages) > 100
    assert problems(packages, RULES) == []


@pytest.mark.parametrize(
    ("licence", "passes"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR Apache-2.0", True),
        ("MIT AND GPL-3.0-only", False),
        ("MPL-2.0 AND (AGPL-3.0-only OR SSPL-1.0)", False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("Proprietary", False),
        ("LicenseRef-Ours", False),
        (None, False),
    ],
)
def test_a_licence_passes_by_what_it_is_made_of(licence, passes):
    lines = problems([Package(name="some", version="1", licence=licence)], RULES)
    assert lines == ([] if passes else [f"some 1: {licence or 'no licence is stated'}"])


def test_an_exception_is_for_one_package_has_a_reason_and_is_needed():
    assert all(len(reason) > 20 for reason in RULES["exceptions"].values())
    assert problems([Package(name="codespell", version="1", licence="GPL-2.0-only")], RULES) == []
    assert problems([Package(name="codespell", version="1", licence="MIT")], RULES) == [
        "codespell: an exception that it does not need"
    ]


def test_a_licence_that_a_person_read_counts_for_that_version():
    version = RULES["read"]["huey"]["version"]
    assert problems([Package(name="huey", version=version, licence=None)], RULES) == []
    (line,) = problems([Package(name="huey", version="99", licence=None)], RULES)
    assert "read it again" in line
