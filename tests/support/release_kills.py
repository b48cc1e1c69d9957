"""SIGKILL of one process during a release; the end must be the one of a release in which nobody dies."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import release_walker
from live_releases import MODEL, LiveReleases
from release_scenarios import stop

from perennial.core.release.status import ReleaseStatus
from perennial.core.version import VersionRef
from perennial.errors import ToolError

PATIENCE = 600.0
MOST_KILLS = 100


def released(live_releases: LiveReleases, deeds: Mapping[str, Callable[[], object]]) -> ReleaseStatus:
    """Walk a release to its end; at each named stop (`release_scenarios.stop`) its deed is done once."""
    left = dict(deeds)
    status = live_releases.start(live_releases.challengers()[0])
    end = time.monotonic() + PATIENCE
    while not status.phase.is_final():
        assert time.monotonic() < end, f"{status.phase}: {status.note}; {status.evidence}"
        left.pop(stop(status), lambda: None)()
        try:
            status = live_releases.walk(status)
        except ToolError:
            continue  # nothing was saved: the next pass repeats it, as `release reconcile` does
    assert not left, f"it never stood at {list(left)}"
    return status


def end_of(live_releases: LiveReleases, status: ReleaseStatus) -> dict[str, Any]:
    """What a release left behind, with versions by their part in it, so that two releases compare."""
    assert status.champion is not None
    parts = {status.candidate.version: "candidate", status.champion.version: "champion before"}
    state, registry = live_releases.state(), live_releases.ports.registry
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
        "entries": [row.entry.kind for row in live_releases.ports.ledger.rows(release_id=status.release_id)],
    }


@contextmanager
def _importable_by_children() -> Iterator[None]:
    """The fork server is told of our `sys.path` but, in Python 3.11, imports without it."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


class Walkers:
    """Processes that run the real command `release reconcile`, and are killed.

    They are forked from a server that has imported everything: MLflow's import takes longer than a release.
    """

    def __init__(self, live_releases: LiveReleases) -> None:
        self._releases = live_releases
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([release_walker.__name__])
        with _importable_by_children():
            forkserver.ensure_running()
        self.kills = 0

    def after_each_effect(self, candidate: VersionRef, notes: Path) -> ReleaseStatus:
        """Each kind of change that a release makes to the world outside is once the last of a process."""
        return self._until_done(candidate, notes, None)

    def at_random(self, candidate: VersionRef, count: int, seed: int) -> ReleaseStatus:
        """So many are killed from outside, whatever they are at; then one may end it."""
        dice = random.Random(seed)
        return self._until_done(candidate, None, [dice.uniform(0.05, 1.0) for _ in range(count)])

    def _until_done(
        self, candidate: VersionRef, notes: Path | None, delays: list[float] | None
    ) -> ReleaseStatus:
        begun, variables = self._releases.start(candidate), self._releases.stack.environment
        for delay in [*(delays or []), *([None] * MOST_KILLS)]:
            process = self._context.Process(target=release_walker.walk, args=(variables, notes))
            process.start()
            process.join(PATIENCE if delay is None else delay)
            if process.is_alive():
                process.kill()
                process.join()
                assert delay is not None, f"no end within {PATIENCE} s"
            if process.exitcode != -signal.SIGKILL:
                assert process.exitcode == 0, f"exit status {process.exitcode}"
                return self._releases.ports.releases.load(begun.release_id)
            self.kills += 1
        raise AssertionError("killed again and again, the release did not end")
