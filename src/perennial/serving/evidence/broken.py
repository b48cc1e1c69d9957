"""Lines of the log that are no request: each is kept aside and counted once by a process."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Lock

from perennial.serving.evidence.aside import keep_aside


class BrokenLines:
    """The broken lines that a reader of the log met."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._met: set[tuple[Path, int]] = set()
        self._counts: Counter[str] = Counter()
        self._lock = Lock()

    def keep(self, path: Path, offset: int, line: bytes) -> None:
        """Keep a line of a file of a model aside; one that was met before changes nothing."""
        with self._lock:
            if (path, offset) in self._met:
                return
            self._met.add((path, offset))
            self._counts[path.parent.name] += 1
        keep_aside(self._folder, path, offset, line)

    def take(self, model: str) -> int:
        """Return how many lines of a model were met since the last call."""
        with self._lock:
            return self._counts.pop(model, 0)
