"""Labels received over HTTP: written to the disk before they are confirmed, stored in SQL afterwards.

A model server appends to a file of its own and flushes it to the disk; it never waits for the database.
`flows.feedback.ingest` stores the labels in SQL. A repeated label is harmless: the store is keyed by
prediction id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from perennial.errors import MalformedInput
from perennial.files import write_json
from perennial.serving.prediction_log import append_whole

KEYS = tuple({"prediction_id", *values} for values in (("label",), ("reward",), ("label", "reward")))
LARGEST = 1e12
"""Largest reward: the sum of squares of larger rewards loses all precision."""
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Feedback:
    """Labels and rewards of a request body by prediction id; the last value of an id wins.

    Attributes:
        labels: true outcomes, from 0 to 1.
        rewards: benefits of the answers in a unit that the model's owner defines; higher is better.
    """

    labels: dict[str, float]
    rewards: dict[str, float]

    @property
    def predictions(self) -> int:
        return len(self.labels.keys() | self.rewards.keys())


def parse(body: Any) -> Feedback:
    """Parse `{"labels": [{"prediction_id", "label", "reward"}]}`; an entry has a label, a reward or both.

    Raises:
        MalformedInput: an entry is wrong; the message names it.
    """
    entries = body.get("labels") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not entries:
        raise MalformedInput("the body has no list `labels`", hint='{"labels": [{"prediction_id", "label"}]}')
    feedback = Feedback({}, {})
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
            feedback.labels[name] = _number(entry, "label", number, 0.0, 1.0)
        if "reward" in entry:
            feedback.rewards[name] = _number(entry, "reward", number, -LARGEST, LARGEST)
    return feedback


def _number(entry: dict[str, Any], key: str, place: int, low: float, high: float) -> float:
    value = entry[key]
    # A bool is an int in Python; as a reward it would be a mistake of the caller.
    if not isinstance(value, int | float) or (key == "reward" and isinstance(value, bool)):
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

    def append(
        self, labels: Mapping[str, float], received: datetime, rewards: Mapping[str, float] = NONE
    ) -> None:
        """Write the labels and flush them to the disk.

        Raises:
            OSError: they cannot be written.
        """
        content = {"received": received.timestamp(), "labels": dict(labels), "rewards": dict(rewards)}
        line = orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            append_whole(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class ReceivedFeedback:
    """Labels and rewards of a request."""

    at: datetime
    labels: dict[str, float]
    rewards: dict[str, float]


class FeedbackInbox:
    """Feedback in the files of the servers that is not stored in SQL yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = folder / "stored.json"

    def pending(self) -> tuple[list[ReceivedFeedback], dict[str, int]]:
        """Return the unstored feedback in order of time, and the file offsets to pass to `stored` afterwards."""
        marks = self._read_marks()
        pending: list[ReceivedFeedback] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            offset = marks.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(offset)
                new = file.read()
            complete = new.rfind(b"\n") + 1
            pending.extend(_received(line, path) for line in new[:complete].splitlines() if line)
            marks[path.name] = offset + complete
        pending.sort(key=lambda feedback: feedback.at)
        return pending, marks

    def stored(self, marks: Mapping[str, int]) -> None:
        """Save the offsets up to which feedback is stored; killed before this, it is stored again."""
        if dict(marks) == self._read_marks():
            return
        write_json(self._marks, dict(marks))

    def _read_marks(self) -> dict[str, int]:
        try:
            return json.loads(self._marks.read_text())
        except FileNotFoundError:
            return {}


def _received(line: bytes, path: Path) -> ReceivedFeedback:
    try:
        content = orjson.loads(line)
        at = datetime.fromtimestamp(content["received"], UTC)
        return ReceivedFeedback(at, content["labels"], content["rewards"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise MalformedInput(
            f"{path}: a line is not feedback: {line[:80]!r}",
            hint="remove the line; the others are stored then",
        ) from error
