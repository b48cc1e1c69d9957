"""Ten days of predictions, sealed, and what the readers of the log see of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from doubles.answers import answered

from perennial.encryption.keyring import Keyring
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.prediction_archive import PredictionArchive
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader

START = datetime(2026, 3, 1, 10, tzinfo=UTC)
NOW = START + timedelta(days=9, hours=8)
BUCKET = "s3://logs/plant"


def write_days(folder: Path) -> None:
    """Write ten days of predictions, those of today into a journal."""
    writer = PredictionLogWriter(folder, "stable", "w")
    for day in range(10):
        for hour in range(2):
            writer.append(answered(START + timedelta(days=day, hours=7 * hour), rows=3))
    writer.close()
    PredictionArchive(folder).tidy("m", NOW - timedelta(hours=2), None)


def days_here(log: Path) -> int:
    return len({path.parent for path in log.glob("m/day=*/*.parquet")})


def keys(s3: Any) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket="logs").get("Contents", ())]


def everything(log: Path, keyring: Keyring | None = None) -> tuple[list[pd.DataFrame], dict[str, str]]:
    """What the readers see of the whole log and of its last days, and what is known of each of its ids."""
    reader = PredictionLogReader(log, keyring)
    frames = [reader.read("m"), reader.read("m", NOW - timedelta(days=2)), reader.timings("m", START)]
    ids = list(frames[0]["prediction_id"])
    assert len(ids) == 60
    return frames, AnsweredPredictions(log, keyring).tasks(ids)


def assert_same(first: Any, second: Any) -> None:
    for old, new in zip(first[0], second[0], strict=True):
        pd.testing.assert_frame_equal(
            *(each.sort_values([*each.columns[:3]], ignore_index=True) for each in (old, new))
        )
    assert first[1] == second[1]
