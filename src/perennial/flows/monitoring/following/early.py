"""Looks before their time: where the newest rows of a model moved, its look does not wait for `monitoring.every`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.monitoring.drift import DECISION, SCORE
from perennial.core.monitoring.screen import Screen, fewest_new, stirred
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


class EarlyLooks:
    """Screens what comes after the last look at each model."""

    def __init__(self, watched: WatchedLog) -> None:
        self._watched = watched
        self._last: dict[str, _LastLook] = {}

    def looked(self, spec: ModelSpec, digest: str, reference: pd.DataFrame, window: pd.DataFrame) -> None:
        """Remember what a look saw; both have the watched columns."""
        rows = self._watched.followed(spec.name)
        if rows is None:
            return
        last = self._last.get(spec.name)
        screen = last.screen if last is not None and last.digest == digest else _screen(spec, reference)
        figures = screen.figures(_columns(screen.cuts, window))
        self._last[spec.name] = _LastLook(digest, screen, figures, rows.taken)

    def due(self, spec: ModelSpec, now: datetime) -> bool:
        """Read what came, and return whether a look is due at once: enough rows are new, and a column moved."""
        last = self._last.get(spec.name)
        if last is None:
            return False
        rows = self._watched.catch_up(spec, now)
        if rows is None or rows.digest != last.digest or rows.taken < last.taken:
            del self._last[spec.name]  # read anew: the next look begins again
            return False
        if rows.taken - last.taken < fewest_new(spec.monitoring.window):
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
