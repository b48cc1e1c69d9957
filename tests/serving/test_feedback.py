"""Labels on their way from the servers' files into the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from some_source import AllAnswered, source

from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.core.tasks import Binary, Multiclass, Ranking, Regression
from perennial.errors import MalformedInput
from perennial.flows.feedback import ingest as flow
from perennial.serving.evidence.feedback_entries import Feedback, parse
from perennial.serving.feedback_inbox import FeedbackInbox, FeedbackWriter

AT = datetime(2026, 3, 1, tzinfo=UTC)

SOURCE = source()
RANKING = Ranking(threshold=0.5)


def labels(values: dict[str, float]) -> Feedback:
    return Feedback(values, {})


def ingest(inbox: FeedbackInbox, store: Store) -> FeedbackCounts:
    return flow.ingest(inbox, store, AllAnswered())


class Store:
    """A FeedbackStore in a dictionary; `down` fails before anything is stored."""

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}
        self.sources: set[str] = set()
        self.rewards: dict[str, float] = {}
        self.down = False

    def put(self, labels, received, source, models) -> int:
        self.sources.add(source)
        if self.down:
            raise ConnectionError("away")
        changed = sum(self.kept.get(name) != label for name, label in labels.items())
        self.kept.update(labels)
        return changed

    def put_rewards(self, rewards, received, source) -> int:
        self.rewards.update(rewards)
        return len(rewards)


def test_labels_are_stored_once_and_later_ones_win(tmp_path):
    store, inbox = Store(), FeedbackInbox(tmp_path, lambda: AT)
    FeedbackWriter(tmp_path, "b").append(labels({"x": 1.0}), SOURCE, AT + timedelta(seconds=2))
    FeedbackWriter(tmp_path, "a").append(labels({"x": 0.0, "y": 1.0}), SOURCE, AT)
    newest = {"m": AT + timedelta(seconds=2)}
    assert ingest(inbox, store) == FeedbackCounts(received=3, changed=3, newest_labels=newest)
    assert store.kept == {"x": 1.0, "y": 1.0}
    assert ingest(inbox, store) == FeedbackCounts(received=0, changed=0)
    FeedbackWriter(tmp_path, "a").append(labels({"y": 1.0}), SOURCE, AT)
    assert ingest(inbox, store) == FeedbackCounts(received=1, changed=0, newest_labels={"m": AT})


def test_a_store_that_fails_loses_nothing(tmp_path):
    store, inbox = Store(), FeedbackInbox(tmp_path, lambda: AT)
    FeedbackWriter(tmp_path, "a").append(labels({"x": 1.0}), SOURCE, AT)
    store.down = True
    with pytest.raises(ConnectionError):
        ingest(inbox, store)
    store.down = False
    assert ingest(inbox, store).changed == 1


def test_a_line_being_written_waits_for_its_end(tmp_path):
    writer = FeedbackWriter(tmp_path, "a")
    writer.append(labels({"x": 1.0}), SOURCE, AT)
    (path,) = tmp_path.glob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:10])
    store, inbox = Store(), FeedbackInbox(tmp_path, lambda: AT)
    assert ingest(inbox, store).received == 1
    path.write_bytes(whole + whole)
    assert ingest(inbox, store).received == 1


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"{}",
        b"[]",
        b'{"received": 4070908800, "source": "ci", "models": [], "labels": {"x": 0}, "rewards": {}}',
        b'{"received": -1, "source": "ci", "models": [], "labels": {"x": 0}, "rewards": {}}',
        b'{"received": 1e300, "source": "ci", "models": [], "labels": {}, "rewards": {}}',
        b'{"received": 1772323200, "models": [], "labels": {"x": 1}, "rewards": {}}',
        b'{"received": 1772323200, "source": "ci", "models": [], "labels": {"x": ["yes"]}, "rewards": {}}',
        b'{"received": 1772323200, "source": "ci", "models": [], "labels": [1], "rewards": {}}',
    ],
)
def test_a_line_that_is_no_feedback_is_skipped_kept_aside_and_counted(tmp_path, line):
    writer = FeedbackWriter(tmp_path, "a")
    writer.append(labels({"x": 1.0}), SOURCE, AT)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(line + b"\n")
    writer.append(labels({"y": 1.0}), SOURCE, AT)
    store, inbox = Store(), FeedbackInbox(tmp_path, lambda: AT)
    counts = ingest(inbox, store)
    assert (counts.received, counts.broken, store.kept) == (2, 1, {"x": 1.0, "y": 1.0})
    assert counts.alarms == ("1 broken lines of feedback skipped",)
    (aside,) = (tmp_path / "aside").iterdir()
    assert aside.read_bytes() == line + b"\n"
    assert ingest(inbox, store).broken == 0, "counted once"


def test_only_predictions_that_were_answered_by_a_model_of_the_source_are_stored(tmp_path):
    mine, theirs = FeedbackWriter(tmp_path, "a"), FeedbackWriter(tmp_path, "b")
    mine.append(labels({"x": 1.0, "never": 0.0}), source("ci", "m"), AT)
    theirs.append(Feedback({"x": 0.0}, {"x": 5.0}), source("other", "another-model"), AT)
    store = Store()

    class Answered:
        def models(self, ids):
            return {name: "m" for name in ids if name == "x"}

        def tasks(self, ids):
            return dict.fromkeys(self.models(ids), "")

    counts = flow.ingest(FeedbackInbox(tmp_path, lambda: AT), store, Answered())
    assert (store.kept, store.rewards, store.sources) == ({"x": 1.0}, {}, {"ci"})
    assert (counts.unknown, counts.foreign) == ({"ci": 1}, {"other": 1})
    aside = (tmp_path / "aside" / "not-answered.log").read_text()
    assert aside == "ci unknown 'never'\nother foreign 'x'\n"


def test_rewards_travel_with_the_labels(tmp_path):
    body = {
        "labels": [{"prediction_id": "x", "label": 1, "reward": -2.5}, {"prediction_id": "y", "reward": 40}]
    }
    given = parse(body, [RANKING])
    assert given == Feedback(labels={"x": 1.0}, rewards={"x": -2.5, "y": 40.0})
    assert given.predictions == 2
    FeedbackWriter(tmp_path, "a").append(given, SOURCE, AT)
    store = Store()
    counts = FeedbackCounts(received=3, changed=3, newest_labels={"m": AT})
    assert ingest(FeedbackInbox(tmp_path, lambda: AT), store) == counts
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
        parse({"labels": [{"prediction_id": "x", **entry}]}, [RANKING])


@pytest.mark.parametrize(
    ("task", "sent", "stored", "refused"),
    [
        (RANKING, {"a": 1, "b": 0.25, "c": "yes"}, {"a": 1.0, "b": 0.25}, 1),
        (Binary(threshold=0.5, positive="bad", negative="good"), {"a": "bad", "b": 1}, {"a": 1.0}, 1),
        (Multiclass(classes=("x", "y", 3)), {"a": "y", "b": 3, "c": 2}, {"a": 1.0, "b": 2.0}, 1),
        (Regression(unit="kg", tolerance=1), {"a": -17.5, "b": "heavy"}, {"a": -17.5}, 1),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_a_label_is_checked_by_the_task_that_the_prediction_was_answered_under(
    tmp_path, task, sent, stored, refused
):
    body = {"labels": [{"prediction_id": name, "label": label} for name, label in sent.items()]}
    with pytest.raises(MalformedInput, match=r"label \d: label is"):
        parse(body, [task])
    FeedbackWriter(tmp_path, "a").append(parse(body, []), SOURCE, AT)

    class Answered(AllAnswered):
        def tasks(self, ids):
            return dict.fromkeys(ids, task.model_dump_json())

    store = Store()
    counts = flow.ingest(FeedbackInbox(tmp_path, lambda: AT), store, Answered())
    assert (store.kept, counts.invalid) == (stored, {"ci": refused})
    assert "not valid for the kind of task" in counts.alarms[0]
