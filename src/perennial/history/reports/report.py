"""The result of reading a report in any format: executions, and what was left out."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal, NamedTuple

from perennial.errors import MalformedInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Undated = Literal["error", "file-time"]


class Execution(NamedTuple):
    """A run of a test in a report."""

    test_id: str
    area: str
    started_at: datetime
    duration_ms: int
    failed: bool


class Runs:
    """The executions of a report in columns: a large report has hundreds of thousands."""

    def __init__(self) -> None:
        self.test_ids: list[str] = []
        self.areas: list[str] = []
        self.starts_us = array("q")
        """Microseconds since 1970."""
        self.durations_ms = array("q")
        self.failed = bytearray()

    def __len__(self) -> int:
        return len(self.test_ids)

    def __iter__(self) -> Iterator[Execution]:
        for test_id, area, start, took, failed in zip(
            self.test_ids, self.areas, self.starts_us, self.durations_ms, self.failed, strict=True
        ):
            yield Execution(test_id, area, at_microsecond(start), took, bool(failed))

    def first_start(self) -> datetime:
        """Return the earliest start."""
        return at_microsecond(min(self.starts_us))

    def last_start(self) -> datetime:
        """Return the latest start."""
        return at_microsecond(max(self.starts_us))


@dataclass(frozen=True)
class Report:
    """A report file. `key` is a hash of its content, by which a repeated import recognises it."""

    path: Path
    key: str
    runs: Runs
    skipped: int = 0
    left_out: tuple[str, ...] = ()
    """Cases that could not be read, each with file, line and reason."""
    suite_errors: int = 0
    """Suites that failed without a test, for example because their code does not compile."""
    untimed: int = 0
    """Cases without a duration, taken as 0 ms."""
    zoneless: bool = False
    """A time without a zone was read."""

    @property
    def executions(self) -> tuple[Execution, ...]:
        """Return the executions as rows."""
        return tuple(self.runs)


@dataclass(frozen=True)
class ReadOptions:
    """How reports are read.

    Args:
        now: no test starts after it.
        undated: start of a report without any time; None makes its cases unreadable.
        zone: zone of times without a zone.
        not_before: a time that exists twice (the clocks went back) is the later one if the first is older.
        strict: the first case that cannot be read raises `MalformedInput`.
    """

    now: datetime
    undated: datetime | None = None
    zone: tzinfo = UTC
    not_before: datetime | None = None
    strict: bool = False


def microsecond(at: datetime) -> int:
    """Return the microseconds since 1970."""
    return (at - EPOCH) // timedelta(microseconds=1)


def at_microsecond(number: int) -> datetime:
    """Return the time of so many microseconds since 1970."""
    return EPOCH + timedelta(microseconds=number)


def wrong(path: Path, line: int, what: str, hint: str = "") -> MalformedInput:
    """Return the error of a place in a report."""
    return MalformedInput(f"{path}:{line}: {what}", hint=hint or "is this file a test report?")


def class_and_name(classname: str, name: str) -> str:
    """Return the id of a test of .NET or Java, whose name may begin with that of its class."""
    name = unicodedata.normalize("NFC", name.removeprefix(f"{classname}.") if classname else name)
    classname = unicodedata.normalize("NFC", classname)
    return f"{classname}::{name}" if classname and name and classname != name else name or classname
