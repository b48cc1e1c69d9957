"""The log of each model as the monitor follows it: every look reads what came since the one before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from perennial.core.spec import ModelSpec
from perennial.flows.monitoring.following.watched_rows import WatchedRows
from perennial.flows.monitoring.following.watched_votes import WatchedVotes
from perennial.flows.monitoring.window import LOOK_BACK
from perennial.ports import FeedbackStore, GrowingLog


@dataclass(frozen=True)
class _Followed:
    rows: WatchedRows
    place: Any
    """Place of the log up to which the rows are taken."""
    votes: WatchedVotes | None = None
    """Labels of the rows, as far as they were read; None: not yet."""


class WatchedLog:
    """Follows the log of each model's champion in memory; at its start, and after any doubt, from the log anew."""

    def __init__(self, log: GrowingLog) -> None:
        self._log = log
        self._followed: dict[str, _Followed] = {}

    def rows(self, spec: ModelSpec, digest: str, until: datetime | None, now: datetime) -> WatchedRows:
        """Return the rows of a version, with all that came since the last call.

        An error forgets the model: what was taken of the log then is not known.

        Args:
            until: predictions before it are in the detector of harm already; None: there is none.
        """
        known = self._followed.pop(spec.name, None)
        if known is not None and not _serves(known.rows, spec, digest, until):
            known = None
        while True:
            rows = WatchedRows(spec.monitoring, digest, until) if known is None else known.rows
            place = self._log.grown(spec.name, _since(until, now), known and known.place, rows)
            if place is not None:
                break
            known = None
        self._followed[spec.name] = _Followed(rows, place, None if known is None else known.votes)
        return rows

    def votes(self, spec: ModelSpec, feedback: FeedbackStore) -> WatchedVotes:
        """Return the votes about the rows that were read last, with all labels that came since the last call."""
        known, policy = self._followed[spec.name], spec.release.feedback
        self._followed[spec.name] = replace(known, votes=None)
        votes = (
            known.votes if known.votes is not None and known.votes.policy == policy else WatchedVotes(policy)
        )
        if not votes.follow(spec.name, known.rows, feedback):
            votes = WatchedVotes(policy)
            votes.follow(spec.name, known.rows, feedback)
        self._followed[spec.name] = replace(known, votes=votes)
        return votes

    def followed(self, model: str) -> WatchedRows | None:
        """Return the rows of a model as they were last read; None where no look was, or it failed."""
        known = self._followed.get(model)
        return None if known is None else known.rows

    def catch_up(self, spec: ModelSpec, now: datetime) -> WatchedRows | None:
        """Return the rows that the last look at a model used, with all that came since; None where there are none."""
        rows = self.followed(spec.name)
        return None if rows is None else self.rows(spec, rows.digest, rows.until, now)

    def take_broken(self, model: str) -> int:
        """Return how many broken lines of the log were skipped since the last call."""
        return self._log.take_broken(model)


def _since(until: datetime | None, now: datetime) -> datetime:
    oldest = now - LOOK_BACK[-1]
    return oldest if until is None else min(oldest, until)


def _serves(rows: WatchedRows, spec: ModelSpec, digest: str, until: datetime | None) -> bool:
    """Return whether the rows are those of the version, and reach back to `until`."""
    if (rows.policy, rows.digest) != (spec.monitoring, digest):
        return False
    return until is None or (rows.until is not None and rows.until <= until)
