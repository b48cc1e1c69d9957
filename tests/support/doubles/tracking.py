"""Fake of Tracker: runs in a dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.errors import TrackerUnavailable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from perennial.core.training.data import DataRevision


class MemoryTracker:
    """Keeps everything that was logged, for tests to look at; `available = False` takes it away."""

    def __init__(self) -> None:
        self.runs: dict[str, MemoryRun] = {}
        self.available = True
        self._ids = count(1)

    def run(self, model: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> MemoryRun:
        self.reach()
        run = MemoryRun(self, f"run-{next(self._ids)}", model, name, parent)
        run.tags.update(tags)
        self.runs[run.run_id] = run
        return run

    def reopen(self, run_id: str) -> MemoryRun:
        self.reach()
        return self.runs[run_id]

    def files(self, run_id: str, folder: str, into: Path) -> list[Path]:
        self.reach()
        into.mkdir(parents=True, exist_ok=True)
        found = []
        for name, content in sorted(self.runs[run_id].artifacts.items()):
            if Path(name).parent == Path(folder):
                found.append(into / Path(name).name)
                found[-1].write_bytes(content)
        return found

    def reach(self) -> None:
        if not self.available:
            raise TrackerUnavailable("the tracker in memory was taken away", hint="set available")


class MemoryRun:
    def __init__(
        self, tracker: MemoryTracker, run_id: str, model: str, name: str, parent: str | None
    ) -> None:
        self.run_id, self.model_name, self.name, self.parent = run_id, model, name, parent
        self.status = "RUNNING"
        self.params: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.tags: dict[str, str] = {}
        self.curve: list[Mapping[str, float]] = []
        self.datasets: list[DataRevision] = []
        self.artifacts: dict[str, bytes] = {}
        self.served: dict[str, bytes] = {}
        self._tracker = tracker

    def __enter__(self) -> MemoryRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.status = "FINISHED" if kind is None else "FAILED"

    def log(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int | None = None,
        tags: Mapping[str, str] | None = None,
        curve: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self._tracker.reach()
        self.params.update(params or {})
        self.metrics.update(metrics or {})
        self.tags.update(tags or {})
        self.curve.extend(curve)

    def artifact(self, path: Path, folder: str = "") -> None:
        self._tracker.reach()
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        base = path if path.is_dir() else path.parent
        for file in files:
            self.artifacts[str(Path(folder) / file.relative_to(base))] = file.read_bytes()

    def dataset(self, revision: DataRevision, rows: pd.DataFrame, context: str) -> None:
        self._tracker.reach()
        self.datasets.append(revision)

    def model(self, folder: Path, native: Any, example: np.ndarray, output: np.ndarray) -> str:
        self._tracker.reach()
        self.served = {path.name: path.read_bytes() for path in folder.iterdir()}
        return f"memory:/{self.run_id}"
