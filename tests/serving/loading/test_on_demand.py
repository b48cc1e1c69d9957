"""Which versions are loaded within a budget: single flight, the least recently used leaves, failures are remembered."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from perennial.errors import ModelFileError, NotLoaded
from perennial.serving.desired_state import DesiredVersion
from perennial.serving.loading import on_demand
from perennial.serving.loading.on_demand import FAILED_SECONDS, OnDemandVersions
from perennial.serving.session import LoadedVersion, RegisteredVersion


def registered(name: str) -> RegisteredVersion:
    digest = name.encode().hex().ljust(64, "0")
    wanted = DesiredVersion(model=name, version="1.0.0", key="1", digest=digest, capsule="c")
    return RegisteredVersion(wanted, None)


@dataclass
class World:
    """Versions of 10 bytes; `broken` cannot be loaded, `gate` holds every load up while it is not set."""

    budget: int = 30
    now: float = 0.0
    loads: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    large: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        self.versions = {name: registered(name) for name in "abcdef"}
        self.on_demand = OnDemandVersions(self.budget, self._load, lambda: self.now)
        self.follow(*self.versions)

    def follow(self, *names: str, pinned=None) -> None:
        kept = [self.versions[name] for name in names]
        self.on_demand.follow({each.wanted.identity: each for each in kept}, pinned or {})

    def _load(self, version: RegisteredVersion) -> LoadedVersion:
        assert self.gate.wait(60)
        name = version.wanted.model
        self.loads.append(name)
        if name in self.broken:
            raise ModelFileError(f"{name} is torn", hint="train it again")
        return LoadedVersion(version.wanted, None, None, memory=100 if name in self.large else 10)

    def ask(self, name: str) -> LoadedVersion:
        version = self.versions[name]
        return self.on_demand.find(version.wanted.identity) or self.on_demand.request(version).result(60)

    def loaded(self) -> list[str]:
        return [
            name
            for name, version in self.versions.items()
            if self.on_demand.is_loaded(version.wanted.identity)
        ]


@pytest.fixture
def world():
    world = World()
    yield world
    world.on_demand.stop()


def test_the_least_recently_used_leaves_for_another(world):
    for name in "abc":
        world.ask(name)
    assert (world.loaded(), world.on_demand.memory) == (["a", "b", "c"], 30)
    world.ask("a")
    world.ask("d")
    assert (world.loaded(), world.on_demand.memory) == (["a", "c", "d"], 30)
    assert world.on_demand.tally.evicted == 1
    assert world.loads == ["a", "b", "c", "d"]


def test_a_hundred_requests_for_one_version_cause_one_load(world):
    world.gate.clear()
    futures = [world.on_demand.request(world.versions["a"]) for _ in range(100)]
    world.gate.set()
    versions = {id(future.result(60)) for future in futures}
    assert (world.loads, len(versions)) == (["a"], 1)


def test_a_failure_is_remembered_for_a_while_and_counts_for_no_other(world):
    world.broken.add("a")
    for _ in range(3):
        with pytest.raises(NotLoaded, match="a is torn"):
            world.ask("a")
    assert world.loads == ["a"]
    assert world.ask("b").wanted.model == "b"
    assert world.on_demand.failure(world.versions["b"].wanted.identity) == ""
    world.broken.clear()
    world.now = FAILED_SECONDS + 1
    assert world.ask("a").wanted.model == "a"
    assert (world.on_demand.tally.loads, world.on_demand.tally.failed) == (2, 1)


def test_what_is_larger_than_the_budget_is_refused_and_nothing_leaves_for_it(world):
    world.ask("a")
    world.large.add("b")
    with pytest.raises(NotLoaded, match="PERENNIAL_ON_DEMAND_MIB"):
        world.ask("b")
    assert world.loaded() == ["a"]


def test_what_is_no_longer_registered_leaves_also_in_the_middle_of_its_load(world):
    world.ask("a")
    world.gate.clear()
    under_way = world.on_demand.request(world.versions["b"])
    world.follow("c")
    world.gate.set()
    assert under_way.result(60).wanted.model == "b", "who waited for it is answered"
    assert (world.loaded(), world.on_demand.memory) == ([], 0)


def test_what_was_pinned_stays_loaded_where_there_is_room(world):
    version = LoadedVersion(world.versions["a"].wanted, None, None, memory=10)
    world.follow(*world.versions, pinned={version.wanted.identity: version})
    assert world.ask("a").wanted.model == "a"
    assert world.loads == []


def test_loads_that_never_end_are_begun_at_a_limited_rate(world, monkeypatch):
    waits = []
    monkeypatch.setattr(on_demand, "time", Clock(waits))
    for name in "abcdef" * 3:
        world.ask(name)
    assert len(world.loads) == 18, "three fit, so each is loaded again"
    late = [(number + 1) / on_demand.PER_SECOND for number in range(18 - on_demand.AT_ONCE)]
    assert waits == pytest.approx([0.0] * on_demand.AT_ONCE + late, abs=1e-6)


class Clock:
    """Time stands still; `waits` are the seconds that were slept."""

    def __init__(self, waits: list[float]) -> None:
        self.sleep = waits.append

    def monotonic(self) -> float:
        return 1000.0

    perf_counter = monotonic
