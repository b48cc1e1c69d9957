"""Ports of the traffic: model servers, router, rollback journal, feedback and the prediction log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from perennial.core.governance.reviews import ForgottenComments, Review, StoredReview
from perennial.core.release.counted.user_buckets import LogPosition, UserBuckets
from perennial.core.release.traffic import AnyRoute, Counters, Expected, Readiness, Route
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef

if TYPE_CHECKING:
    import pandas as pd

    from perennial.core.release.rollback import Rollback


class Pool(Protocol):
    """Model servers of the pools (BentoML), driven by desired-state files."""

    def ensure(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Ask every server of the pool to hold this version, pinned; idempotent."""

    def drop(self, pool: str, model: str, digest: str) -> None:
        """Ask every server of the pool to let go of this version; idempotent."""

    def load_as(self, model: str, load: Load) -> None:
        """Ask every server of every pool to hold the versions of a model like this; idempotent."""

    def readiness(self, pool: str, model: str, digest: str) -> Readiness:
        """Return how far the pool is with loading this version; one on demand need not be loaded."""

    def measure(
        self, pool: str, model: str, digest: str, payload: Mapping[str, Any], requests: int
    ) -> list[float]:
        """Send this number of synthetic requests straight to a server; return latencies in ms."""


class Probe(Protocol):
    """Unlogged request straight to a model server (BentoML)."""

    def predict(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """Send a request by entity to a server of the pool that has loaded the version.

        Returns:
            An empty text when exactly this version answers, else the problem.
        """

    def infer(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """As `predict`, by tensor."""


class RollbackJournal(Protocol):
    """Journal of rollbacks whose traffic has moved, or is about to, and which are not on record yet (files)."""

    def put(self, rollback: Rollback) -> None:
        """Store a rollback so that it survives a crash of the machine; the same id again replaces it."""

    def pending(self) -> Sequence[Rollback]:
        """Return the rollbacks in the order of their times."""

    def remove(self, rollback: Rollback) -> None:
        """Remove a rollback that is on record."""

    def recording(self) -> AbstractContextManager[bool]:
        """Enter the writing of the record; False where another process is writing it."""


class Router(Protocol):
    """Live traffic (Envoy)."""

    def apply(self, route: Route, expected: Expected = AnyRoute.ANY) -> None:
        """Make this the live route of its model and wait until Envoy confirms it.

        Args:
            expected: route that must be live for the change.

        Raises:
            RouteMoved: another route is live; decide again.
            RouterRejected: Envoy refuses the route; the last good route stays.
            RouterUnavailable: Envoy does not answer.
        """

    def route(self, model: str) -> Route | None:
        """Return the route last applied; None when the model has none."""

    def counters(self, model: str) -> Mapping[str, Counters]:
        """Return pool name -> counters; under `backup` the answers in place of the champion."""

    def answers_of_users(self, split: str | None, after: Mapping[str, LogPosition]) -> UserBuckets:
        """Return what the users of a split were answered since the last look, by bucket.

        Args:
            split: `Route.split`; None: only the places are read.
            after: `UserBuckets.read` of the last look; a machine without a place begins now.
        """

    def keep_log_small(self) -> None:
        """Bound the size of the log of users; raises RouterUnavailable."""

    def healthy(self, model: str) -> Mapping[str, int]:
        """Return pool name -> number of healthy servers."""

    def backups(self) -> Mapping[str, int]:
        """Return model -> attempts that its backup accepted in place of the champion, of all models at once."""

    def differences(self) -> Sequence[str]:
        """Return a text per difference between what Envoy does and the routes last applied.

        A listener that clients cannot reach is a difference too. Raises RouterUnavailable.
        """

    def repair(self) -> None:
        """Bring Envoy back to the routes last applied; raises RouterUnavailable."""


BySource = Mapping[str, Mapping[str, float]]
"""source -> prediction id -> value."""


class FeedbackStore(Protocol):
    """Labels and rewards of authenticated sources, keyed by prediction id and source (our SQL database)."""

    def put(
        self,
        labels: Mapping[str, float],
        received: datetime,
        source: str,
        models: Mapping[str, str] = MappingProxyType({}),
    ) -> int:
        """Store the labels of a source; another label of the source for a known id replaces it, unless it is older.

        Args:
            models: prediction id -> its model; a change without it is a change of every model (`label_changes`).

        Returns:
            The number of changes; the same label again counts 0.
        """

    def labels(self, since: datetime | None = None) -> BySource:
        """Return source -> prediction id -> label, received at or after `since`."""

    def labels_of(self, predictions: Collection[str]) -> BySource:
        """Return source -> prediction id -> label of these predictions, whenever they were received."""

    def label_changes(self, model: str, after: int | None) -> tuple[int, Collection[str] | None]:
        """Return the number of the newest change, and which predictions' labels or reviews were changed after one.

        Numbers are in the order in which changes became visible, whenever their labels were received.

        Args:
            after: number of an earlier call; None: none is asked for.

        Returns:
            Predictions of the model; there may be others among them. None in their place: the database has fewer
            changes than it had, so what was read of it must be forgotten, and read anew.
        """

    def label_times(self, since: datetime | None = None) -> Mapping[str, float]:
        """Return prediction id -> Unix time at which its first label was received, at or after `since`.

        A label that its source changed counts as received with the change.
        """

    def put_rewards(self, rewards: Mapping[str, float], received: datetime, source: str) -> int:
        """Store rewards as `put` stores labels."""

    def rewards(self, since: datetime | None = None) -> BySource:
        """Return source -> prediction id -> reward, received at or after `since`."""

    def put_reviews(
        self,
        reviews: Sequence[tuple[Review, float | None]],
        received: datetime,
        source: str,
        models: Mapping[str, str],
    ) -> tuple[int, tuple[str, ...]]:
        """Store reviews of a source with their right values as numbers; earlier ones stay as history.

        Args:
            models: prediction id -> its model.

        Returns:
            The number of changes, and the predictions that the source has reviewed too often (`MOST_CHANGES`). The
            same review again, or one that is stored already, counts 0; it can be the newest word of its source again,
            where another one came between. Comments that a rule of the ledger deletes are not stored.
        """

    def reviews(self, model: str | None = None, since: datetime | None = None) -> list[StoredReview]:
        """Return reviews with their history, oldest first."""

    def reviewed(self, since: datetime | None = None) -> BySource:
        """Return source -> prediction id -> right value of its current review, last received at or after
        `since`."""

    def reviewed_of(self, predictions: Collection[str]) -> BySource:
        """Return source -> prediction id -> right value of its current review of these predictions."""

    def forget_comments(self, rule: ForgottenComments) -> int:
        """Delete the stored comments of a rule; return how many reviews had one."""

    def forgotten(self, source: str) -> list[ForgottenComments]:
        """Return the rules of the ledger that delete comments of a source."""


class PredictionLog(Protocol):
    """Log of the model servers' answers (files)."""

    def read(
        self, model: str, since: datetime | None = None, *, until: datetime | None = None
    ) -> pd.DataFrame:
        """Return logged predictions at or after `since` and before `until`, in order of `at`.

        Columns: prediction_id, request_id, at (UTC), model, version, digest, release_id, capsule, pool,
        shadow (bool), entity (JSON text), context (request values, JSON text; `{}` where none were logged),
        score, decision (`core.tasks.Task.summary` and `decisions`), task (JSON text; empty before kinds of task),
        latency_ms; experiment, arm (version of the variant) and unit (pseudonym of the user) of
        a request that was assigned in a split, else None; client (pseudonym of its address, or None); names
        (JSON list of the features of the answering version: a feature that is not among them has no value); and
        a column `feature:<name>` for each of them.
        """

    def timings(self, model: str, since: datetime, *, until: datetime | None = None) -> pd.DataFrame:
        """Return a row per logged request at or after `since` and before `until`, in order of `at`, without its values.

        Columns: at (UTC), request_id, digest, shadow (bool), latency_ms, rows (number of predictions), by_entity
        (bool: its features came from the feature store), client (empty where none is known).
        """

    def take_broken(self, model: str) -> int:
        """Return how many broken lines `read` has skipped since the last call; they are kept aside."""


class Taker(Protocol):
    """Receiver of the rows of a growing log."""

    def take(self, rows: pd.DataFrame) -> None:
        """Take new rows, with the columns of `PredictionLog.read`."""

    def needs_before(self, at: datetime) -> bool:
        """Return whether rows before this time can be of use, after all that were taken."""


class GrowingLog(Protocol):
    """The log of the model servers' answers, read as it grows."""

    def grown(self, model: str, since: datetime, after: Any, taker: Taker) -> Any:
        """Hand over, once each, the rows at or after `since` that came after a place.

        Args:
            after: place of an earlier call; None: from the newest day back as far as the taker needs.

        Returns:
            The place after these rows. None: the log holds other rows than were handed over, since some were removed
            or the files changed meanwhile; what was taken must be forgotten, and read anew.
        """

    def take_broken(self, model: str) -> int:
        """Return how many broken lines were skipped since the last call; they are kept aside."""
