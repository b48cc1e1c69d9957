"""Telling people: everyone at least once, whoever is killed; a channel that is down holds up only itself."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from doubles.notices import MemoryNotifier
from doubles.releases import MemoryStore

from perennial.core.events import Entry
from perennial.core.governance.ledger import verify
from perennial.core.governance.notices import FRESH, GIVE_UP, Links
from perennial.flows.governance.notify import AT_ONCE, LEASE, NotifyPorts, deliver

START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
LINKS = Links(mlflow="http://m", airflow="http://a")


class NoticeWorld:
    """A ledger that facts come into, two channels, and a clock."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.notifier = MemoryNotifier("1-mailto", "2-json")
        self.now = START
        self.ports = NotifyPorts(
            self.notifier, self.store.deliveries, self.store.ledger, self.store.releases, LINKS
        )

    def fact(self, version: str, kind: str = "release.succeeded") -> None:
        entry = Entry(at=self.now, actor="machine", kind=kind, model="m", payload={"version": version})
        self.store.ledger.append(entry)

    def deliver(self, seconds: float = 5):
        self.now += timedelta(seconds=seconds)
        return deliver(self.ports, lambda: self.now)

    def told(self, channel: str) -> list[str]:
        return [one.title.split()[1] for one in self.notifier.sent[channel]]


@pytest.fixture
def notice_world():
    return NoticeWorld()


def test_each_channel_is_told_once_in_order(notice_world):
    for version in ("1.0.0", "1.1.0"):
        notice_world.fact(version)
        notice_world.fact(version, "release.gated")
    assert [(one.channel, one.sent) for one in notice_world.deliver()] == [("1-mailto", 2), ("2-json", 2)]
    assert notice_world.deliver() == []
    notice_world.fact("1.2.0")
    notice_world.deliver()
    assert notice_world.told("1-mailto") == notice_world.told("2-json") == ["1.0.0", "1.1.0", "1.2.0"]


def test_new_channel_is_not_told_the_past(notice_world):
    notice_world.fact("1.0.0")
    notice_world.now += FRESH + timedelta(minutes=1)
    notice_world.fact("1.1.0")
    notice_world.deliver()
    assert notice_world.told("1-mailto") == ["1.1.0"]


def test_channel_that_is_down_is_retried_later_and_holds_up_nobody(notice_world):
    notice_world.notifier.down = {"1-mailto"}
    notice_world.fact("1.0.0")
    assert [one.error for one in notice_world.deliver()] == ["1-mailto: it is down", ""]
    assert notice_world.deliver() == [], "not before its time"
    (broken, works) = notice_world.store.deliveries.all()
    assert (broken.attempts, broken.error, works.error) == (1, "1-mailto: it is down", "")
    notice_world.notifier.down = set()
    notice_world.fact("1.1.0")
    notice_world.deliver(11)
    assert notice_world.told("1-mailto") == notice_world.told("2-json") == ["1.0.0", "1.1.0"]
    assert notice_world.store.deliveries.all()[0].error == ""


def test_what_cannot_be_told_for_a_day_is_given_up_and_the_ledger_says_so(notice_world):
    notice_world.notifier.down = {"1-mailto"}
    notice_world.fact("1.0.0")
    notice_world.deliver()
    notice_world.now += GIVE_UP
    notice_world.fact("1.1.0")
    notice_world.deliver()
    (row,) = [row for row in notice_world.store.ledger.rows() if row.entry.kind == "notify.undelivered"]
    assert row.entry.payload == {
        "entry": 1,
        "what": "release.succeeded",
        "channel": "1-mailto",
        "why": "1-mailto: it is down",
    }
    notice_world.notifier.down = set()
    notice_world.deliver(601)
    assert (notice_world.told("1-mailto"), notice_world.told("2-json")) == (["1.1.0"], ["1.0.0", "1.1.0"])
    assert verify(notice_world.store.ledger.rows()) is None


def test_long_backlog_leaves_the_other_channels_their_turn(notice_world):
    for number in range(AT_ONCE + 5):
        notice_world.fact(f"1.{number}.0")
    assert [one.sent for one in notice_world.deliver()] == [AT_ONCE, AT_ONCE]
    assert [one.sent for one in notice_world.deliver()] == [5, 5]


def test_somebody_else_tells_it_just_now(notice_world):
    notice_world.fact("1.0.0")
    notice_world.store.deliveries.take("1-mailto", 0, notice_world.now, notice_world.now + LEASE)
    notice_world.deliver()
    assert (notice_world.told("1-mailto"), notice_world.told("2-json")) == ([], ["1.0.0"])
    notice_world.deliver(LEASE.total_seconds())
    assert notice_world.told("1-mailto") == ["1.0.0"], "whoever had it was killed"


class Killed(BaseException):
    """As SIGKILL: what would tidy up after it has no effect either."""


class Killer:
    """Kills once, after the effect asked for."""

    def __init__(self, notice_world: NoticeWorld, kill_at: int) -> None:
        self.count = 0
        self.kill_at = kill_at
        deliveries = notice_world.store.deliveries
        for owner, name in ((notice_world.notifier, "send"), (deliveries, "take"), (deliveries, "put")):
            setattr(owner, name, self._counted(getattr(owner, name)))
        give_back = deliveries.give_back
        deliveries.give_back = lambda channel: None if self.count == kill_at else give_back(channel)

    def _counted(self, real):
        def call(*args):
            done = real(*args)
            self.count += 1
            if self.count == self.kill_at:
                raise Killed
            return done

        return call


@pytest.mark.parametrize("kill_at", range(1, 20))
def test_killed_after_any_effect_everybody_is_told(notice_world, kill_at):
    """Killed between sending and noting it, a message goes out twice; never not at all."""
    killer = Killer(notice_world, kill_at)
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        notice_world.fact(version)
    for _ in range(4):
        with contextlib.suppress(Killed):
            notice_world.deliver(LEASE.total_seconds() + 1)
    assert killer.count >= 14
    for channel in notice_world.notifier.channels:
        assert sorted(set(notice_world.told(channel))) == ["1.0.0", "1.1.0", "1.2.0"]
        assert len(notice_world.told(channel)) <= 4, "one message twice at most"
