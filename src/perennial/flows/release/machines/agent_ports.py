"""The tools of the agent of a serving machine: the database, and the adapters of that machine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from perennial.core.release.traffic import Route
from perennial.ports.machines import Desk
from perennial.ports.traffic import Pool, Probe, Router
from perennial.serving.desired_state import DesiredState, DesiredVersion

Fetch = Callable[[DesiredVersion, Path], None]
"""Writes the files of a version into an empty folder."""


class MachineRouter(Router, Protocol):
    """Router of this machine."""

    def routes(self) -> Mapping[str, Route]:
        """Return model -> confirmed route. Raises RouterRejected where their file is damaged."""

    def restore(self, routes: Mapping[str, Route]) -> None:
        """Make these the confirmed routes, in place of a file that is lost or damaged, without a look at the router."""

    def overview(self) -> list[dict[str, Any]]:
        """Return a row per model and pool with a target."""


class MachinePool(Pool, Protocol):
    """Pool of this machine."""

    def hold(
        self, pool: str, wanted: DesiredState, fetch: Fetch, stay: Collection[tuple[str, str]] = ()
    ) -> None:
        """Make these the versions of a pool; `fetch` is asked for those that are not here.

        Args:
            stay: (model, digest) of others that stay, where the pool holds them.
        """

    def held(self, pool: str) -> Collection[tuple[str, str]]:
        """Return (model, digest) of the versions of a pool. Raises ModelFileError where its file is damaged."""

    def problems(self) -> dict[int, list[str]]:
        """Return the problems of the server at each port."""


@dataclass(frozen=True)
class AgentPorts:
    """Tools of an agent."""

    desk: Desk
    router: MachineRouter
    pool: MachinePool
    probe: Probe
    fetch: Fetch
    keep_files: Callable[[str], None]
    """Takes a set of small signed files as JSON."""
    servers: Mapping[str, int]
    """Pool -> model servers of this machine."""
    send_log: Callable[[datetime], int]
    """Sends what the model servers have logged."""
    send_every: float
    """Seconds between two such passes."""
