"""Every way a release may go, walked on a running stack while clients ask: what failed, who answered."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from live_releases import MODEL, LiveReleases

from perennial.core.release.phase import Phase
from perennial.core.release.plan import plan, promotes
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.core.release.traffic import PoolName
from perennial.core.release_spec import ReleaseSpec, Strategy

SERVERS = 2
"""Of the stable pool: `rolling` takes as many shares."""
LOADING, SHADOW, PROMOTING = "loading", "shadow", "promoting"
SAMPLE = 500
SETTLE = 0.1
"""Seconds after a change of the route until what was on its way before it is answered."""
PAUSED = 1.0
COPIED = 0.9
ON_THEIR_WAY = 16
"""Copies that are not answered yet when their requests are, or the other way round."""


class Clients(Protocol):
    """Whoever asks without a break while its block runs."""

    @property
    def sent(self) -> int: ...
    @property
    def failed(self) -> int: ...


class Ending(StrEnum):
    FORWARD = "forward"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"
    RESUMED = "paused, resumed"
    PROMOTED = "promoted early"


@dataclass(frozen=True)
class Scenario:
    strategy: Strategy
    ending: Ending
    at: str = ""
    """The stop where the ending is asked for; see `stop`."""

    def __str__(self) -> str:
        return f"{self.ending.value} at {self.at}" if self.at else self.ending.value


@dataclass(frozen=True)
class Share:
    """Requests of one stop, as Envoy counted them.

    Attributes:
        asked: percent that the route gives to the canary pool; of a mirror, percent that it gets copies of.
        canary: answered by that pool, copies included.
        stable: answered by the other one.
    """

    asked: float
    canary: int
    stable: int
    mirror: bool = False

    @property
    def seen(self) -> float:
        """Percent."""
        return 100.0 * self.canary / (self.stable if self.mirror else self.canary + self.stable)

    @property
    def z(self) -> float | None:
        """Standard deviations from what was asked; None where chance has no part in it."""
        total, share = self.canary + self.stable, self.asked / 100.0
        if self.mirror or share in (0.0, 1.0):
            return None
        return (self.canary - total * share) / math.sqrt(total * share * (1.0 - share))

    def holds(self, deviations: float = 3.0) -> bool:
        """Whether the share is the one asked for: of copies no more than requests, and nearly as many, for
        what a busy server cannot take is dropped; of a share that leaves nothing to chance, exactly; else
        within so many standard deviations."""
        if self.mirror:
            return COPIED * self.stable - ON_THEIR_WAY <= self.canary <= self.stable + ON_THEIR_WAY
        if self.z is None:
            return self.canary == round(self.asked / 100.0 * (self.canary + self.stable))
        return abs(self.z) <= deviations


@dataclass
class Outcome:
    scenario: Scenario
    phase: Phase | None = None
    requests: int = 0
    failed: int = 0
    seconds: float = 0.0
    shares: dict[str, Share] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def scenarios(policy: ReleaseSpec) -> Iterator[Scenario]:
    """Forward, aborted at every stop, superseded, paused and resumed, promoted early."""
    strategy = policy.strategy
    stops = [LOADING, *(_name(one.phase, one.weight) for one in plan(policy, SERVERS))]
    yield Scenario(strategy, Ending.FORWARD)
    for one in (*stops, PROMOTING) if promotes(policy) else stops:
        yield Scenario(strategy, Ending.ABORTED, one)
    yield Scenario(strategy, Ending.SUPERSEDED, stops[-1])
    yield Scenario(strategy, Ending.RESUMED, stops[-1])
    if promotes(policy):
        yield Scenario(strategy, Ending.PROMOTED, stops[min(1, len(stops) - 1)])


def stop(status: ReleaseStatus) -> str:
    """Where it stands, as a scenario names it."""
    return _name(status.phase, status.current.weight if status.current is not None else 0.0)


def _name(phase: Phase, weight: float) -> str:
    return f"{weight:g} %" if phase is Phase.CANARY else phase.value.lower()


def run(
    scenario: Scenario, live_releases: LiveReleases, clients: Callable[[], AbstractContextManager[Clients]]
) -> Outcome:
    """Walk it under load and hold the end against what it must be."""
    outcome, started = Outcome(scenario), time.monotonic()
    live_releases.use(scenario.strategy)
    candidate, newer = live_releases.challengers()
    live_releases.offer(newer if scenario.ending is Ending.SUPERSEDED else candidate)
    before = live_releases.state()
    with clients() as asking:
        status = _begin(live_releases.start(candidate), scenario, live_releases, outcome)
        if scenario.ending is Ending.SUPERSEDED:
            _supersede(status, live_releases.start(newer), live_releases)
        status = live_releases.to_end(status)
        time.sleep(SETTLE)
    outcome.phase, outcome.requests, outcome.failed = status.phase, asking.sent, asking.failed
    outcome.problems += _compare(status, before, live_releases)
    outcome.seconds = time.monotonic() - started
    return outcome


def _begin(
    status: ReleaseStatus, scenario: Scenario, live_releases: LiveReleases, outcome: Outcome
) -> ReleaseStatus:
    """Up to the stop of the scenario, where its ending is asked for; a forward one to its end."""
    measured: set[str] = set()
    end = time.monotonic() + 240  # a busy machine
    while not status.phase.is_final():
        assert time.monotonic() < end, f"{scenario}: {status.phase}: {status.note}; {status.evidence}"
        here = stop(status)
        wanted = here == scenario.at or scenario.ending in (Ending.FORWARD, Ending.RESUMED)
        if wanted and status.phase.is_measured() and here not in measured:
            measured.add(here)
            outcome.shares[here] = measure(live_releases, status)
        if here == scenario.at:
            return _ask(status, scenario.ending, live_releases)
        status = live_releases.walk(status)
    return status


def _ask(status: ReleaseStatus, ending: Ending, live_releases: LiveReleases) -> ReleaseStatus:
    if ending is Ending.ABORTED:
        live_releases.say(status, IntentKind.ABORT)
    elif ending is Ending.PROMOTED:
        live_releases.say(status, IntentKind.PROMOTE)
    elif ending is Ending.RESUMED:
        live_releases.say(status, IntentKind.PAUSE)
        here, until = stop(status), time.monotonic() + PAUSED
        while time.monotonic() < until:
            status = live_releases.walk(status)
            assert stop(status) == here, f"paused, it went on to {stop(status)}"
        live_releases.say(status, IntentKind.RESUME)
    return status


def _supersede(older: ReleaseStatus, newer: ReleaseStatus, live_releases: LiveReleases) -> None:
    """The newer one takes over, and is taken back in its turn before it has traffic."""
    while not live_releases.ports.releases.load(older.release_id).phase.is_final():
        newer = live_releases.walk(newer)
    live_releases.say(newer, IntentKind.ABORT)
    live_releases.to_end(newer)


def measure(live_releases: LiveReleases, status: ReleaseStatus, seconds: float = 20) -> Share:
    """Count at Envoy while the route stays as it is."""
    assert status.current is not None
    time.sleep(SETTLE)
    router, end = live_releases.ports.router, time.monotonic() + seconds
    before = router.counters(MODEL)

    def counted() -> tuple[int, int]:
        time.sleep(0.05)
        now = router.counters(MODEL)
        canary, stable = (
            now[pool].since(before[pool]).requests for pool in (PoolName.CANARY, PoolName.STABLE)
        )
        return canary, stable

    canary, stable = counted()
    while max(canary, stable) < SAMPLE and time.monotonic() < end:
        canary, stable = counted()
    mirror = status.phase is Phase.SHADOW
    return Share(100.0 if mirror else status.current.weight, canary, stable, mirror)


EXPECTED = {
    Ending.FORWARD: Phase.SUCCEEDED,
    Ending.RESUMED: Phase.SUCCEEDED,
    Ending.PROMOTED: Phase.SUCCEEDED,
    Ending.SUPERSEDED: Phase.SUPERSEDED,
    Ending.ABORTED: Phase.ROLLED_BACK,
}


def expected(scenario: Scenario) -> Phase:
    phase = EXPECTED[scenario.ending]
    if scenario.strategy is Strategy.SHADOW_ONLY and phase is Phase.SUCCEEDED:
        return Phase.OBSERVED
    return Phase.REJECTED if phase is Phase.ROLLED_BACK and scenario.at == LOADING else phase


def _compare(status: ReleaseStatus, before: dict, live_releases: LiveReleases) -> list[str]:
    """Words for everything that the release left otherwise than it should have."""
    wanted = live_releases.promoted(before, status) if status.phase is Phase.SUCCEEDED else before
    found = live_releases.state()
    return [f"{name}: {found[name]}, not {wanted[name]}" for name in wanted if found[name] != wanted[name]]
