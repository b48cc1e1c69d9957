"""The prediction log as it grows: each line of a journal and each row of a segment is handed out once.

The place up to which the log was read is a value that its reader keeps beside what it made of the rows. A place counts
the rows of each file: a journal that became a segment, and segments that were merged or uploaded, hold nothing new.
Where the counts say otherwise (rows were pruned, sealed twice, or sealed before they were read), no place is returned,
and the reader begins anew: it then has what a whole read of the log gives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING

from perennial.serving.evidence.broken import BrokenLines
from perennial.serving.log import sealed
from perennial.serving.log.hours import HOUR, hour_end
from perennial.serving.log.uploaded import INDEX, RemoteSegment, uploaded
from perennial.serving.prediction_log_reader import COLUMNS, frame_of, request_of

if TYPE_CHECKING:
    from perennial.encryption.keyring import Keyring
    from perennial.ports import Taker

PIECE_BYTES = 4 * 1024 * 1024
"""Bytes of a journal that are parsed at once."""
SETTLED_NS = 2_000_000_000
"""Age from which the time of a folder tells whether it has changed: a file system's clock ticks in milliseconds."""
DAY = timedelta(days=1)
Source = Path | RemoteSegment
Listed = tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ReadJournal:
    """A journal up to a byte."""

    day: date
    offset: int = 0
    rows: int = 0


@dataclass(frozen=True)
class ReadSegment:
    """A sealed segment that was read, or whose rows nobody needs."""

    day: date
    rows: int | None
    """None: of a segment in object storage that was not opened."""
    stamp: str
    """Differs if the file was written again."""


@dataclass(frozen=True)
class Place:
    """Files of a model's log that were read, by the name of the journal or segment."""

    journals: Mapping[str, ReadJournal] = field(default_factory=dict)
    segments: Mapping[str, ReadSegment] = field(default_factory=dict)
    sealed: frozenset[str] = frozenset()
    """Names of journals whose rows are in segments."""
    listed: Listed | None = None
    """Times of the folders with segments; None: they were too young to tell."""


class GrowingPredictionLog:
    """Reads what the log of a model got since a place.

    Args:
        keyring: keys of segments that are encrypted in object storage.
    """

    def __init__(self, folder: Path, keyring: Keyring | None = None) -> None:
        self._folder, self._keyring = folder, keyring
        self._broken = BrokenLines(folder)

    def grown(self, model: str, since: datetime, after: Place | None, taker: Taker) -> Place | None:
        """Hand over the rows after a place; see `ports.GrowingLog.grown`."""
        with suppress(FileNotFoundError, _Rewritten):  # the first: sealed or merged in between
            if after is None:
                return self._begun(model, since, taker)
            return self._went_on(model, since, after, taker)
        return None

    def take_broken(self, model: str) -> int:
        """Return how many broken lines were skipped since the last call."""
        return self._broken.take(model)

    def _begun(self, model: str, since: datetime, taker: Taker) -> Place:
        """Read the newest day first, and no more days than are needed."""
        journals, listed = self._list(model, since)
        present, replaced = self._present(model, since)
        read = {
            path.stem: self._journal(model, path, None, since, taker)
            for path in journals
            if path.stem not in replaced
        }
        segments: dict[str, ReadSegment] = {}
        begins, needed = date.max, True
        for name in sorted(present, key=lambda name: (_day(present[name]), name), reverse=True):
            source = present[name]
            if (day := _day(source)) < begins < date.max:
                # A request may be logged moments after the day by which its journal is named.
                needed = needed and taker.needs_before(datetime.combine(begins, time(1), UTC))
            begins = day
            segments[name] = _read(source)
            if needed:
                _hand_over(source, since, taker)
        return Place(read, segments, frozenset(replaced), listed)

    def _went_on(self, model: str, since: datetime, after: Place, taker: Taker) -> Place:
        journals, listed = self._list(model, since)
        here = {path.stem for path in journals}
        segments, names = after.segments, after.sealed
        if listed is None or listed != after.listed or not after.journals.keys() <= here:
            present, replaced = self._present(model, since)
            segments, fresh = _compared(after, present, here - replaced, since)
            for source in fresh:
                _hand_over(source, since, taker)
            names = frozenset(replaced)
        read = {
            path.stem: self._journal(model, path, after.journals.get(path.stem), since, taker)
            for path in journals
            if path.stem not in names
        }
        return Place(read, segments, names, listed)

    def _list(self, model: str, since: datetime) -> tuple[list[Path], Listed | None]:
        """Return the journals that may have rows at or after `since`, and the times of the folders with segments."""
        journals, times = [], []
        try:
            entries = list(os.scandir(self._folder / model))
        except FileNotFoundError:
            return [], ()
        for entry in entries:
            if entry.name.endswith(".jsonl"):
                path = Path(entry.path)
                end = hour_end(path)
                if end is None:
                    self._broken.keep(path, 0, path.name.encode())
                elif end > since:
                    journals.append(path)
            elif entry.name.startswith(sealed.DAY) or entry.name == INDEX:
                times.append((entry.name, entry.stat().st_mtime_ns))
        newest = max((at for _, at in times), default=0)
        settled = time_ns() - newest > SETTLED_NS
        return sorted(journals), tuple(sorted(times)) if settled else None

    def _present(self, model: str, since: datetime) -> tuple[dict[str, Source], set[str]]:
        """Return the segments by name, and the names of journals that they replace."""
        paths, replaced = sealed.segments(self._folder, model, since)
        remote = {
            each.segment.name: each for each in uploaded(self._folder, model, since, replaced, self._keyring)
        }
        return {**{path.stem: path for path in paths}, **remote}, replaced

    def _journal(
        self, model: str, path: Path, before: ReadJournal | None, since: datetime, taker: Taker
    ) -> ReadJournal:
        """Hand over the whole lines after what was read."""
        end = hour_end(path)
        read = before or ReadJournal((end - HOUR).date() if end else date.min)
        offset, rows, start = read.offset, read.rows, since.timestamp()
        size = path.stat().st_size
        if size < offset:
            raise _Rewritten
        if size == offset:
            return read
        for lines in _whole_lines(path, offset):
            requests = []
            for line in lines:
                request = request_of(line)
                if request is not None:
                    rows += len(request["ids"])
                    requests.append(request)
                elif line.strip():
                    self._broken.keep(path, offset, line)
                offset += len(line)
            requests = [request for request in requests if request["at"] >= start]
            if requests:
                taker.take(frame_of(model, requests))
        return ReadJournal(read.day, offset, rows)


