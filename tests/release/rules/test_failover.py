"""The alarm about a backup that answers: once at its begin, once at its end, also over restarts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from doubles.releases import MemoryStore
from doubles.routing import MemoryRouter

from perennial.core.events import Event
from perennial.core.release.failover import QUIET
from perennial.core.release.traffic import Route, Target
from perennial.errors import StoreUnavailable
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts

NOW = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
ROUTE = Route(
    model="m",
    stable=Target(version="1.1.0", digest="b", release_id="r2"),
    backup=Target(version="1.0.0", digest="a", release_id="r1"),
)


class Scene:
    """A guard over fakes."""

    def __init__(self) -> None:
        self.router, self.store, self.now = MemoryRouter(), MemoryStore(), NOW
        self.router.apply(ROUTE)
        self.start()

    def start(self) -> None:
        self.guard = FailoverWatch(
            ["m", "unrouted"], FailoverWatchPorts(self.router, self.store.ledger, lambda now: [], None)
        )

    def look(self, answers: int = 0, seconds: float = 2) -> list[str]:
        self.router.answered("m", "backup", answers)
        self.now += timedelta(seconds=seconds)
        return self.guard.look(self.now)

    def entries(self) -> list[tuple[str, int]]:
        return [(row.entry.kind, row.entry.payload["answered"]) for row in self.store.ledger.rows()]


@pytest.fixture
def scene():
    return Scene()


def test_nothing_is_told_while_the_champion_answers(scene):
    assert scene.look() == scene.look() == []
    assert scene.entries() == []


def test_told_once_at_its_begin_and_once_at_its_end(scene):
    scene.look()
    assert "ALARM failover.began: m 1.0.0 answers in place of 1.1.0" in scene.look(5)[0]
    assert scene.look(7) == scene.look(0, 30) == scene.look(1, 30) == []
    scene.look(0, QUIET.seconds)
    assert scene.entries() == [(Event.FAILOVER_BEGAN, 5), (Event.FAILOVER_ENDED, 13)]
    entry = scene.store.ledger.rows()[0].entry
    assert (entry.digest, entry.payload["champion"], entry.payload["healthy"]["stable"]) == ("a", "1.1.0", 2)
    assert scene.look(0, 600) == []


def test_a_guard_that_was_killed_goes_on_from_the_ledger(scene):
    scene.look(5)
    scene.start()
    assert scene.look() == scene.look(3) == []
    scene.start()
    scene.look()
    scene.look(0, 2 * QUIET.seconds)
    assert scene.entries() == [(Event.FAILOVER_BEGAN, 5), (Event.FAILOVER_ENDED, 8)]
    scene.start()
    assert scene.look() == []


def test_a_failover_while_nobody_watched_is_told(scene):
    scene.router.answered("m", "backup", 4)
    assert "began" in scene.look()[0]


def test_a_restarted_router_counts_anew(scene):
    scene.look(50)
    scene.look(0, 120)
    scene.router.restart()
    assert scene.look() == []
    scene.look(3)
    assert [kind for kind, _ in scene.entries()] == [
        Event.FAILOVER_BEGAN,
        Event.FAILOVER_ENDED,
        Event.FAILOVER_BEGAN,
    ]


def test_what_the_ledger_does_not_take_is_told_again(scene, monkeypatch):
    def down(entry):
        raise StoreUnavailable("down", hint="wait")

    monkeypatch.setattr(scene.store.ledger, "append", down)
    assert "StoreUnavailable" in scene.look(5)[0]
    monkeypatch.undo()
    scene.look()
    assert scene.entries() == [(Event.FAILOVER_BEGAN, 5)]


def test_a_router_that_is_down_costs_a_look(scene):
    scene.router.down = True
    assert "RouterUnavailable" in scene.look()[0]
    scene.router.down = False
    assert scene.look() == []


def test_what_the_router_does_on_its_own_is_recorded_once_and_repaired(scene):
    scene.router.foreign, scene.router.repairable = ["routes: another weight"], False
    first, again = scene.look(), scene.look()
    assert "ALARM route.changed_outside: routes: another weight" in first[0] == again[0]
    assert scene.router.repairs == 2
    (row,) = scene.store.ledger.rows()
    assert row.entry.payload == {"version": "1.1.0", "differences": ["routes: another weight"]}
    scene.router.repairable = True
    scene.look()
    assert scene.look() == []
    scene.router.foreign = ["routes: another weight"]
    scene.look()
    assert len(scene.store.ledger.rows()) == 2
