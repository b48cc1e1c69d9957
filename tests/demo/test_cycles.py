"""Requests of the demo over cycles: whole cycles first, then a fixed number spread over all that are left."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from doubles.features import MemoryFeatures

from perennial import catalog
from perennial.core.spec import ModelSpec
from perennial.demo import cycles
from perennial.demo.arrivals import Arrivals
from perennial.demo.cycles import CycleRequests
from perennial.demo.scenario import DemoScenario
from perennial.history import prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.history.store import HistoryStore
from perennial.settings import Settings

KNOWN, KEPT = 10, 25
EXECUTIONS = simulate(SimulationScenario(cycles=40))
KEYS = {prepare.TEST_VIEW: ["test_id"], prepare.SUITE_VIEW: ["suite"]}


@pytest.fixture
def scenario() -> DemoScenario:
    return DemoScenario("simulator", "", EXECUTIONS, KNOWN, KNOWN + 1, "", KEPT)


@pytest.fixture
def sizes(scenario) -> dict[int, int]:
    """Tests of each cycle that is asked about."""
    return scenario.examples.groupby("cycle").size().to_dict()


def asked(batches) -> dict[int, int]:
    return {batch.number: sum(1 for _ in batch.requests) for batch in batches}


def test_each_test_of_a_cycle_is_asked_about_until_the_sample_begins(scenario, sizes, monkeypatch):
    monkeypatch.setattr(cycles, "SAMPLE", 300)
    requests = CycleRequests(scenario.examples, KEPT, lambda: None)
    batches = requests.batches()
    whole = asked(itertools.islice(batches, 5))
    assert whole == {number: sizes[number] for number in range(11, 16)}
    left = sum(sizes[number] for number in range(16, 41))
    assert requests.sample() == f"300 of the {left} tests of the 25 cycles that are left"
    sampled = asked(batches)
    assert sum(sampled.values()) == 300
    assert list(sampled) == list(range(16, 41))
    assert all(abs(sampled[number] - 300 * sizes[number] / left) <= 1 for number in sampled), "spread evenly"


def test_a_sample_that_begins_within_a_cycle_leaves_out_what_was_asked(scenario, sizes, monkeypatch):
    monkeypatch.setattr(cycles, "SAMPLE", 200)
    requests = CycleRequests(scenario.examples, KEPT, lambda: None)
    batches = requests.batches()
    first = iter(next(batches).requests)
    list(itertools.islice(first, 20))
    requests.sample()
    rest = sum(1 for _ in first)
    assert rest < sizes[11] - 20
    assert rest + sum(asked(batches).values()) == 200


def test_a_slow_machine_repeats_cycles_and_keeps_the_last_ones_for_the_sample(scenario, sizes):
    requests = CycleRequests(scenario.examples, KEPT, lambda: None)
    batches = requests.batches()
    assert list(asked(itertools.islice(batches, 14))) == list(range(11, 25))
    again = [(batch.number, batch.fresh) for batch in itertools.islice(batches, 6)]
    assert again == [(number, False) for number in range(11, 17)]
    requests.sample()
    assert asked(batches) == {number: sizes[number] for number in range(25, 41)}, "fewer than a sample: all"


def test_a_repeated_cycle_ends_where_the_sample_begins(scenario):
    requests = CycleRequests(scenario.examples, KEPT, lambda: None)
    batches = requests.batches()
    asked(itertools.islice(batches, 14))
    again = iter(next(batches).requests)
    next(again)
    requests.sample()
    assert list(again) == []


def test_a_cycle_of_the_sample_waits_for_the_features_of_those_before(scenario):
    waits: list[None] = []
    requests = CycleRequests(scenario.examples, KEPT, lambda: waits.append(None))
    batches = requests.batches()
    asked(itertools.islice(batches, 14))
    assert waits == [], "a whole cycle is long enough"
    requests.sample()
    asked(itertools.islice(batches, 3))
    assert len(waits) == 3


@pytest.fixture
def features(scenario) -> MemoryFeatures:
    """As the training of the first champion has published them."""
    made = MemoryFeatures(KEYS)
    made.publish(prepare.prepare(EXECUTIONS[EXECUTIONS["cycle"] <= KNOWN]).views)
    return made


def online(features: MemoryFeatures, spec: ModelSpec, scenario: DemoScenario) -> list[dict[str, Any] | None]:
    """Return the values online of each test and suite."""
    columns = tuple(column for column in spec.features.columns if column.split(":")[0] in KEYS)
    entities = scenario.prepared.examples[["test_id", "suite"]].drop_duplicates().to_dict("records")
    return features.online(spec.features.model_copy(update={"columns": columns}), entities)


@pytest.mark.parametrize("trainings_ended", [False, True])
def test_online_is_what_was_known_when_the_next_cycle_began(scenario, features, tmp_path, trainings_ended):
    """The same values as a training's join has, though each cycle is published by its own rows."""
    settings = Settings(home=tmp_path)
    spec = catalog.spec("test_failure_predictor", settings)
    store = HistoryStore(settings.history_dir)
    arrivals = Arrivals(scenario, spec, store, features)
    try:
        arrivals.first()
        arrivals.trainings_ended = trainings_ended
        for number in range(11, 21):
            arrivals.cycle(number)
            arrivals.wait_published()
        assert arrivals.error is None
        began = scenario.prepared.examples.set_index("cycle").loc[21, "event_timestamp"].iloc[0]
        wanted = MemoryFeatures(KEYS)
        earlier = prepare.prepare(EXECUTIONS[EXECUTIONS["cycle"] <= 20]).views
        wanted.publish({name: view[view["event_timestamp"] <= began] for name, view in earlier.items()})
        assert online(features, spec, scenario) == online(wanted, spec, scenario)
    finally:
        arrivals.close()
    assert store.last_cycle(spec.data.history) == 20, "what is finished is in the history, too"


def test_an_error_of_the_features_is_told_and_nothing_waits(scenario, tmp_path):
    settings = Settings(home=tmp_path)
    spec = catalog.spec("test_failure_predictor", settings)
    arrivals = Arrivals(scenario, spec, HistoryStore(settings.history_dir), MemoryFeatures(KEYS))
    try:
        arrivals.first()
        arrivals.cycle(11)
        arrivals.wait_published()
        assert "no features are published" in str(arrivals.error)
        arrivals.cycle(12)
        arrivals.wait_published()
    finally:
        arrivals.close()
