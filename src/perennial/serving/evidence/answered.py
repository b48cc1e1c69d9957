"""Look-up of prediction ids in the prediction log: which predictions were really answered, and by which model."""

from __future__ import annotations

import contextlib
import re
from collections import OrderedDict
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from perennial.serving.prediction_log import HOUR

if TYPE_CHECKING:
    from perennial.encryption.keyring import Keyring

ID = re.compile(r"[0-9a-f]{32}")
MOST_FILES = 64
"""Segments whose ids are kept in memory."""


class AnsweredPredictions:
    """Finds predictions by the time in their id: only the files of that hour or day are read.

    A mirrored prediction was not answered to anybody: no source knows its id.

    Args:
        keyring: keys of segments that are encrypted in object storage.
    """

    def __init__(self, folder: Path, keyring: Keyring | None = None) -> None:
        self._folder, self._keyring = folder, keyring
        self._segments: OrderedDict[Path, tuple[int, dict[str, tuple[str, str]]]] = OrderedDict()

    def models(self, ids: Collection[str]) -> dict[str, str]:
        """Return the model of each id that is in the log; an id that was never answered is missing."""
        return {name: model for name, (model, _) in self._known(ids).items()}

    def tasks(self, ids: Collection[str]) -> dict[str, str]:
        """Return the task of each id that is in the log as JSON; empty for an answer before kinds of task."""
        return {name: task for name, (_, task) in self._known(ids).items()}

    def _known(self, ids: Collection[str]) -> dict[str, tuple[str, str]]:
        hours: dict[str, set[str]] = {}
        for name in ids:
            hour = _hour(name)
            if hour:
                hours.setdefault(hour, set()).add(name)
        models: dict[str, tuple[str, str]] = {}
        for hour, wanted in hours.items():
            for path in self._folder.glob(f"*/{hour}-*.jsonl"):
                with contextlib.suppress(FileNotFoundError):  # sealed in between
                    known = self._ids(path)
                    models.update((name, known[name]) for name in wanted & known.keys())
        if missing := {name for hour in hours.values() for name in hour} - models.keys():
            models |= self._sealed(missing)
        return models

    def _sealed(self, wanted: Collection[str]) -> dict[str, tuple[str, str]]:
        """Look ids up in the sealed segments of their days."""
        # Parquet takes a while to import, and most labels are of open hours.
        from perennial.serving.log import sealed
        from perennial.serving.log.uploaded import of_day

        days: dict[str, list[str]] = {}
        for name in wanted:
            days.setdefault(_moment(name).date().isoformat(), []).append(name)
        models: dict[str, tuple[str, str]] = {}
        for day, names in days.items():
            while True:
                with contextlib.suppress(FileNotFoundError):  # merged in between: look again
                    for path in self._folder.glob(f"*/{sealed.DAY}{day}/*.parquet"):
                        rows = sealed.find(path, names)
                        models.update((name, (path.parts[-3], task)) for name, task in rows)
                    for remote in of_day(self._folder, day, self._keyring):
                        rows = sealed.find(remote, names)
                        models.update((name, (remote.model, task)) for name, task in rows)
                    break
        return models

    def _ids(self, path: Path) -> dict[str, tuple[str, str]]:
        offset, known = self._segments.pop(path, (0, {}))
        with path.open("rb") as file:
            file.seek(offset)
            new = file.read()
        complete = new.rfind(b"\n") + 1
        for line in new[:complete].splitlines():
            try:
                request = orjson.loads(line)
                if not request["shadow"]:
                    task = orjson.dumps(request["task"]).decode() if "task" in request else ""
                    known.update(dict.fromkeys(request["ids"], (path.parent.name, task)))
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue  # counted and kept aside by the reader of the log
        self._segments[path] = (offset + complete, known)
        while len(self._segments) > MOST_FILES:
            self._segments.popitem(last=False)
        return known


def moment_of(name: str) -> datetime | None:
    """Return the time in an id; None if the text is no id."""
    if not ID.fullmatch(name):
        return None
    try:
        return _moment(name)
    except (ValueError, OverflowError, OSError):
        return None


def _hour(name: str) -> str:
    """Return the hour in an id as the segments name it; empty if the text is no id."""
    moment = moment_of(name)
    return "" if moment is None else moment.strftime(HOUR)


def _moment(name: str) -> datetime:
    """Return the time in an id."""
    return datetime.fromtimestamp(int(name[:12], 16) / 1000, UTC)
