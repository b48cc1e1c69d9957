"""SIGKILL of one process during a release; the end must be the one of a release in which nobody dies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from release_house import MODEL, ReleaseHouse
from release_scenarios import stop

from perennial.core.release import ReleaseStatus
from perennial.errors import ToolError

PATIENCE = 120.0


def released(house: ReleaseHouse, deeds: Mapping[str, Callable[[], object]]) -> ReleaseStatus:
    """Walk a release to its end; at each named stop (`release_scenarios.stop`) its deed is done once."""
    left = dict(deeds)
    status = house.start(house.challengers()[0])
    end = time.monotonic() + PATIENCE
    while not status.phase.is_final():
        assert time.monotonic() < end, f"{status.phase}: {status.note}; {status.evidence}"
        left.pop(stop(status), lambda: None)()
        try:
            status = house.walk(status)
        except ToolError:
            continue  # nothing was saved: the next pass repeats it, as `release reconcile` does
    assert not left, f"it never stood at {list(left)}"
    return status


def end_of(house: ReleaseHouse, status: ReleaseStatus) -> dict[str, Any]:
    """What a release left behind, with versions by their part in it, so that two releases compare."""
    assert status.champion is not None
    parts = {status.candidate.version: "candidate", status.champion.version: "champion before"}
    state, registry = house.state(), house.ports.registry
    route = state.pop("route")
    digests = {status.candidate.digest: "candidate", status.champion.digest: "champion before"}
    records = {name: registry.find(MODEL, version) for version, name in parts.items()}
    return {
        **state,
        "phase": status.phase,
        "canary pool": [digests.get(digest) for digest in state["canary pool"]],
        "backup": parts.get(route.backup.version) if route.backup else None,
        "traffic": (parts.get(route.stable.version), route.canary, route.canary_weight, route.mirror),
        "release in traffic": route.stable.release_id == status.release_id,
        "aliases": {name: parts.get(version) for name, version in state["aliases"].items()},
        "lifecycles": {name: record.tags["lifecycle"] for name, record in records.items() if record},
        "entries": [row.entry.kind for row in house.ports.ledger.rows(release_id=status.release_id)],
    }
