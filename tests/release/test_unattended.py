"""A release that nobody walks: told once, and walked by the failover watch, so that it cannot stay unjudged."""

from __future__ import annotations

import pytest

from perennial.core.events import Event
from perennial.core.governance.notices import Links, compose, is_notable
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.errors import StoreUnavailable, TrackerUnavailable
from perennial.flows.release.attendance import UNATTENDED, AttendancePorts, attended, is_unattended
from perennial.flows.release.failover_watch import FailoverWatch, FailoverWatchPorts
from perennial.flows.release.reconcile import reconcile

MODEL = "test_failure_predictor"
LIMIT = UNATTENDED.total_seconds()


class Watch:
    """The failover watch of a world; `walk` replaces its pass over a release."""

    def __init__(self, world, walk=None, once: bool = False) -> None:
        self.world = world
        store = world.store
        walk = walk or (lambda release_id, now: reconcile(release_id, world.ports, now))
        attendance = AttendancePorts(store.releases, store.ledger, walk)
        ports = FailoverWatchPorts(world.router, store.ledger, lambda now: [], None, attendance)
        self._watch = FailoverWatch([MODEL], ports, once)

    def look(self, seconds: float = 10) -> list[str]:
        self.world.sleep(seconds)
        return self._watch.look(self.world.now)

    def alarms(self) -> list:
        rows = self.world.store.ledger.rows(MODEL, kinds=(Event.RELEASE_UNATTENDED,))
        return list(rows)


@pytest.fixture
def running(world):
    """A candidate in SHADOW, and the watch over it."""
    world.release_first()
    status = world.open_second()
    assert status.phase is Phase.SHADOW
    watch = Watch(world)
    watch.look(0)
    return world, status, watch


def test_a_release_that_is_walked_raises_no_alarm(running):
    world, status, watch = running
    for _ in range(9):
        world.passes(status.release_id, 1, LIMIT / 3)
        assert watch.look(0) == []
    assert watch.alarms() == []
    assert not is_unattended(status, world.store.releases, world.now)


def test_a_release_that_nobody_walks_is_told_once_and_notified(running):
    world, status, watch = running
    assert watch.look(LIMIT - 20) == []
    (line,) = watch.look(40)
    assert line.startswith(f"ALARM release.unattended: {MODEL} 1.1.0: no pass since 2026-01-05")
    for _ in range(5):
        assert watch.look(LIMIT) == Watch(world).look() == []
    (row,) = watch.alarms()
    assert (row.entry.actor, row.entry.release_id) == ("guard", status.release_id)
    assert is_notable(row.entry)
    text = compose(row, status, Links(mlflow="http://m", airflow="http://a"))
    assert text.title.endswith("1.1.0 has a release that nobody walked")
    assert "Why: no pass since" in text.body


def test_an_abort_takes_the_traffic_although_nothing_can_be_stored(running, monkeypatch):
    world, status, _ = running

    def full(*_):
        raise StoreUnavailable("the disk is full")

    world.say(status, IntentKind.ABORT)
    world.sleep(60)
    monkeypatch.setattr(world.store.releases, "note_pass", full)
    monkeypatch.setattr(world.store.releases, "save", full)
    with pytest.raises(StoreUnavailable):
        reconcile(status.release_id, world.ports, world.now)
    assert world.router.route(MODEL).canary is None


def test_an_abort_is_obeyed_although_nobody_walks_the_release(running):
    world, status, watch = running
    world.say(status, IntentKind.ABORT)
    watch.look(LIMIT + 60)
    watch.look()
    assert world.store.releases.load(status.release_id).phase is Phase.ROLLED_BACK
    assert world.router.route(MODEL).canary is None


def test_a_bad_candidate_is_aborted_although_nobody_walks_the_release(running):
    world, status, watch = running
    world.serve(4000, 9000)
    status = world.passes(status.release_id, 1, 3600)
    assert status.phase is Phase.CANARY
    for _ in range(20):
        world.router.answered(MODEL, "canary", 20, errors=6)
        world.router.answered(MODEL, "stable", 400)
        watch.look(LIMIT + 60)
    ended = world.store.releases.load(status.release_id)
    assert ended.phase is Phase.ROLLED_BACK
    assert "error_rate" in ended.note


def test_the_watch_waits_for_those_who_start_after_it(running):
    """After a start of everything, the last pass is long ago and Airflow comes later than the watch."""
    world, status, _ = running
    world.sleep(10 * LIMIT)
    late = Watch(world)
    assert late.look() == late.look(LIMIT - 30) == []
    world.passes(status.release_id)
    assert late.look(60) == []
    assert late.alarms() == []


def test_a_single_pass_of_the_watch_counts_from_the_last_pass(running):
    """A process of a single pass cannot wait for those who start after it."""
    world, _, _ = running
    assert Watch(world, once=True).look(LIMIT - 20) == []
    (line,) = Watch(world, once=True).look(40)
    assert line.startswith("ALARM release.unattended")


def test_a_walk_that_fails_does_not_end_the_watch(running):
    world, _, _ = running
    for error in (TrackerUnavailable("MLflow is down"), KeyError("bug")):

        def walk(release_id, now, error=error):
            raise error

        watch = Watch(world, walk)
        watch.look()
        assert any("not walked" in line for line in watch.look(LIMIT + 60))


def test_the_figures_for_prometheus(running):
    from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics

    world, status, watch = running
    store, metrics = world.store, MonitorMetrics()
    metrics.watch_releases(lambda: attended([MODEL], store.releases, store.ledger))
    labels = {"model_name": MODEL, "release": status.release_id}

    def figure(name: str) -> float | None:
        return metrics.registry.get_sample_value(f"perennial_release_{name}", labels)

    assert figure("unattended") == 0
    assert figure("last_pass_timestamp_seconds") == pytest.approx(world.now.timestamp(), abs=20)
    watch.look(LIMIT + 60)
    assert figure("unattended") == 1
