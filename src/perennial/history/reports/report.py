"""The result of reading a report in any format: executions, and what was left out."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Literal, NamedTuple

from perennial.errors import MalformedInput

Undated = Literal["error", "file-time"]


class Execution(NamedTuple):
    """A run of a test in a report."""

    test_id: str
    area: str
    started_at: datetime
    duration_ms: int
    failed: bool


@dataclass(frozen=True)
class Report:
    """A report file. `key` is a hash of its content, by which a repeated import recognises it."""

    path: Path
    key: str
    executions: tuple[Execution, ...]
    skipped: int = 0
    left_out: tuple[str, ...] = ()
    """Cases that could not be read, each with file, line and reason."""
    suite_errors: int = 0
    """Suites that failed without a test, for example because their code does not compile."""
    untimed: int = 0
    """Cases without a duration, taken as 0 ms."""
    zoneless: bool = False
    """Whether a time without a zone was read."""


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


def wrong(path: Path, line: int, what: str, hint: str = "") -> MalformedInput:
    """Return the error of a place in a report."""
    return MalformedInput(f"{path}:{line}: {what}", hint=hint or "is this file a test report?")


def class_and_name(classname: str, name: str) -> str:
    """Return the id of a test of .NET or Java, whose name may begin with that of its class."""
    name = unicodedata.normalize("NFC", name.removeprefix(f"{classname}.") if classname else name)
    classname = unicodedata.normalize("NFC", classname)
    return f"{classname}::{name}" if classname and name and classname != name else name or classname
