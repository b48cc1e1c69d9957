"""Labels that came back over HTTP: on disk before they are confirmed, stored in SQL afterwards.

A model server appends to a file of its own and flushes it to the disk; it never waits for the database.
`flows.feedback.ingest` moves the labels on. The same label twice is harmless: the store is keyed by
prediction id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from perennial.errors import MalformedInput
from perennial.serving.prediction_log import append_whole


def parse(body: Any) -> dict[str, float]:
    """`{"labels": [{"prediction_id", "label"}]}` -> prediction id -> label; the last of an id wins.

    Raises:
        MalformedInput: names the entry that is wrong.
    """
    labels = body.get("labels") if isinstance(body, dict) else None
    if not isinstance(labels, list) or not labels:
        raise MalformedInput("the body has no list `labels`", hint='{"labels": [{"prediction_id", "label"}]}')
    found: dict[str, float] = {}
    for number, one in enumerate(labels):
        if not isinstance(one, dict) or set(one) != {"prediction_id", "label"}:
            raise MalformedInput(
                f"label {number} is {one!r}", hint="its keys must be prediction_id and label"
            )
        name, label = one["prediction_id"], one["label"]
        if not isinstance(name, str) or not 0 < len(name) <= 64:
            raise MalformedInput(f"label {number}: prediction_id is {name!r}", hint="the id from the answer")
        if not isinstance(label, int | float) or not 0 <= label <= 1:
            raise MalformedInput(f"label {number}: label is {label!r}", hint="a number from 0 to 1")
        found[name] = float(label)
    return found


class FeedbackWriter:
    """Appends from one process; `writer` names it for all time."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._path = folder / f"{writer}.jsonl"

    def append(self, labels: Mapping[str, float], received: datetime) -> None:
        """Returns when the labels are on the disk; OSError when they could not be written."""
        line = orjson.dumps(
            {"received": received.timestamp(), "labels": dict(labels)}, option=orjson.OPT_APPEND_NEWLINE
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            append_whole(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True)
class Received:
    """Labels of one request."""

    at: datetime
    labels: dict[str, float]


class FeedbackInbox:
    """What the servers wrote and nobody has stored yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._marks = folder / "stored.json"

    def pending(self) -> tuple[list[Received], dict[str, int]]:
        """Unstored labels in the order they came, and the marks to give to `stored` afterwards."""
        marks = self._read_marks()
        found: list[Received] = []
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


def _received(line: bytes, path: Path) -> Received:
    try:
        one = orjson.loads(line)
        return Received(datetime.fromtimestamp(one["received"], UTC), one["labels"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise MalformedInput(
            f"{path}: a line is not feedback: {line[:80]!r}",
            hint="take the line out; the rest is stored then",
        ) from error
