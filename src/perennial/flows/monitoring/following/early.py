"""Looks before their time: where the newest rows of a model moved, its look does not wait for `monitoring.every`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.drift import DECISION, SCORE, ColumnDrift
from perennial.core.monitoring.levels import is_held_back
from perennial.core.monitoring.screen import Screen, fewest_again, fewest_new, stirred
from perennial.core.spec import ModelSpec
from perennial.flows.monitoring.following.watched_log import WatchedLog

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class _LastLook:
    digest: str
    screen: Screen
    figures: np.ndarray
    taken: int
    """Rows of the version that were taken from the log by then."""
    held_since: int | None
    """Rows that were taken by the first of the looks in a row whose warning only the budget held back; None: it did
    not."""


class EarlyLooks:
    """Screens what comes after the last look at each model."""

    def __init__(self, watched: WatchedLog) -> None:
        self._watched = watched
        self._last: dict[str, _LastLook] = {}

    def looked(
        self,
        spec: ModelSpec,
        digest: str,
        reference: pd.DataFrame,
        window: pd.DataFrame,
        drifts: Sequence[ColumnDrift] = (),
    ) -> None:
        """Remember what a look saw; both have the watched columns.

        Args:
            drifts: what it found; where only the budget of false warnings forbade a warning, the next may follow soon.
        """
        rows = self._watched.followed(spec.name)
        if rows is None:
            return
        last = self._last.get(spec.name)
        if last is not None and last.digest != digest:
            last = None
        screen = _screen(spec, reference) if last is None else last.screen
        figures = screen.figures(_columns(screen.cuts, window))
        held_since = None
        if is_held_back(spec.monitoring, drifts):
            held_since = rows.taken if last is None or last.held_since is None else last.held_since
        self._last[spec.name] = _LastLook(digest, screen, figures, rows.taken, held_since)

    def due(self, spec: ModelSpec, now: datetime) -> bool:
        """Read what came, and return whether a look is due at once: enough rows are new, and a column moved.

        Where the last look was held back, a few new rows may make it certain; for a window of rows such looks follow
        each other, since some drifts never become certain.
        """
        last = self._last.get(spec.name)
        if last is None:
            return False
        rows = self._watched.catch_up(spec, now)
        if rows is None or rows.digest != last.digest or rows.taken < last.taken:
            del self._last[spec.name]  # read anew: the next look begins again
            return False
        size, new = spec.monitoring.window, rows.taken - last.taken
        if last.held_since is not None and rows.taken - last.held_since < size:
            return new >= fewest_again(size)
        if new < fewest_new(size):
            return False
        window = rows.window(now).rows
        if len(window) < spec.monitoring.min_window:
            return False
        return stirred(
            last.figures, last.screen.figures(_columns(last.screen.cuts, window)), spec.monitoring.psi.warn
        )


def _screen(spec: ModelSpec, reference: pd.DataFrame) -> Screen:
    answers = [SCORE] if spec.task.one_number else [SCORE, DECISION]
    names = [
        *(column for name in spec.monitoring.columns for column in spec.features.watched(name)),
        *answers,
    ]
    return Screen.of(_columns(names, reference), spec.monitoring.bins)


def _columns(names: Iterable[str], rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: rows[name].to_numpy(dtype=float) for name in names}
