"""Labels received over HTTP: written to the disk before they are confirmed, stored in SQL afterwards.

A model server appends to a file of its own and flushes it to the disk; it never waits for the database.
`flows.feedback.ingest.ingest` stores the labels in SQL. A repeated label is harmless: the store is keyed by
prediction id.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from perennial.core.governance.feedback_sources import Source
from perennial.core.governance.reviews import ForgottenComments, Review
from perennial.core.tasks.values import plain
from perennial.files import PRIVATE, write_json
from perennial.limits import implausible
from perennial.serving.evidence.aside import FOLDER, keep_aside
from perennial.serving.evidence.comments_in_files import Overwritten, overwrite_comments
from perennial.serving.evidence.feedback_entries import Feedback
from perennial.serving.evidence.waiting import AGAIN, WaitingLine, WaitingLines
from perennial.serving.prediction_log import append_whole

WAITING = "waiting"
"""Key beside the names of files, which end otherwise."""
MOST_ASIDE = 4 * 1024 * 1024
MOST_NAMED = 1000


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
        again: whether it was read before, and has waited for its predictions since.
        line: where it stands, with the predictions for which it has waited.
    """

    at: datetime
    source: str
    models: tuple[str, ...]
    labels: dict[str, float | str]
    rewards: dict[str, float]
    reviews: tuple[Review, ...]
    again: bool
    line: WaitingLine

    @property
    def waited(self) -> ReceivedFeedback:
        """The part of it about the predictions for which its line has waited."""
        ids = set(self.line.ids)
        return replace(
            self,
            again=True,
            labels={name: label for name, label in self.labels.items() if name in ids},
            rewards={name: reward for name, reward in self.rewards.items() if name in ids},
            reviews=tuple(review for review in self.reviews if review.prediction_id in ids),
        )


class FeedbackInbox:
    """Feedback in the files of the servers that is not stored in SQL yet.

    Args:
        waits: how old a prediction may be that is not in the log and is waited for.

    Attributes:
        broken: lines of the last call of `pending` that are no feedback; they are skipped and kept aside.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        waits: timedelta = timedelta(0),
    ) -> None:
        self.broken = 0
        self._clock = clock
        self._waits = waits
        self._waiting = WaitingLines((), waits)
        self._looked: datetime | None = None
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
        marks, known = self._read_marks()
        self._waiting = WaitingLines(known, self._waits)
        pending = self._waited()
        for path in sorted(self._folder.glob("*.jsonl")):
            offset = marks.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(offset)
                new = file.read()
            complete = new.rfind(b"\n") + 1
            start = offset
            for line in new[:complete].splitlines(keepends=True):
                place = WaitingLine(file=path.name, start=start, length=len(line), ids=())
                received = _received(line, place, self._clock())
                if received is not None:
                    pending.append(received)
                elif line.strip():
                    self.broken += 1
                    keep_aside(self._folder, path, start, line)
                start += len(line)
            marks[path.name] = offset + complete
        pending.sort(key=lambda feedback: feedback.at)
        return pending, marks

    def _waited(self) -> list[ReceivedFeedback]:
        """Return what has waited, where it is time to look for its predictions again."""
        now = self._clock()
        if self._looked is not None and now < self._looked + AGAIN:
            return []
        self._looked = now
        read = []
        for line in self._waiting.take():
            with contextlib.suppress(FileNotFoundError), (self._folder / line.file).open("rb") as file:
                file.seek(line.start)
                received = _received(file.read(line.length), line, now)
                if received is not None:
                    read.append(received.waited)
        return read

    def wait_for(self, feedback: ReceivedFeedback, ids: Collection[str]) -> Collection[str]:
        """Keep feedback about predictions that may still arrive pending, from the next `stored` on; return these."""
        return self._waiting.add(feedback.line, ids, self._clock()) if ids else ()

    def stored(self, marks: Mapping[str, int]) -> None:
        """Save the offsets up to which feedback is stored, and what waits; killed before, it is stored again."""
        waiting = self._waiting.lines
        if (dict(marks), waiting) == self._read_marks():
            return
        lines = {WAITING: [line.model_dump(mode="json") for line in waiting]} if waiting else {}
        write_json(self._marks, {**marks, **lines})

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

    def _read_marks(self) -> tuple[dict[str, int], list[WaitingLine]]:
        try:
            marks = json.loads(self._marks.read_text())
        except FileNotFoundError:
            return {}, []
        waiting = [WaitingLine.model_validate(line) for line in marks.pop(WAITING, [])]
        return marks, waiting


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder: the folder itself, so that every account that may read it can lock it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _received(line: bytes, place: WaitingLine, now: datetime) -> ReceivedFeedback | None:
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
        return ReceivedFeedback(at, source, models, _labels(labels), _checked(rewards), reviews, False, place)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, OverflowError, OSError, AttributeError):
        return None


def _labels(values: dict[str, Any]) -> dict[str, float | str]:
    known = {str(name): plain(value) for name, value in values.items()}
    if None in known.values():
        raise ValueError("a label is neither a number nor a text")
    return {name: value for name, value in known.items() if value is not None}


def _checked(values: dict[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items()}
