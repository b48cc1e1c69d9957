"""Labels on their way from the servers' files into the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from perennial.errors import MalformedInput
from perennial.flows.feedback import FeedbackCounts, ingest
from perennial.serving.feedback_inbox import Feedback, FeedbackInbox, FeedbackWriter, parse

AT = datetime(2026, 3, 1, tzinfo=UTC)


class Store:
    """A FeedbackStore in a dictionary; `down` fails before anything is stored."""

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}
        self.rewards: dict[str, float] = {}
        self.down = False

    def put(self, labels, received) -> int:
        if self.down:
            raise ConnectionError("away")
        changed = sum(self.kept.get(name) != label for name, label in labels.items())
        self.kept.update(labels)
        return changed

    def put_rewards(self, rewards, received) -> int:
        self.rewards.update(rewards)
        return len(rewards)


def test_labels_are_stored_once_and_later_ones_win(tmp_path):
    store, inbox = Store(), FeedbackInbox(tmp_path)
    FeedbackWriter(tmp_path, "b").append({"x": 1.0}, AT + timedelta(seconds=2))
    FeedbackWriter(tmp_path, "a").append({"x": 0.0, "y": 1.0}, AT)
    assert ingest(inbox, store) == FeedbackCounts(received=3, changed=3)
    assert store.kept == {"x": 1.0, "y": 1.0}
    assert ingest(inbox, store) == FeedbackCounts(received=0, changed=0)
    FeedbackWriter(tmp_path, "a").append({"y": 1.0}, AT)
    assert ingest(inbox, store) == FeedbackCounts(received=1, changed=0)


def test_a_store_that_fails_loses_nothing(tmp_path):
    store, inbox = Store(), FeedbackInbox(tmp_path)
    FeedbackWriter(tmp_path, "a").append({"x": 1.0}, AT)
    store.down = True
    with pytest.raises(ConnectionError):
        ingest(inbox, store)
    store.down = False
    assert ingest(inbox, store).changed == 1


def test_a_line_being_written_waits_for_its_end(tmp_path):
    writer = FeedbackWriter(tmp_path, "a")
    writer.append({"x": 1.0}, AT)
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    store, inbox = Store(), FeedbackInbox(tmp_path)
    assert ingest(inbox, store).received == 1
    path.write_bytes(whole + whole)
    assert ingest(inbox, store).received == 1


def test_a_line_that_is_no_feedback_is_told(tmp_path):
    (tmp_path / "a.jsonl").write_text("nonsense\n")
    with pytest.raises(MalformedInput, match="nonsense"):
        ingest(FeedbackInbox(tmp_path), Store())


def test_rewards_travel_with_the_labels(tmp_path):
    body = {
        "labels": [{"prediction_id": "x", "label": 1, "reward": -2.5}, {"prediction_id": "y", "reward": 40}]
    }
    given = parse(body)
    assert given == Feedback(labels={"x": 1.0}, rewards={"x": -2.5, "y": 40.0})
    assert given.predictions == 2
    FeedbackWriter(tmp_path, "a").append(given.labels, AT, given.rewards)
    store = Store()
    assert ingest(FeedbackInbox(tmp_path), store) == FeedbackCounts(received=3, changed=3)
    assert (store.kept, store.rewards) == ({"x": 1.0}, {"x": -2.5, "y": 40.0})


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"label": 2},
        {"reward": "much"},
        {"reward": True},
        {"reward": float("nan")},
        {"reward": 1, "note": ""},
    ],
)
def test_feedback_that_says_nothing_usable_is_refused(entry):
    with pytest.raises(MalformedInput, match="label 0"):
        parse({"labels": [{"prediction_id": "x", **entry}]})
