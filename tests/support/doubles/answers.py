"""Answered requests as the recorder of a model server hands them to the prediction log."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np

from perennial.core.tasks import Ranking
from perennial.serving.prediction_log import AnsweredRequest, new_ids

RANKING = Ranking(threshold=0.5)
START = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)


def answered(
    at: datetime,
    rows: int = 1,
    names: tuple[str, ...] = ("a", "b"),
    task=RANKING,
    model: str = "m",
    **changes,
) -> AnsweredRequest:
    wanted = SimpleNamespace(model=model, version="1.0.0", digest="d" * 64, capsule="c")
    version = SimpleNamespace(wanted=wanted, manifest=SimpleNamespace(features=names, task=task))
    values = {
        "at": at, "request_id": "q", "version": version, "release_id": "r", "shadow": False, "latency_ms": 1.5,
        "ids": new_ids(rows, at, os.urandom(10 * rows)), "entities": [{"test_id": "t"}] * rows,
        "features": np.full((rows, len(names)), 0.5, dtype=np.float32),
        "scores": np.full(rows, 0.7, dtype=np.float32), "decisions": [1] * rows, **changes,
    }  # fmt: skip
    return AnsweredRequest(**values)
