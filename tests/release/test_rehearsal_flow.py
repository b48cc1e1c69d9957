"""The traffic of the prediction log as a rehearsal asks for it, and the gate's warnings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from perennial import catalog
from perennial.errors import DataError
from perennial.flows.release.rehearsal import gate_warnings, observed_traffic
from perennial.settings import Settings

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
MODEL = "test_failure_predictor"


class Log:
    """240 requests in two hours, one mirrored besides; each second one right."""

    def __init__(self, requests: int = 240) -> None:
        every = [(f"r{i}", NOW - timedelta(seconds=30 * (i + 1)), False) for i in range(requests)]
        every += [("r0", NOW - timedelta(seconds=30), True)] if requests else []
        self.frame = pd.DataFrame(every, columns=["request_id", "at", "shadow"])
        self.frame["prediction_id"] = [f"p{i}" for i in range(len(every))]
        self.frame["entity"], self.frame["digest"], self.frame["unit"] = "{}", "d", ""
        self.frame["decision"] = [i % 2 for i in range(len(every))]
        self.frame["score"], self.frame["task"] = 0.5, ""
        self.frame["latency_ms"] = [10.0 + i % 5 for i in range(len(every))]

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        return self.frame[self.frame["at"] >= since]


class Labels:
    def labels(self, since: datetime | None = None) -> dict[str, dict[str, float]]:
        return {"ci": {f"p{i}": 1.0 for i in range(120)}}

    def label_times(self, since: datetime | None = None) -> dict[str, float]:
        return {f"p{i}": NOW.timestamp() for i in range(120)}


def test_traffic_is_read_from_answered_requests():
    policy = catalog.spec(MODEL, Settings()).release.feedback
    found = observed_traffic(MODEL, Log(), Labels(), NOW - timedelta(days=1), NOW, policy=policy)
    assert found.requests_per_hour == pytest.approx(120)
    assert found.latency_p95_ms == pytest.approx(14.0)
    assert found.accuracy == pytest.approx(0.5, abs=0.01)
    assert found.labelled == pytest.approx(0.5, abs=0.01)


def test_labels_of_mirrored_requests_count_once():
    """1,000 requests, a fifth labelled and all wrong; a candidate got copies of all, and was right."""
    log = Log(1000)
    every = log.frame[~log.frame["shadow"]].assign(decision=0, digest="champion")
    log.frame = pd.concat(
        [every, every.assign(shadow=True, digest="candidate", decision=1)], ignore_index=True
    )
    log.frame["prediction_id"] = [f"p{i}" for i in range(len(log.frame))]

    class Fifth(Labels):
        def labels(self, since: datetime | None = None) -> dict[str, dict[str, float]]:
            return {"ci": {f"p{i}": 1.0 for i in range(200)}}

    policy = catalog.spec(MODEL, Settings()).release.feedback
    seen = observed_traffic(MODEL, log, Fifth(), NOW - timedelta(days=1), NOW, policy=policy)
    assert (seen.labelled, seen.accuracy) == (pytest.approx(0.2), 0.0)


def test_nobody_asked():
    with pytest.raises(DataError, match="no request since"):
        observed_traffic(MODEL, Log(0), Labels(), NOW - timedelta(days=1), NOW)


def test_the_gate_is_told_what_would_be_missed():
    policy = catalog.spec(MODEL, Settings()).release
    told = gate_warnings(MODEL, policy, Log(), Labels(), NOW)
    assert told[0].startswith("doubled error rate: caught in ")
    assert gate_warnings(MODEL, policy, Log(0), Labels(), NOW)[0].startswith("not rehearsed: ")
