"""Housekeeping of the prediction log: journals of ended hours become sealed segments, of ended days one segment."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from filelock import FileLock

from perennial.serving.evidence.aside import keep_aside
from perennial.serving.log import sealed
from perennial.serving.log.hours import GRACE, HOUR, hour_end, of_ended_days
from perennial.serving.prediction_log_reader import frame_of, request_of

MOST_VALUES = 100_000_000
"""Most values of a merged segment, which is made in memory: with 17 features, 2.5 million rows."""


@dataclass(frozen=True)
class Sealed:
    """Counts of a pass."""

    journals: int
    """Journals that became segments."""
    merged: int
    """Segments that were merged into one per day."""
    pruned: int
    """Segments whose retention time is over."""
    broken: int
    """Lines that are no request, kept aside."""
    before_bytes: int
    """Size of the journals that became segments."""
    after_bytes: int
    """Size of their segments."""


class PredictionArchive:
    """Seals, merges and prunes the log of a model. A pass can be killed and repeated at any time.

    Rows are deleted only after a segment that has them is in place, and readers leave out what it replaces.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tidy(self, model: str, now: datetime, keep: timedelta | None) -> Sealed:
        """Seal the journals of ended hours, merge the segments of ended days, delete what is older than `keep`.

        Args:
            keep: least time that predictions are kept; None: for ever.
        """
        folder = self._folder / model
        if not folder.is_dir():
            return Sealed(0, 0, 0, 0, 0, 0)
        with FileLock(folder / ".tidy.lock"):
            done = [self._seal(path, model, end) for path, end in self._ended(folder, now)]
            merged = self._merge(model, now)
            pruned = 0 if keep is None else self._prune(folder, (now - keep).date())
        broken, before, after = (sum(counts) for counts in zip(*done, strict=True)) if done else (0, 0, 0)
        return Sealed(len(done), merged, pruned, broken, before, after)

    def _ended(self, folder: Path, now: datetime) -> Iterator[tuple[Path, datetime]]:
        for path in sorted(folder.glob("*.jsonl")):
            end = hour_end(path)
            if end is not None and end + GRACE <= now:
                yield path, end

    def _seal(self, path: Path, model: str, end: datetime) -> tuple[int, int, int]:
        """Make the segment of a journal; return the broken lines, and the sizes before and after.

        A last line without an end is that of a killed server, whose answer never left.
        """
        content = path.read_bytes()
        requests, broken, offset = [], 0, 0
        for line in content[: content.rfind(b"\n") + 1].splitlines(keepends=True):
            request = request_of(line)
            if request is not None:
                requests.append(request)
            elif line.strip():
                keep_aside(self._folder, path, offset, line)
                broken += 1
            offset += len(line)
        day = (end - HOUR).date()
        target = path.parent / f"{sealed.DAY}{day}" / f"{path.stem}.parquet"
        if requests:
            requests.sort(key=lambda request: request["at"])
            counts = [len(request["ids"]) for request in requests]
            numbers = np.repeat(np.arange(len(requests)), counts)
            sealed.write(sealed.table_of(frame_of(model, requests), numbers), target)
        with path.open("rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # a server that writes to an ended hour looks with this lock
            # It grew if a server was stopped for minutes in the middle of an answer: the next pass seals it again.
            if os.fstat(file.fileno()).st_size == len(content):
                path.unlink()
        return broken, len(content), target.stat().st_size if requests else 0

    def _merge(self, model: str, now: datetime) -> int:
        """Merge the segments of each ended day without a journal; return how many there were."""
        folder = self._folder / model
        paths, replaced = sealed.segments(self._folder, model)
        for left in folder.glob(f"{sealed.DAY}*/*"):  # by an earlier pass that was killed
            if left.suffix == ".partial" or (left.stem in replaced and left not in paths):
                left.unlink()
        by_day = of_ended_days(folder, paths, now)
        groups = [group for of_day in by_day.values() for group in _groups(of_day) if len(group) > 1]
        for group in groups:
            self._merge_group(group)
        return sum(map(len, groups))

    def _merge_group(self, paths: list[Path]) -> None:
        tables, requests = [], 0
        for path in paths:
            table = sealed.read(path, None)
            numbers = pa.array(table[sealed.REQUEST].to_numpy() + requests)
            requests = int(numbers.to_numpy().max()) + 1
            place = table.schema.get_field_index(sealed.REQUEST)
            tables.append(table.set_column(place, sealed.REQUEST, numbers))
        # A feature that a table lacks is null. The sort is stable: rows of a request stay in their order.
        merged = pa.concat_tables(tables, promote_options="default")
        merged = merged.sort_by([("at", "ascending"), (sealed.REQUEST, "ascending")])
        replaces = {path.stem for path in paths} | {
            name for path in paths if path.name.startswith(sealed.MERGED) for name in sealed.replaced_by(path)
        }
        name = hashlib.sha256("\n".join(sorted(replaces)).encode()).hexdigest()[:16]
        sealed.write(merged, paths[0].parent / f"{sealed.MERGED}{name}.parquet", replaces)
        for path in paths:
            path.unlink()

    def _prune(self, folder: Path, oldest: date) -> int:
        """Delete the segments of days before `oldest`."""
        pruned = 0
        for path in sorted(folder.glob(f"{sealed.DAY}*/*.parquet")):
            day = sealed.day_of(path)
            if day is not None and day < oldest:
                path.unlink()
                pruned += 1
        return pruned


def _groups(paths: list[Path]) -> list[list[Path]]:
    """Return the segments of a day in groups that fit into memory together."""
    groups: list[list[Path]] = [[]]
    rows = columns = 0
    for path in paths:
        more, width = sealed.shape_of(path)
        # A merged segment has the columns of all.
        if rows and (rows + more) * max(columns, width) > MOST_VALUES:
            groups.append([])
            rows = columns = 0
        groups[-1].append(path)
        rows, columns = rows + more, max(columns, width)
    return groups
