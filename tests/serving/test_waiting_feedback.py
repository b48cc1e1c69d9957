"""Feedback about a prediction whose log is still on its way from another machine waits for it."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.releases import MemoryFeedback
from some_source import source

from perennial.adapters.exchange import Exchange
from perennial.core.governance.reviews import ForgottenComments, Review
from perennial.flows.feedback.ingest import ingest
from perennial.serving.evidence import waiting
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.evidence.feedback_entries import Feedback
from perennial.serving.evidence.waiting import AGAIN, LONGEST
from perennial.serving.feedback_inbox import FeedbackInbox, FeedbackWriter
from perennial.serving.log.parts import LogReceiver, LogSender
from perennial.serving.prediction_log import ID_ENTROPY, new_ids

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
HERE, ELSEWHERE, NEVER = new_ids(3, AT, bytes(range(3 * ID_ENTROPY)))


class Log:
    """Predictions whose log has arrived."""

    def __init__(self, *ids: str) -> None:
        self.ids = set(ids)

    def models(self, ids: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(self.ids & set(ids), "m")

    def tasks(self, ids: Collection[str]) -> dict[str, str]:
        return dict.fromkeys(self.models(ids), "")


class Desk:
    """An inbox of several machines with its store and a clock."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.log = folder, AT, Log(HERE)
        self.store = MemoryFeedback()
        self.restart()

    def restart(self) -> None:
        self.inbox = FeedbackInbox(self.folder, lambda: self.now, waits=LONGEST)

    def send(self, labels: dict[str, float | str], rewards=(), reviews=()) -> None:
        content = Feedback(labels, dict(rewards), tuple(reviews))
        FeedbackWriter(self.folder, "a").append(content, source(), self.now)

    def ingest(self, after: timedelta = timedelta(0)):
        self.now += after
        return ingest(self.inbox, self.store, self.log)

    @property
    def labels(self) -> dict[str, float]:
        return dict(self.store.labels().get("ci", {}))


@pytest.fixture
def desk(tmp_path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("restarts", [False, True])
def test_a_label_before_its_prediction_is_stored_when_the_log_arrives_and_counted_once(desk, restarts):
    desk.send({HERE: 1.0, ELSEWHERE: 0.0}, {ELSEWHERE: 2.5})
    first = desk.ingest()
    assert (first.received, first.changed, first.unknown, desk.labels) == (3, 1, {}, {HERE: 1.0})
    if restarts:
        desk.restart()
    assert (desk.ingest(AGAIN).received, desk.labels) == (0, {HERE: 1.0})
    desk.log.ids.add(ELSEWHERE)
    later = desk.ingest(AGAIN)
    assert (later.received, later.changed, later.unknown) == (0, 2, {})
    assert desk.labels == {HERE: 1.0, ELSEWHERE: 0.0}
    assert desk.store.rewards() == {"ci": {ELSEWHERE: 2.5}}
    assert "waiting" not in (desk.folder / "stored.json").read_text()


def test_what_never_arrives_is_unknown_after_a_day_and_what_cannot_at_once(desk):
    desk.send({NEVER: 1.0, "p1": 1.0})
    assert desk.ingest().unknown == {"ci": 1}, "p1 is no id of a prediction"
    assert desk.ingest(LONGEST - timedelta(seconds=1)).unknown == {}
    assert desk.ingest(AGAIN).unknown == {"ci": 1}
    assert desk.ingest(AGAIN).unknown == {}, "counted once"
    aside = (desk.folder / "aside" / "not-answered.log").read_text()
    assert aside == f"ci unknown 'p1'\nci unknown {NEVER!r}\n"


def test_on_one_machine_nothing_waits(desk):
    """A prediction is in the log before its answer is sent."""
    desk.inbox = FeedbackInbox(desk.folder, lambda: desk.now)
    desk.send({NEVER: 1.0})
    assert desk.ingest().unknown == {"ci": 1}


def test_wrong_ids_without_end_wait_up_to_a_limit(desk, monkeypatch):
    monkeypatch.setattr(waiting, "MOST", 3)
    ids = new_ids(5, AT, bytes(range(100, 100 + 5 * ID_ENTROPY)))
    desk.send(dict.fromkeys(ids[:2], 1.0))
    assert desk.ingest().unknown == {}
    desk.send(dict.fromkeys(ids[2:], 1.0))
    assert desk.ingest().unknown == {"ci": 2}


def test_a_correction_stays_though_the_first_label_has_waited(desk):
    desk.send({ELSEWHERE: 0.0})
    desk.ingest()
    desk.now += timedelta(seconds=1)
    desk.send({ELSEWHERE: 1.0})
    desk.log.ids.add(ELSEWHERE)
    desk.ingest()
    assert desk.labels == {ELSEWHERE: 1.0}
    desk.ingest(AGAIN)
    assert desk.labels == {ELSEWHERE: 1.0}


def test_a_comment_that_is_forgotten_while_its_review_waits_is_not_stored(desk):
    review = Review(prediction_id=ELSEWHERE, verdict="reject", comment="by name", consent=True)
    desk.send({HERE: 1.0}, reviews=[review])
    desk.ingest()
    desk.inbox.forget_comments(ForgottenComments(source="ci", prediction=None, until=desk.now))
    desk.log.ids.add(ELSEWHERE)
    desk.ingest(AGAIN)
    (kept,) = desk.store.reviews()
    assert (kept.review.verdict, kept.review.comment) == ("reject", None)


def test_a_label_at_one_machine_finds_the_prediction_that_another_sends_later(tmp_path):
    exchange = Exchange(f"file://{tmp_path}/exchange")
    control = tmp_path / "control"
    journal = tmp_path / "a" / "log" / "m" / f"{AT:%Y%m%dT%H}-stable-1.0.jsonl"
    journal.parent.mkdir(parents=True)
    journal.write_text(json.dumps({"ids": [ELSEWHERE], "shadow": False}) + "\n")
    FeedbackWriter(tmp_path / "b" / "feedback", "s").append(Feedback({ELSEWHERE: 1.0}, {}), source(), AT)
    store, clock = MemoryFeedback(), [AT]
    inbox = FeedbackInbox(control / "feedback", lambda: clock[-1], waits=LONGEST)
    answered = AnsweredPredictions(control / "log")
    for machine, hours, labels in (("b", 0, {}), ("a", 3, {"ci": {ELSEWHERE: 1.0}})):
        clock.append(AT + timedelta(hours=hours))
        LogSender(tmp_path / machine, f"serving_{machine}", exchange).run(AT)
        LogReceiver(control, exchange).run()
        counts = ingest(inbox, store, answered)
        assert (counts.unknown, {name: dict(kept) for name, kept in store.labels().items()}) == ({}, labels)
