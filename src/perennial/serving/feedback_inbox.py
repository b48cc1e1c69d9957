"""Labels that came back over HTTP: on disk before they are confirmed, stored in SQL afterwards.

A model server appends to a file of its own and flushes it to the disk; it never waits for the database.
`flows.monitoring.feedback.ingest` moves the labels on. The same label twice is harmless: the store is keyed by
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
from perennial.serving.prediction_log import append_whole

SHAPES = tuple({"prediction_id", *given} for given in (("label",), ("reward",), ("label", "reward")))
LARGEST = 1e12
"""Squares of rewards are summed: beyond this a sum of them says nothing any more."""
NONE: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Feedback:
    """What one body said, by prediction id; the last of an id wins.

    Attributes:
        labels: truths, from 0 to 1.
        rewards: how much good the answer did, in whatever unit the model's owner counts; higher is better.
    """

    labels: dict[str, float]
    rewards: dict[str, float]

    @property
    def predictions(self) -> int:
        return len(self.labels.keys() | self.rewards.keys())


def parse(body: Any) -> Feedback:
    """`{"labels": [{"prediction_id", "label", "reward"}]}`: each entry has a label, a reward or both.

    Raises:
        MalformedInput: names the entry that is wrong.
    """
    entries = body.get("labels") if isinstance(body, dict) else None
    if not isinstance(entries, list) or not entries:
        raise MalformedInput("the body has no list `labels`", hint='{"labels": [{"prediction_id", "label"}]}')
    found = Feedback({}, {})
    for number, one in enumerate(entries):
        if not isinstance(one, dict) or set(one) not in SHAPES:
            raise MalformedInput(
                f"label {number} is {one!r}",
                hint="its keys must be prediction_id, and label or reward or both",
            )
        name = one["prediction_id"]
        if not isinstance(name, str) or not 0 < len(name) <= 64:
            raise MalformedInput(f"label {number}: prediction_id is {name!r}", hint="the id from the answer")
        if "label" in one:
            found.labels[name] = _number(one, "label", number, 0.0, 1.0)
        if "reward" in one:
            found.rewards[name] = _number(one, "reward", number, -LARGEST, LARGEST)
    return found


def _number(entry: dict[str, Any], key: str, place: int, low: float, high: float) -> float:
    value = entry[key]
    # A truth value is an int to Python, and was not meant as one where a reward is asked for.
    if not isinstance(value, int | float) or (key == "reward" and isinstance(value, bool)):
        raise MalformedInput(f"label {place}: {key} is {value!r}", hint="a number")
    if not low <= value <= high:
        raise MalformedInput(f"label {place}: {key} is {value!r}", hint=f"a number from {low:g} to {high:g}")
    return float(value)


class FeedbackWriter:
    """Appends from one process; `writer` names it for all time."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._path = folder / f"{writer}.jsonl"

    def append(
        self, labels: Mapping[str, float], received: datetime, rewards: Mapping[str, float] = NONE
    ) -> None:
        """Returns when the labels are on the disk; OSError when they could not be written."""
        content = {"received": received.timestamp(), "labels": dict(labels)}
        if rewards:
            content["rewards"] = dict(rewards)
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
    """Labels of one request."""

    at: datetime
    labels: dict[str, float]
    rewards: dict[str, float]


class FeedbackInbox:
    """What the servers wrote and nobody has stored yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = folder / "stored.json"

    def pending(self) -> tuple[list[ReceivedFeedback], dict[str, int]]:
        """Unstored labels in the order they came, and the marks to give to `stored` afterwards."""
        marks = self._read_marks()
        found: list[ReceivedFeedback] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            offset = marks.get(path.name, 0)
            with path.open("rb") as file:
                file.seek(offset)
                new = file.read()
            complete = new.rfind(b"\n") + 1
            found.extend(_received(line, path) for line in new[:complete].splitlines() if line)
            marks[path.name] = offset + complete
        found.sort(key=lambda one: one.at)
        return found, marks

    def stored(self, marks: Mapping[str, int]) -> None:
        """Remember how far the labels are in the store; killed before this, they are stored once more."""
        if dict(marks) == self._read_marks():
            return
        temporary = self._marks.with_name(f".{self._marks.name}.{os.getpid()}")
        temporary.write_text(json.dumps(dict(marks), sort_keys=True))
        os.replace(temporary, self._marks)

    def _read_marks(self) -> dict[str, int]:
        try:
            return json.loads(self._marks.read_text())
        except FileNotFoundError:
            return {}


def _received(line: bytes, path: Path) -> ReceivedFeedback:
    try:
        one = orjson.loads(line)
        at = datetime.fromtimestamp(one["received"], UTC)
        return ReceivedFeedback(at, one["labels"], one.get("rewards", {}))
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise MalformedInput(
            f"{path}: a line is not feedback: {line[:80]!r}",
            hint="take the line out; the rest is stored then",
        ) from error
