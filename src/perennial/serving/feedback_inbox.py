"""Labels received over HTTP: written to the disk before they are confirmed, stored in SQL afterwards.

A model server appends to a file of its own and flushes it to the disk; it never waits for the database.
`flows.feedback.ingest.ingest` stores the labels in SQL. A repeated label is harmless: the store is keyed by
prediction id.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from perennial.core.governance.feedback_sources import Source
from perennial.core.governance.reviews import ForgottenComments, Review
from perennial.core.tasks.task import Task
from perennial.core.tasks.values import plain
from perennial.errors import MalformedInput
from perennial.files import PRIVATE, write_json
from perennial.limits import implausible
from perennial.serving.answers import brief
from perennial.serving.evidence.aside import FOLDER, keep_aside
from perennial.serving.evidence.comments_in_files import Overwritten, overwrite_comments
from perennial.serving.evidence.review_entries import parse_reviews
from perennial.serving.prediction_log import append_whole

KEYS = tuple({"prediction_id", *values} for values in (("label",), ("reward",), ("label", "reward")))
LONGEST = 200
"""Characters of the name of a class."""
LARGEST = 1e12
"""Largest reward: the sum of squares of larger rewards loses all precision."""


MOST_ASIDE = 4 * 1024 * 1024
MOST_NAMED = 1000


@dataclass(frozen=True)
class Feedback:
    """Labels and rewards of a request body by prediction id; the last value of an id wins.

    Attributes:
        labels: true outcomes: a number, or the name of a class.
        rewards: benefits of the answers in a unit that the model's owner defines; higher is better.
        reviews: what people thought of answers, without comments that they do not agree to.
    """

    labels: dict[str, float | str]
    rewards: dict[str, float]
    reviews: tuple[Review, ...] = ()

    @property
    def predictions(self) -> int:
        reviewed = {review.prediction_id for review in self.reviews}
        return len(self.labels.keys() | self.rewards.keys() | reviewed)


def parse(body: Any, tasks: Collection[Task]) -> Feedback:
    """Parse `{"labels": [{"prediction_id", "label", "reward"}], "reviews": [...]}`; one of the lists may be missing.

    An entry of `labels` has a label, a reward or both; `serving.evidence.review_entries` has the entries of `reviews`.

    Args:
        tasks: those of the models that the source may label; a label must be valid for one of them. With none known,
            `flows.feedback` alone checks it against the task of its prediction.

    Raises:
        MalformedInput: an entry is wrong; the message names it.
    """
    reviews: tuple[Review, ...] = ()
    if isinstance(body, dict) and "reviews" in body:
        reviews = parse_reviews(
            body["reviews"], lambda value, place: _checked_value(value, f"review {place}: value", tasks)
        )
        if "labels" not in body:
            return Feedback({}, {}, reviews)
    entries = body.get("labels") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not entries:
        raise MalformedInput("the body has no list `labels`", hint='{"labels": [{"prediction_id", "label"}]}')
    feedback = Feedback({}, {}, reviews)
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) not in KEYS:
            raise MalformedInput(
                f"label {number} is {entry!r}",
                hint="its keys must be prediction_id, and label or reward or both",
            )
        name = entry["prediction_id"]
        if not isinstance(name, str) or not 0 < len(name) <= 64:
            raise MalformedInput(
                f"label {number}: prediction_id is {name!r}", hint="send the prediction_id of the answer"
            )
        if "label" in entry:
            feedback.labels[name] = _checked_value(entry["label"], f"label {number}: label", tasks)
        if "reward" in entry:
            feedback.rewards[name] = _number(entry, "reward", number, -LARGEST, LARGEST)
    return feedback


def _checked_value(value: Any, what: str, tasks: Collection[Task]) -> float | str:
    known = plain(value)
    usable = isinstance(known, float) or (isinstance(known, str) and len(known) <= LONGEST)
    if known is None or not usable or (tasks and all(task.vote(value) is None for task in tasks)):
        valid = " or ".join(dict.fromkeys(task.valid_vote() for task in tasks)) or "a number or a class"
        raise MalformedInput(f"{what} is {brief(value)}", hint=f"it must be {valid}")
    return known


def _number(entry: dict[str, Any], key: str, place: int, low: float, high: float) -> float:
    value = entry[key]
    # A bool is an int in Python; as a reward it would be a mistake of the caller.
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MalformedInput(f"label {place}: {key} is {value!r}", hint="it must be a number")
    if not low <= value <= high:
        raise MalformedInput(
            f"label {place}: {key} is {value!r}", hint=f"it must be from {low:g} to {high:g}"
        )
    return float(value)


class FeedbackWriter:
    """Appends the labels of this process; `writer` is its unique name."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._path = folder / f"{writer}.jsonl"

    def append(self, feedback: Feedback, source: Source, received: datetime) -> None:
        """Write the labels and rewards of a source and flush them to the disk.

        Raises:
            OSError: they cannot be written.
        """
        content: dict[str, Any] = {
            "received": received.timestamp(),
            "source": source.name,
            "models": list(source.models),
            "labels": feedback.labels,
            "rewards": feedback.rewards,
        }
        if feedback.reviews:
            content["reviews"] = [review.to_keep.model_dump(mode="json") for review in feedback.reviews]
        line = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE)
        try:
            append_whole(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class ReceivedFeedback:
    """Labels and rewards of a request by a source.

    Attributes:
        source: name of the authenticated source.
        models: models that it may label; empty for every model.
    """

    at: datetime
    source: str
    models: tuple[str, ...]
    labels: dict[str, float | str]
    rewards: dict[str, float]
    reviews: tuple[Review, ...] = ()


class FeedbackInbox:
    """Feedback in the files of the servers that is not stored in SQL yet.

    Attributes:
        broken: lines of the last call of `pending` that are no feedback; they are skipped and kept aside.
    """

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.broken = 0
        self._clock = clock
        self._folder = folder
        self._marks = folder / "stored.json"

    def pending(self) -> tuple[list[ReceivedFeedback], dict[str, int]]:
        """Return the unstored feedback in order of time, and the file offsets to pass to `stored` afterwards."""
        self.broken = 0
        if not self._folder.exists():
            return [], {}
        with _locked(self._folder):
            return self._pending()

    def _pending(self) -> tuple[list[ReceivedFeedback], dict[str, int]]:
        marks = self._read_marks()
        pending: list[ReceivedFeedback] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            offset = marks.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(offset)
                new = file.read()
            complete = new.rfind(b"\n") + 1
            start = offset
            for line in new[:complete].splitlines(keepends=True):
                received = _received(line, self._clock())
                if received is not None:
                    pending.append(received)
                elif line.strip():
                    self.broken += 1
                    keep_aside(self._folder, path, start, line)
                start += len(line)
            marks[path.name] = offset + complete
        pending.sort(key=lambda feedback: feedback.at)
        return pending, marks

    def stored(self, marks: Mapping[str, int]) -> None:
        """Save the offsets up to which feedback is stored; killed before this, it is stored again."""
        if dict(marks) == self._read_marks():
            return
        write_json(self._marks, dict(marks))

    def set_aside(self, source: str, reason: str, ids: Sequence[str]) -> None:
        """Write down predictions whose feedback is not used; the file keeps at most `MOST_ASIDE` bytes."""
        path = self._folder / FOLDER / "not-answered.log"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and path.stat().st_size > MOST_ASIDE:
                return
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{source} {reason} {name!r}\n" for name in ids[:MOST_NAMED])
        except OSError:
            return  # best effort: the numbers are in the metrics

    def forget_comments(self, rule: ForgottenComments) -> Overwritten:
        """Overwrite the comments of a rule in the files and in the lines kept aside.

        No line is read or kept aside meanwhile, so that no copy is made of what is being deleted.
        """
        if not self._folder.exists():
            return Overwritten()
        with _locked(self._folder):
            received = [overwrite_comments(path, rule) for path in sorted(self._folder.glob("*.jsonl"))]
            aside = [overwrite_comments(path, rule, True) for path in self._folder.glob(f"{FOLDER}/*.line")]
            return sum((*received, *aside), Overwritten())

    def _read_marks(self) -> dict[str, int]:
        try:
            return json.loads(self._marks.read_text())
        except FileNotFoundError:
            return {}


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder: the folder itself, so that every account that may read it can lock it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _received(line: bytes, now: datetime) -> ReceivedFeedback | None:
    """Return the feedback of a line; None if it is damaged, names no source or has an implausible time."""
    try:
        content = orjson.loads(line)
        labels, rewards = content["labels"], content["rewards"]
        at = datetime.fromtimestamp(content["received"], UTC)
        source, models = content["source"], tuple(content["models"])
        if implausible(at, now):
            return None
        if not (isinstance(source, str) and source and all(isinstance(name, str) for name in models)):
            return None
        reviews = tuple(Review.model_validate(review) for review in content.get("reviews", ()))
        return ReceivedFeedback(at, source, models, _labels(labels), _checked(rewards), reviews)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError, OSError, AttributeError):
        return None


def _labels(values: dict[str, Any]) -> dict[str, float | str]:
    known = {str(name): plain(value) for name, value in values.items()}
    if None in known.values():
        raise ValueError("a label is neither a number nor a text")
    return {name: value for name, value in known.items() if value is not None}


def _checked(values: dict[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}
