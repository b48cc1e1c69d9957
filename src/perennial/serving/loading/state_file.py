"""Reading of a desired-state file again and again: parsed only where it may have changed."""

from __future__ import annotations

import time
from pathlib import Path

from perennial.serving import desired_state
from perennial.serving.desired_state import DesiredState

SETTLED_NS = 2_000_000_000
"""Age from which the times of a file tell every change: within a tick of the clock two changes have the same time."""


class StateFile:
    """The desired state of a pool, for a reader that asks often."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._state = DesiredState()

    def read(self) -> DesiredState:
        """Return the state; the same object as before where the file is the same.

        Raises:
            ModelFileError: the file is not a desired state.
        """
        seen = self._look()
        if seen is None or seen != self._seen:
            state = desired_state.read(self._path)
            if state != self._state:
                self._state = state
            self._seen = seen
        return self._state

    def _look(self) -> tuple[int, int, int] | None:
        """Return what changes with the content; None: the file may change unnoticed, or cannot be looked at."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        if time.time_ns() - status.st_mtime_ns < SETTLED_NS:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
