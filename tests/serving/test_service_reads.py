"""Reads that leave Feast's response out give what Feast gives."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from perennial import catalog
from perennial.errors import MalformedInput
from perennial.history.prepare import TEST_VIEW, prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.installation import HERE

SPEC = catalog.spec("test_failure_predictor")
SERVICE = SPEC.features.service


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from perennial.adapters.feast.features import FeastFeatures

    folder = tmp_path_factory.mktemp("feast")
    features = FeastFeatures(HERE / "feature_repo", folder, lambda: [SPEC])
    features.publish(prepare(simulate(SimulationScenario(cycles=12, tests=25))).views)
    return folder


def both(folder, clock=lambda: datetime.now(UTC)):
    """A reader that reads directly, and one that leaves the service to Feast."""
    from perennial.serving.online_features import OnlineFeatures

    direct, feast = OnlineFeatures(folder, clock), OnlineFeatures(folder, clock)
    feast._reads[SERVICE] = None
    return direct, feast


def some_rows(folder, count: int) -> list[dict]:
    seen = pd.read_parquet(folder / "offline" / f"{TEST_VIEW}.parquet")
    tests, chosen = sorted(set(seen["test_id"])), random.Random(count)
    return [
        {
            "test_id": chosen.choice([*tests, "nobody"]),
            "suite": chosen.choice(["ci", "ci", "ci", "no suite"]),
            "cycle_size": chosen.randrange(500),
            "requested_at": chosen.uniform(1.4e9, 1.8e9),
        }
        for _ in range(count)
    ]


def comparable(rows):
    return [
        None
        if row is None
        else {name: "nan" if is_nan(value) else (type(value), value) for name, value in row.items()}
        for row in rows
    ]


def is_nan(value) -> bool:
    return isinstance(value, float) and math.isnan(value)


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_rows_are_those_of_feast_known_or_not_in_any_order(folder, count):
    direct, feast = both(folder)
    rows = some_rows(folder, count)
    assert comparable(direct.values(SERVICE, rows)) == comparable(feast.values(SERVICE, rows))
    assert direct._reads[SERVICE] is not None, "not left to Feast"


def test_a_value_is_late_when_it_is_for_feast(folder):
    from perennial.serving.online.service_reads import service_reads

    rows = some_rows(folder, 40)
    seen = pd.read_parquet(folder / "offline" / f"{TEST_VIEW}.parquet")["event_timestamp"].max()
    answers = []
    for days in (0, 10, 40, 400, 4000):
        direct, feast = both(folder, lambda days=days: seen.to_pydatetime() + timedelta(days=days))
        feast._ttls = {TEST_VIEW: timedelta(days=30).total_seconds()}
        direct._reads[SERVICE] = service_reads(direct._store, direct._services[SERVICE], feast._ttls)
        answers.append(comparable(direct.values(SERVICE, rows)))
        assert answers[-1] == comparable(feast.values(SERVICE, rows))
    assert answers[0] != answers[-1]


CHANGES = [
    {"cycle_size": None}, {"test_id": None}, {"requested_at": ...}, {"suite": ...}, {"requested_at": "soon"},
    {"test_id": [1]}, {"suite": 7.5}, {"cycle_size": "many"},
]  # fmt: skip
"""Values in place of those of a row; `...`: left out."""


@pytest.mark.parametrize("change", CHANGES)
def test_what_feast_refuses_is_refused(folder, change):
    (row,) = some_rows(folder, 1)
    bad = {name: value for name, value in {**row, **change}.items() if value is not ...}
    answers = []
    for reader in both(folder):
        try:
            answers.append(comparable(reader.values(SERVICE, [bad])))
        except MalformedInput:
            answers.append("refused")
    assert answers[0] == answers[1]
