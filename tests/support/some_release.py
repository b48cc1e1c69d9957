"""A release as the store holds one, under the shipped spec."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from perennial import catalog
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.version import VersionRef
from perennial.settings import Settings

MODEL = "test_failure_predictor"


def a_release(at: datetime, phase: Phase, **more: Any) -> ReleaseStatus:
    """A first version of the model in this phase since then; `more` says otherwise."""
    spec = catalog.spec(MODEL, Settings())
    usual = {
        "release_id": "r1",
        "candidate": VersionRef(model=MODEL, version="1.0.0", key="1", digest="d" * 64, capsule="c"),
        "champion": None,
        "champion_release_id": None,
        "policy": spec.release,
        "approval_policy": spec.approval,
        "policy_digest": "p" * 64,
        "spec_digest": "p" * 64,
        "started_at": at,
        "entered_at": at,
        "phase": phase,
    }
    return ReleaseStatus(**usual | more)
