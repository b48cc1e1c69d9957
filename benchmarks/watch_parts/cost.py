"""CPU and memory of reading a growing log: as the watch does, by a whole read at each look, and by Evidently alone."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.flows.monitoring.window import LOOK_BACK, window_of
from perennial.serving.following.growing import GrowingPredictionLog
from perennial.serving.prediction_log_reader import PredictionLogReader
from watch_parts.labels import Labels
from watch_parts.plant import DIGEST, FEATURES, NAMES, ROWS, Server, utc

LOOKS = 10
FOLLOWED, READ = "labels followed", "labels read whole"
LABELLED = (FOLLOWED, READ)
PART = 0.01
"""Rows that come between two looks, as a share of those before."""


def cost(kind: str, rows: int, seed: int) -> dict[str, float]:
    """Return the figures of a kind; each in a process of its own, for its memory."""
    command = [
        sys.executable,
        str(Path(__file__).parents[1] / "watch.py"),
        "--one",
        kind,
        "--rows",
        str(rows),
    ]
    command += ["--seed", str(seed)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {name: float(value) for name, value in (part.split("=") for part in done.stdout.split())}


def measure(kind: str, rows: int, seed: int) -> None:
    """Print the figures of a kind: CPU seconds of the first read and of a later one, and megabytes it added."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), "m", np.random.default_rng(seed))
        now = utc()
        server.fill(rows, 3000.0, now)  # within the last hour
        labels = Labels(server, Path(folder)) if kind in LABELLED else None
        others = WatchedLog(GrowingPredictionLog(server.log))
        if labels is None:
            look = looking(kind, server)
        else:
            labels.label(others, labels.begin)
            look = labels.followed() if kind == FOLLOWED else labels.whole()
        before = memory()
        first = cpu(look)
        later = []
        for _ in range(LOOKS):
            began = utc()
            for _ in range(max(1, int(rows * PART) // ROWS)):
                server.answer(utc())
            if labels is not None:
                labels.label(others, began)
            later.append(cpu(look))
        server.writer.close()
        print(f"first={first} later={np.median(later)} added={memory() - before} part={int(rows * PART)}")


def looking(kind: str, server: Server) -> Callable[[], object]:
    spec, watched = server.spec, WatchedLog(GrowingPredictionLog(server.log))
    if kind == "watch":
        return lambda: watched.rows(spec, DIGEST, None, utc()).window(utc())
    begin = utc() - timedelta(days=1)
    if kind == "with labels":
        return lambda: watched.rows(spec, DIGEST, begin, utc()).window(utc())
    reader = PredictionLogReader(server.log)

    def whole() -> object:
        log = reader.read("m", utc() - LOOK_BACK[0])
        return window_of(log[(log["digest"] == DIGEST) & ~log["shadow"].astype(bool)], spec.monitoring)

    return whole


def evidently(rows: int, seed: int) -> tuple[float, float]:
    """Return the CPU seconds of Evidently's drift of all columns of so many rows, and of a window of the watch."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    rng, columns = np.random.default_rng(seed), list(NAMES[:FEATURES])
    definition = DataDefinition(numerical_columns=columns)
    known = pd.DataFrame(rng.normal(size=(4000, FEATURES)), columns=columns)

    def run(count: int) -> float:
        window = pd.DataFrame(rng.normal(size=(count, FEATURES)), columns=columns)
        reference, current = (
            Dataset.from_pandas(each, data_definition=definition) for each in (known, window)
        )
        return cpu(lambda: Report([DataDriftPreset(method="psi")]).run(current, reference).dict())

    run(1500)
    return run(rows), run(1500)


def cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def memory() -> float:
    """Return the largest memory that the process had, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
