"""What people are told of releases from their start to their end; over fakes."""

from __future__ import annotations

import pytest
from doubles.notices import MemoryNotifier

from perennial.core.governance.notices import Links
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.flows.governance.notify import NotifyPorts, deliver

MODEL = "test_failure_predictor"
HOUR = 3600


class Told:
    """A channel that hears of everything in the world."""

    def __init__(self, world) -> None:
        self._world = world
        self.notifier = MemoryNotifier("1-json")
        links = Links(mlflow="http://m", airflow="http://a")
        store = world.store
        self._ports = NotifyPorts(self.notifier, store.deliveries, store.ledger, store.releases, links)

    def news(self) -> list[str]:
        """Titles since the last time, without the model's name."""
        before = len(self.notifier.sent["1-json"])
        deliver(self._ports, self._world.clock)
        return [one.title.removeprefix(f"{MODEL} ") for one in self.notifier.sent["1-json"][before:]]

    @property
    def last(self) -> str:
        return self.notifier.sent["1-json"][-1].body


@pytest.fixture
def told(world) -> Told:
    return Told(world)


def test_question_and_success(world, told):
    world.approvers(2)
    world.versions.add("1.0.0")
    status = world.start()
    assert told.news() == ["1.0.0 awaits approval"]
    for words in (
        "0 of 2; still needs 2, not ann (who asked)",
        "PASS roc_auc: 0.7500 (needed: >= 0.6)",
        f"http://m/#/models/{MODEL}/versions/1",
        f"http://a/dags/release_{MODEL}",
        f"perennial release status {MODEL}",
        status.candidate.digest[:12],
    ):
        assert words in told.last
    world.say(status, IntentKind.APPROVE, actor="alice")
    world.passes(status.release_id, 2)
    assert told.news() == [], "who waits was told already"
    world.say(status, IntentKind.APPROVE, actor="carol")
    world.passes(status.release_id, 4)
    assert told.news() == ["1.0.0 is champion"]


def test_doubt_and_failure_with_their_evidence(world, told):
    world.release_first()
    told.news()
    status = world.open_second()
    world.passes(status.release_id, 1, 26 * HOUR)
    assert told.news() == ["1.1.0 is paused and asks a person"]
    assert "Why: not enough evidence in the time given" in told.last
    assert "UNSURE" in told.last
    world.say(status, IntentKind.RESUME)
    world.passes(status.release_id)
    world.serve(4000, 9000)
    world.passes(status.release_id, 1, HOUR)
    world.serve(200, 4000, errors=60)
    status = world.passes(status.release_id, 3)
    assert (status.phase, told.news()) == (Phase.ROLLED_BACK, ["1.1.0 was rolled back"])
    assert "error_rate" in told.last


def test_refusal_abort_and_emergency(world, told):
    world.release_first()
    told.news()
    world.versions.add("1.1.0", data_checks="failed")
    world.start()
    assert told.news() == ["1.1.0 was rejected"]
    status = world.open_second("1.2.0")
    world.say(status, IntentKind.PAUSE)
    world.passes(status.release_id)
    assert told.news() == [], "a person paused it, and knows"
    world.say(status, IntentKind.PROMOTE)
    world.passes(status.release_id, 3)
    world.back()
    assert world.settle() == []
    assert told.news() == ["1.2.0 is champion", "1.0.0 took over again from 1.2.0 in an emergency rollback"]
    assert "Why: it burns" in told.last


def test_channel_that_is_down_changes_nothing_of_a_release(world, told):
    told.notifier.down = {"1-json"}
    world.versions.add("1.0.0")
    status = world.start()
    told.news()
    world.say(status, IntentKind.APPROVE)
    for _ in range(4):
        status = world.passes(status.release_id)
        told.news()
    assert status.phase is Phase.SUCCEEDED
    told.notifier.down = set()
    world.sleep(600)
    assert told.news() == ["1.0.0 awaits approval", "1.0.0 is champion"]
