"""A model server that logs answers of a model."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from doubles.answers import answered

from perennial import catalog
from perennial.core.spec import ModelSpec
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.settings import Settings

FEATURES = 10
"""Watched columns."""
ROWS = 20
"""Rows of a request."""
DIGEST = "d" * 64
SHIPPED = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
NAMES = SHIPPED.features.names


def spec_of(model: str) -> ModelSpec:
    """Return the shipped spec under another name, with `FEATURES` watched columns and no cap on a client."""
    monitoring = SHIPPED.monitoring.model_copy(update={"columns": NAMES[:FEATURES], "client_share": 1.0})
    return SHIPPED.model_copy(update={"name": model, "monitoring": monitoring})


class Server:
    """Logs requests of a model."""

    def __init__(self, folder: Path, model: str, rng: np.random.Generator) -> None:
        self.spec, self.log, self.rng, self.sent = spec_of(model), folder, rng, 0
        self.writer = PredictionLogWriter(folder, "stable", "benchmark")

    def answer(self, at: datetime, shift: float = 0.0) -> None:
        """Log a request; `shift` moves each feature, in standard deviations."""
        self.sent += 1
        features = self.rng.normal(shift, 1.0, (ROWS, len(NAMES))).astype(np.float32)
        request = answered(
            at, rows=ROWS, names=NAMES, model=self.spec.name, features=features, request_id=f"q{self.sent}",
            client="c", scores=self.rng.random(ROWS).astype(np.float32),
        )  # fmt: skip
        self.writer.append(request)

    def fill(self, rows: int, seconds: float, now: datetime) -> None:
        """Log so many rows of the last so many seconds."""
        count = rows // ROWS
        for number in range(count):
            self.answer(now - timedelta(seconds=seconds * (count - number) / count))


def utc() -> datetime:
    return datetime.now(UTC)
