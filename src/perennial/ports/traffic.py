"""What answers requests, what sends them there, and what is known of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from perennial.core.release.traffic import AnyRoute, Counters, Expected, Readiness, Route
from perennial.core.version import VersionRef

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.release.rollback import Rollback


class Pool(Protocol):
    """The model servers of the pools (BentoML), driven by desired-state files."""

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Ask every server of the pool to hold this version; idempotent."""

    def drop(self, pool: str, model: str, digest: str) -> None:
        """Ask every server of the pool to let go of this version; idempotent."""

    def readiness(self, pool: str, model: str, digest: str) -> Readiness: ...

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        """Send `requests` synthetic requests straight to one server; latencies in ms."""


class Probe(Protocol):
    """One unlogged question straight to a model server (BentoML)."""

    def predict(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """Ask a server of the pool that has loaded the version by entity; empty when it answers with
        exactly that version, else why not."""


class RollbackJournal(Protocol):
    """Rollbacks whose traffic has moved, or is about to, and which are not on record yet (files)."""

    def put(self, rollback: Rollback) -> None:
        """Keep it over a crash of the machine; the same id again replaces it."""

    def pending(self) -> Sequence[Rollback]:
        """In the order in which they happened."""

    def remove(self, rollback: Rollback) -> None: ...

    def settling(self) -> AbstractContextManager[bool]:
        """Whether this process may write them into the record: one at a time may."""


class Router(Protocol):
    """Live traffic (Envoy)."""

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        """Make this the live route of its model and wait until Envoy confirms it; only over the route that is
        expected to be live, where one is named.

        Raises RouteMoved when another one is live: whoever decided on what is gone must look again.
        RouterRejected when Envoy refuses it (the last good one stays), RouterUnavailable when
        it does not answer.
        """

    def route(self, model: str) -> Route | None:
        """The route last applied; None when the model has none."""

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Counted so far, by pool name; under `backup` what the backup answered in place of the champion."""

    def healthy(self, model: str) -> Mapping[str, int]:
        """Number of healthy servers by pool name."""

    def differences(self) -> Sequence[str]:
        """Return a text per difference between what Envoy does and the routes last applied.

        A listener that clients cannot reach is a difference too. Raises RouterUnavailable.
        """

    def repair(self) -> None:
        """Bring Envoy back to the routes last applied; raises RouterUnavailable."""


class FeedbackStore(Protocol):
    """Labels and rewards that came back, keyed by prediction id (our SQL database)."""

    def put(self, labels: Mapping[str, float], received: datetime) -> int:
        """Store; the same label again counts 0; another label for a known id replaces it and counts 1.
        Returns how many changed."""

    def labels(self, since: datetime | None = None) -> Mapping[str, float]:
        """prediction id -> label, of those received at or after `since`."""

    def put_rewards(self, rewards: Mapping[str, float], received: datetime) -> int:
        """As `put`."""

    def rewards(self, since: datetime | None = None) -> Mapping[str, float]:
        """prediction id -> reward, of those received at or after `since`."""


class PredictionLog(Protocol):
    """What the model servers answered (files)."""

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        """Columns: prediction_id, request_id, at (UTC), model, version, digest, release_id, capsule, pool,
        shadow (bool), entity (JSON text), context (request values, JSON text; `{}` where none were logged),
        score, decision, latency_ms; experiment, arm (version) and unit (pseudonym of the user) of a request
        that was drawn to a side of a split, else None; names (of the features that the answering version takes,
        JSON list: tells a value not known from a feature it has not); and one `feature:<name>` column per feature
        of any of them; in order of `at`."""
