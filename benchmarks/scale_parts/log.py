"""A million predictions of a day: write, read by the monitor's port, seal, merge, bytes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from doubles.answers import answered

from perennial.serving.prediction_archive import PredictionArchive
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader
from scale_parts.figures import Figure, megabytes, timed

START = datetime(2026, 3, 1, tzinfo=UTC)
NAMES = tuple(f"f{number}" for number in range(17))
ROWS = 10
"""Predictions of a request."""


def figures(folder: Path, predictions: int) -> Iterator[Figure]:
    writer, requests = PredictionLogWriter(folder, "stable", "scale"), predictions // ROWS
    random, cpu, wall = np.random.default_rng(0), 0.0, 0.0
    for number in range(requests):
        request = answered(
            START + timedelta(days=number / requests), rows=ROWS, names=NAMES, request_id=os.urandom(16).hex(),
            features=random.integers(0, 500, (ROWS, len(NAMES))).astype(np.float32) / 100,
            scores=random.random(ROWS).astype(np.float32), client="c0ffee",
            entities=[{"test_id": f"test_{row}", "suite": "ci"} for row in range(ROWS)],
        )  # fmt: skip
        began, used = time.perf_counter(), time.process_time()
        writer.append(request)
        cpu, wall = cpu + time.process_time() - used, wall + time.perf_counter() - began
    writer.close()
    size = megabytes(folder, "*.jsonl")
    yield Figure(
        f"write {predictions:,} predictions, {ROWS} a request", f"{wall:.1f} s", f"{cpu:.1f} s",
        f"{size:.0f} MB, {cpu / requests * 1e6:.0f} µs a request",
    )  # fmt: skip
    recent = START + timedelta(hours=23)
    reader = PredictionLogReader(folder)
    yield timed("read the last hour of journals", lambda: reader.read("m", recent), _rows)
    yield timed("the same again", lambda: reader.read("m", recent), _rows)
    archive = PredictionArchive(folder)
    yield timed("seal the hours", lambda: archive.tidy("m", START + timedelta(hours=23, minutes=50), None))
    yield timed(
        "seal the last hour, merge the day",
        lambda: archive.tidy("m", START + timedelta(days=3), None),
        lambda _: f"{megabytes(folder, '*.parquet'):.0f} MB",
    )
    yield timed("read an hour of the day", lambda: PredictionLogReader(folder).read("m", recent), _rows)
    yield timed("read the day", lambda: PredictionLogReader(folder).read("m"), _rows)
    yield timed("latencies of the day", lambda: PredictionLogReader(folder).timings("m", START))


def _rows(frame) -> str:
    return f"{len(frame):,} rows"
