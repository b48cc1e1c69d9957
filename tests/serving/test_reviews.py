"""Reviews of people: from the request to the store, replaced with a history, and comments that can be deleted."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from doubles.releases import MemoryStore
from some_source import AllAnswered, source

from perennial.adapters.exchange import Exchange
from perennial.core.events import Entry, Event
from perennial.core.governance.reviews import LONGEST_COMMENT, MOST_CHANGES, Review, ReviewVerdict
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks import Ranking
from perennial.errors import MalformedInput, UsageError
from perennial.flows.feedback.forget import ForgetPorts, forget_comments
from perennial.flows.feedback.ingest import ingest
from perennial.flows.feedback.votes import known_labels
from perennial.flows.governance.identity import NO_MODEL
from perennial.serving.evidence.comments_in_files import Overwritten
from perennial.serving.evidence.feedback_entries import parse
from perennial.serving.feedback_inbox import FeedbackInbox, FeedbackWriter
from perennial.serving.log.parts import LogReceiver, LogSender

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

    def forget(self, of="ann", prediction=None, after=10, known=("ann", "bob")):
        ports = ForgetPorts(self.store.feedback, self.store.ledger)
        now = AT + timedelta(seconds=after)
        return forget_comments(of, prediction, self.inbox, ports, known, "eve", now)

    def comments(self):
        return {kept.review.prediction_id: kept.review.comment for kept in self.store.feedback.reviews()}

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


def test_predictions_are_stored_in_one_order_by_every_ingest(desk, monkeypatch):
    """Two ingests that lock the same rows in different orders would wait for each other."""
    names = [f"p{number}" for number in range(40)]
    backwards = {
        "labels": [{"prediction_id": name, "label": 1, "reward": 1.0} for name in reversed(names)],
        "reviews": [{"prediction_id": name, "verdict": "accept"} for name in reversed(names)],
    }
    desk.writer.append(parse(backwards, TASK), ANN, AT)
    orders = []
    for put in ("put", "put_rewards", "put_reviews"):
        stored = getattr(desk.store.feedback, put)

        def record(values, *rest, stored=stored):
            orders.append([value if isinstance(value, str) else value[0].prediction_id for value in values])
            return stored(values, *rest)

        monkeypatch.setattr(desk.store.feedback, put, record)
    desk.ingest()
    assert orders == [sorted(names)] * 3


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
    assert desk.forget() == (1, Overwritten(2))
    desk.ingest()
    assert desk.comments() == {"p1": None, "p2": None, "p3": "mine stays", "p4": None}
    assert "Ünsal".encode() not in desk.files()
    assert b"still in a file" not in desk.files()
    assert desk.files()[:size].endswith(b"\n"), "every line keeps its place"
    assert all(orjson.loads(line) for line in desk.files().splitlines())
    (desk.folder / "stored.json").unlink()
    assert desk.ingest().changed == 0
    (row,) = desk.store.ledger.rows()
    assert (row.entry.actor, row.entry.payload["source"]) == ("eve", "ann")


@pytest.mark.parametrize(
    "comment", ["?", 'say "no" to C:\\temp\n\u0001', "\\", "ü", '"comment":"x"', "x" * 2000]
)
def test_deleting_a_comment_leaves_every_other_byte(desk, comment):
    """One of a single character has no room for `null`."""
    desk.writer.append(parse({"labels": [{"prediction_id": "comment", "label": 1}]}, TASK), BOB, AT)
    both = {
        "labels": [{"prediction_id": "comment", "label": 1}, {"prediction_id": "p0", "label": 0}],
        "reviews": [
            {"prediction_id": "p1", "verdict": "reject", "comment": comment, "consent": True},
            {"prediction_id": "p2", "verdict": "reject", "comment": "the other stays", "consent": True},
        ],
    }
    desk.writer.append(parse(both, TASK), ANN, AT)
    desk.send({"prediction_id": "p1", "verdict": "accept", "comment": "mine", "consent": True}, by=BOB)
    size = len(desk.files())
    assert desk.forget(prediction="p1") == (0, Overwritten(1))
    assert len(desk.files()) == size
    batches, _ = desk.inbox.pending()
    assert desk.inbox.broken == 0
    assert [batch.labels for batch in batches] == [{"comment": 1.0}, {"comment": 1.0, "p0": 0.0}, {}]
    assert [[review.comment for review in batch.reviews] for batch in batches] == [
        [],
        [None, "the other stays"],
        ["mine"],
    ]
    assert desk.forget(prediction="p1") == (0, Overwritten()), "again"


def test_a_deletion_that_is_killed_at_any_byte_leaves_a_line_that_can_be_read(desk, monkeypatch):
    comment = 'a"\\\n\u0001\\"'
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": comment, "consent": True})
    (path,) = desk.folder.glob("*.jsonl")
    line, write = path.read_bytes(), os.pwrite
    left = 0

    def killed(descriptor, content, offset):
        nonlocal left
        write(descriptor, content[:left], offset)
        if left < len(content):
            raise InterruptedError
        left -= len(content)

    length = len(line.partition(b'"comment":"')[2].partition(b'","consent"')[0])
    for allowed in range(2 * length):
        path.write_bytes(line)
        left = allowed
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", killed)
            with pytest.raises(InterruptedError):
                desk.forget()
        assert len(desk.inbox.pending()[0]) == 1
        assert desk.forget()[1].comments == 1
        assert desk.inbox.pending()[0][0].reviews[0].comment is None


def test_a_comment_is_deleted_in_damaged_lines_too(desk):
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": "of ann", "consent": True})
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": "of bob", "consent": True}, by=BOB)
    (path,) = desk.folder.glob("*.jsonl")
    of_ann, of_bob = path.read_bytes().splitlines()
    path.write_bytes(of_ann[: of_ann.index(b" ann") + 4] + b"\n{" + of_bob + b"\n" + of_ann[30:] + b"\n")
    desk.ingest()
    assert desk.inbox.broken == 3
    assert desk.forget() == (0, Overwritten(4, damaged=4)), "in the file, and where the lines are kept aside"
    kept = [desk.files(), *(part.read_bytes() for part in desk.folder.glob("aside/*.line"))]
    assert not any(b"of ann" in text for text in kept)
    assert sum(b"of bob" in text for text in kept) == 2


def test_a_line_that_is_being_written_is_left_alone_until_its_writer_is_known_to_be_gone(desk):
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": "half of Ünsal", "consent": True})
    (path,) = desk.folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes().partition(b"nsal")[0][:-1])
    written = path.read_bytes()
    os.utime(path, (AT.timestamp(), AT.timestamp()))
    assert desk.forget(after=59) == (0, Overwritten())
    assert path.read_bytes() == written
    assert desk.forget(after=61) == (0, Overwritten(1, damaged=1))
    assert b"half" not in path.read_bytes()


def test_what_another_machine_sends_after_the_deletion_has_no_comment(tmp_path):
    """Its journal, received before, arrives now; what the source sends anew stays."""
    desk, machine = Desk(tmp_path / "control" / "feedback"), Desk(tmp_path / "serving" / "feedback")
    machine.send({"prediction_id": "p0", "verdict": "accept"})
    machine.send(
        {"prediction_id": "p1", "verdict": "reject", "comment": "came late", "consent": True}, after=9
    )
    machine.send(
        {"prediction_id": "p2", "verdict": "reject", "comment": "sent anew", "consent": True}, after=11
    )
    desk.forget()
    exchange = Exchange(f"file://{tmp_path}/exchange")
    LogSender(machine.folder.parent, "serving_a", exchange).run(AT)
    LogReceiver(desk.folder.parent, exchange).run()
    assert desk.ingest().changed == 3
    assert desk.comments() == {"p0": None, "p1": None, "p2": "sent anew"}
    assert b"came late" not in desk.files()
    assert b"sent anew" in desk.files()
    machine.send({"prediction_id": "p3", "verdict": "accept"}, after=12)
    LogSender(machine.folder.parent, "serving_a", exchange).run(AT)
    LogReceiver(desk.folder.parent, exchange).run()
    assert (desk.ingest().changed, desk.inbox.broken) == (1, 0), "the journal goes on where it was"


def test_an_ingest_in_flight_brings_no_comment_back(desk):
    """It read the file before the deletion, and stores what it read afterwards."""
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": "in memory", "consent": True})

    class Meanwhile(AllAnswered):
        def models(self, ids):
            desk.forget()
            return super().models(ids)

    assert desk.ingest(Meanwhile()).changed == 1
    assert desk.comments() == {"p1": None}


def test_a_deletion_that_was_killed_in_between_is_done_again(desk, monkeypatch):
    desk.send({"prediction_id": "p1", "verdict": "reject", "comment": "mine", "consent": True})
    desk.ingest()

    def killed(rule):
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(desk.inbox, "forget_comments", killed)
        with pytest.raises(InterruptedError):
            desk.forget()
    (desk.folder / "stored.json").unlink()
    assert desk.ingest().changed == 0
    assert desk.comments() == {"p1": None}, "read again, it meets the rule"
    assert desk.forget() == (0, Overwritten()), "the second ingest overwrote it in the file"


def test_comments_of_a_source_that_never_was_are_not_deleted(desk):
    desk.send({"prediction_id": "p1", "verdict": "accept"})
    desk.ingest()
    with pytest.raises(UsageError, match="anne"):
        desk.forget("anne")
    assert not desk.store.ledger.rows()
    desk.forget("ann", known=())
    added = {"source": "eva", "models": []}
    desk.store.ledger.append(
        Entry(at=AT, actor="eve", kind=Event.FEEDBACK_SOURCE_ADDED, model=NO_MODEL, payload=added)
    )
    desk.forget("eva", known=())


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
        ({"prediction_id": "p", "verdict": "modify", "value": 7}, "review 0: value is 7"),
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
