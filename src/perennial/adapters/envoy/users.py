"""Answers by bucket of users in a split, from the log of one Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perennial.adapters.envoy.access_log import USERS, BucketCounter
from perennial.adapters.envoy.admin import EnvoyAdmin
from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.user_log import UserLog
from perennial.core.release.counted.user_buckets import HERE, LogPosition, UserBuckets

UNWRITTEN = "filesystem.write_failed"
"""Statistic of Envoy: writes of a log that failed, as on a full disk. Requests are answered all the same."""


class EnvoyUsers:
    """Reads the log of one Envoy from a place on, so that every line is counted once.

    Args:
        folder: Envoy's.
    """

    def __init__(self, folder: Path, admin: EnvoyAdmin, layout: Layout) -> None:
        self._log = UserLog(folder / USERS)
        self._admin = admin
        self._layout = layout

    def make_folder(self) -> None:
        """Make the folder of the log, without which Envoy refuses its listener."""
        self._log.make_folder()

    def begin(self) -> None:
        """Leave Envoy's file free for an Envoy that is about to start."""
        self._log.begin()

    def answers(self, split: str | None, after: Mapping[str, LogPosition]) -> UserBuckets:
        """Return what was answered after a place of the log; see `ports.Router.answers_of_users`."""
        place = after.get(HERE)
        if split is None or place is None:
            return UserBuckets(after=dict(after), read={HERE: self._log.end()})
        piece, counter = self._log.after(place), BucketCounter(split, self._layout)
        counter.add(piece.lines)
        problems = [*piece.problems]
        if counter.broken:
            problems.append("lines of the router's log of users cannot be read")
        if int(self._admin.numbers(f"^{UNWRITTEN}$").get(UNWRITTEN, 0)):
            problems.append(
                "since its start Envoy could not write all of its log of users: is the disk full?"
            )
        return UserBuckets(
            counts=counter.counts(), after=dict(after), read={HERE: piece.end}, problems=tuple(problems)
        )

    def keep_small(self) -> None:
        """Begin a new file of the log where the file is full; the oldest is removed."""
        self._log.keep_small(self._admin.reopen_logs)