class _Rewritten(Exception):
    """Rows that were read are not in the log any more, or others are."""


def _compared(
    after: Place, present: Mapping[str, Source], open_: set[str], since: datetime
) -> tuple[dict[str, ReadSegment], list[Source]]:
    """Return the segments that are there, and those of them whose rows were not read.

    Args:
        open_: names of the journals that are there and not sealed.

    Raises:
        _Rewritten: the rows differ from those that were read.
    """
    before: dict[str, int | None] = {
        name: entry.rows for name, entry in (*after.journals.items(), *after.segments.items())
    }
    segments: dict[str, ReadSegment] = {}
    held, fresh = set(open_), []
    for name, source in present.items():
        read, known = _read(source), after.segments.get(name)
        held.add(name)
        if known is not None and known.stamp == read.stamp:
            segments[name] = known
            continue
        parts = _parts(name, source)
        held |= parts
        counts = [before[part] for part in parts if part in before]
        if not counts:
            fresh.append(source)
        elif read.rows is None:  # uploaded: the upload has compared the bytes
            read = replace(read, rows=counts[0])
        elif None in counts or read.rows != sum(count or 0 for count in counts):
            raise _Rewritten
        segments[name] = read
    for name, entry in (*after.journals.items(), *after.segments.items()):
        if name not in held and entry.rows != 0 and entry.day + DAY >= since.date():
            raise _Rewritten  # pruned
    return segments, fresh


def _hand_over(source: Source, since: datetime, taker: Taker) -> None:
    for table in sealed.pieces(source, since):
        taker.take(sealed.frame_of(table, COLUMNS))


def _whole_lines(path: Path, offset: int) -> Iterator[list[bytes]]:
    """Yield the whole lines from a byte on, some PIECE_BYTES at once."""
    with path.open("rb") as file:
        file.seek(offset)
        while lines := file.readlines(PIECE_BYTES):
            if not lines[-1].endswith(b"\n"):
                lines.pop()  # being written, or torn
                if lines:
                    yield lines
                return
            yield lines


def _day(source: Source) -> date:
    if isinstance(source, RemoteSegment):
        return source.segment.day
    return date.fromisoformat(source.parent.name.removeprefix(sealed.DAY))


def _read(source: Source) -> ReadSegment:
    """Return the entry of a segment; taken before its rows are read, since it may be written again meanwhile."""
    if isinstance(source, RemoteSegment):
        return ReadSegment(_day(source), None, source.segment.sha256)
    status = source.stat()
    return ReadSegment(_day(source), sealed.shape_of(source)[0], f"{status.st_mtime_ns}-{status.st_size}")


def _parts(name: str, source: Source) -> set[str]:
    """Return the name, and those of what a merged segment was made of."""
    if isinstance(source, Path) and name.startswith(sealed.MERGED):
        return {name, *sealed.replaced_by(source)}
    return {name}
