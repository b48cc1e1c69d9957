"""Reviews of people: from the request to the store, replaced with a history, and comments that can be deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from doubles.releases import MemoryStore
from some_source import AllAnswered, source

from perennial.core.governance.reviews import LONGEST_COMMENT, MOST_CHANGES, Review, ReviewVerdict
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks import Ranking
from perennial.errors import MalformedInput
from perennial.flows.feedback.forget import forget_comments
from perennial.flows.feedback.ingest import ingest
from perennial.flows.feedback.votes import known_labels
from perennial.serving.feedback_inbox import FeedbackInbox, FeedbackWriter, parse

AT = datetime(2026, 3, 1, tzinfo=UTC)
TASK = [Ranking(threshold=0.5)]
ANN, BOB = source("ann"), source("bob")
FIX = {"prediction_id": "p1", "verdict": "modify", "value": 1}


class Desk:
    """A server's file of feedback, and the store behind it."""

    def __init__(self, folder) -> None:
        self.folder, self.store = folder, MemoryStore()
        self.inbox = FeedbackInbox(folder, lambda: AT + timedelta(days=1))
        self.writer = FeedbackWriter(folder, "a")

    def send(self, *entries, by=ANN, after=0):
        self.writer.append(parse({"reviews": list(entries)}, TASK), by, AT + timedelta(seconds=after))

    def ingest(self, answered=None):
        return ingest(self.inbox, self.store.feedback, answered or AllAnswered())

    def kept(self):
        return [
            (stored.source, stored.review.verdict.value, stored.current)
            for stored in self.store.feedback.reviews()
        ]

    def files(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.folder.glob("*.jsonl"))


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_the_same_review_changes_nothing_and_a_later_one_replaces_it_with_a_history(desk):
    desk.send(FIX)
    assert desk.ingest().changed == 1
    desk.send(FIX, after=1)
    assert desk.ingest().changed == 0
    desk.send({"prediction_id": "p1", "verdict": "accept", "score": 0.9}, after=2)
    desk.send({"prediction_id": "p1", "verdict": "reject"}, by=BOB, after=3)
    assert desk.ingest().changed == 2
    assert desk.kept() == [("ann", "modify", False), ("ann", "accept", True), ("bob", "reject", True)]


def test_a_file_that_is_read_again_after_a_kill_changes_nothing(desk):
    desk.send(FIX)
    desk.send({"prediction_id": "p1", "verdict": "accept"}, after=1)
    desk.ingest()
    before = desk.store.feedback.reviews()
    (desk.folder / "stored.json").unlink()
    assert desk.ingest().changed == 0
    assert desk.store.feedback.reviews() == before


def test_a_right_value_is_a_label_only_where_the_spec_says_so(desk):
    desk.send(FIX, {"prediction_id": "p2", "verdict": "accept"})
    desk.send({**FIX, "value": 0.0}, by=BOB)
    desk.ingest()
    desk.store.feedback.put({"p1": 1.0}, AT, "bob")
    assert known_labels(FeedbackSpec(), desk.store.feedback) == {"bob": {"p1": 1.0}}
    counted = FeedbackSpec(reviews=True)
    assert known_labels(counted, desk.store.feedback) == {"ann": {"p1": 1.0}, "bob": {"p1": 1.0}}, (
        "a vote a source"
    )
    desk.send({"prediction_id": "p1", "verdict": "reject"}, after=5)
    desk.ingest()
    assert known_labels(counted, desk.store.feedback)["ann"] == {}, "taken back"


def test_reviews_of_unknown_predictions_and_other_models_are_kept_apart(desk):
    class Some(AllAnswered):
        def models(self, ids):
            return {name: "other" if name == "p3" else "m" for name in ids if name != "p2"}

    desk.send(
        *({"prediction_id": name, "verdict": "accept"} for name in ("p1", "p2", "p3")), by=source("ann", "m")
    )
    counts = desk.ingest(Some())
    assert (counts.changed, counts.unknown, counts.foreign) == (1, {"ann": 1}, {"ann": 1})
    assert b"p2" in b"".join(path.read_bytes() for path in desk.folder.glob("aside/*"))


def test_a_comment_is_written_only_with_consent_and_can_be_deleted_everywhere(desk):
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": "no consent given"})
    desk.send({"prediction_id": "p2", "verdict": "reject", "comment": "call Ünsal", "consent": True}, after=1)
    desk.send(
        {"prediction_id": "p3", "verdict": "reject", "comment": "mine stays", "consent": True},
        by=BOB,
        after=2,
    )
    assert b"no consent" not in desk.files()
    desk.ingest()
    size = len(desk.files())
    desk.send(
        {"prediction_id": "p4", "verdict": "accept", "comment": "still in a file", "consent": True}, after=3
    )
    assert forget_comments("ann", None, desk.inbox, desk.store.feedback, desk.store.ledger, "eve", AT) == 1
    desk.ingest()
    comments = {
        stored.review.prediction_id: stored.review.comment for stored in desk.store.feedback.reviews()
    }
    assert comments == {"p1": None, "p2": None, "p3": "mine stays", "p4": None}
    assert "Ünsal".encode() not in desk.files()
    assert b"still in a file" not in desk.files()
    assert desk.files()[:size].endswith(b"\n"), "every line keeps its place"
    assert all(orjson.loads(line) for line in desk.files().splitlines())
    (desk.folder / "stored.json").unlink()
    assert desk.ingest().changed == 0
    (row,) = desk.store.ledger.rows()
    assert (row.entry.actor, row.entry.payload["comments"]) == ("eve", 1)


def test_a_source_that_changes_its_mind_without_end_is_stopped(desk):
    for second in range(MOST_CHANGES + 5):
        desk.send({"prediction_id": "p1", "verdict": "accept", "score": second / 100}, after=second)
    counts = desk.ingest()
    assert (counts.changed, counts.too_often) == (MOST_CHANGES, {"ann": 5})
    assert "reviewed too often" in counts.alarms[0]


def test_labels_and_reviews_come_in_one_request():
    both = parse({"labels": [{"prediction_id": "p1", "label": 1}], "reviews": [FIX]}, TASK)
    assert (both.labels, both.predictions) == ({"p1": 1.0}, 1)
    assert both.reviews == (Review(prediction_id="p1", verdict=ReviewVerdict.MODIFY, value=1.0),)


@pytest.mark.parametrize(
    ("entry", "word"),
    [
        ({"verdict": "accept"}, "prediction_id"),
        ({"prediction_id": "p", "verdict": "perhaps"}, "verdict"),
        ({"prediction_id": "p", "verdict": "modify"}, "right value"),
        ({"prediction_id": "p", "verdict": "accept", "value": 1}, "right value"),
        ({"prediction_id": "p", "verdict": "modify", "value": 7}, "label is 7"),
        ({"prediction_id": "p", "verdict": "accept", "score": 2}, "score"),
        ({"prediction_id": "p", "verdict": "accept", "score": True}, "score"),
        ({"prediction_id": "p", "verdict": "accept", "consent": "yes"}, "consent"),
        ({"prediction_id": "p", "verdict": "accept", "comment": "x" * (LONGEST_COMMENT + 1)}, "comment"),
        ({"prediction_id": "p", "verdict": "accept", "reviewer": "the boss"}, "reviewer"),
        ("p", "no object"),
    ],
)
def test_a_wrong_review_is_refused_before_anything_is_written(entry, word):
    with pytest.raises(MalformedInput, match=word):
        parse({"reviews": [entry]}, TASK)


def test_two_reviews_of_a_prediction_in_one_request_are_refused():
    with pytest.raises(MalformedInput, match="two reviews"):
        parse({"reviews": [FIX, {"prediction_id": "p1", "verdict": "accept"}]}, TASK)
    with pytest.raises(MalformedInput, match="no list"):
        parse({"reviews": []}, TASK)
