"""Collect the runs of a report: their starts, and which of them are the same test.

**Starts.** Few reports say when each test started. Without that, the tests of a suite are laid out in sequence from the
time of the suite. Tests that ran in parallel then take longer than the suite did: their starts are moved together,
so that each lies within the suite, and none lies in the future.

**Same test.** Two runs of an id are a retry, unless they are in other suites, files or browsers: then they are
different tests, and the first of these properties that tells them apart becomes part of the id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from perennial.errors import MalformedInput
from perennial.history.reports import times
from perennial.history.reports.report import Execution, ReadOptions, Report, wrong
from perennial.limits import LONGEST_BUILD, implausible

EXECUTIONS = 2_000_000
"""Most executions of a report."""
MILLISECOND = timedelta(milliseconds=1)


class Clock:
    """The time of a suite: the tests without a time of their own follow each other on it.

    Args:
        start: None if the report does not say.
        wall_ms: how long the suite took altogether; None if the report does not say.
    """

    def __init__(self, start: datetime | None = None, wall_ms: int | None = None) -> None:
        self.start = start
        self.wall_ms = wall_ms
        self.now_ms = 0


class Run(NamedTuple):
    """A run of a test. `at` is its own time, if the report has it."""

    failed: bool
    duration_ms: int
    at: datetime | None = None


class _Row(NamedTuple):
    test_id: str
    context: tuple[str, ...]
    area: str
    clock: Clock
    offset_ms: int
    at: datetime | None
    duration_ms: int
    line: int


class Recorder:
    """Collects the runs of one report."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self.options = options
        self.skipped = self.suite_errors = self.untimed = 0
        self.zoneless = False
        self.problems: list[MalformedInput] = []
        self.failed: list[bool] = []
        """Per row, if it failed; a format may correct an earlier row."""
        self._rows: list[_Row] = []

    def problem(self, line: int, what: str, hint: str = "") -> None:
        """Leave something out; raise if the options say so."""
        error = wrong(self.path, line, what, hint)
        if self.options.strict:
            raise error
        self.problems.append(error)

    def refuse(self, line: int, what: str, hint: str = "") -> MalformedInput:
        """Return the error that refuses the whole report."""
        return wrong(self.path, line, what, hint)

    def moment(self, line: int, text: str, name: str) -> datetime | None:
        """Return a plausible time in UTC, None for an empty or unreadable text, which is a problem."""
        if not text.strip():
            return None
        try:
            at, zoned = times.moment(text, self.options.zone, self.options.not_before)
        except ValueError:
            self.problem(line, f"{name} is {text!r}, not ISO 8601 or another known form of a time")
            return None
        self.zoneless |= not zoned
        if problem := implausible(at, self.options.now):
            self.problem(
                line, f"{name} is {at.isoformat()}, {problem}",
                "is the clock of that machine right? A time without a zone is taken as UTC: --timezone",
            )  # fmt: skip
            return None
        return at

    def milliseconds(self, line: int, text: str, unit_ms: int = 1000) -> int | None:
        """Return a duration of this unit in ms; None if it is unreadable, which is a problem.

        A missing duration is counted and taken as 0, and so is a negative one (the clock was set back).
        """
        if not text.strip():
            self.untimed += 1
            return 0
        try:
            found = times.seconds(text) * unit_ms / 1000
        except ValueError:
            self.problem(line, f"time is {text!r}, not seconds")
            return None
        if not -1e7 < found < 1e7:
            self.problem(line, f"time is {text!r}, not a duration in seconds")
            return None
        if found < 0 and self.options.strict:
            self.problem(line, f"time is {text!r}, not a duration in seconds")
        return max(0, round(found * 1000))

    def add(
        self, line: int, test_id: str, context: tuple[str, ...], area: str, clock: Clock, runs: Sequence[Run]
    ) -> None:
        """Add the runs of a test, in order.

        Args:
            line: its place in the file.
            test_id: id, the same in each build.
            context: what else tells tests apart, most readable first.
            area: code area, or empty.
            clock: time of its suite.
            runs: its runs.
        """
        for run in runs:
            self._rows.append(
                _Row(test_id, context, area, clock, clock.now_ms, run.at, run.duration_ms, line)
            )
            self.failed.append(run.failed)
            if run.at is not None and clock.start is not None:
                clock.now_ms = max(0, (run.at - clock.start) // MILLISECOND)
            clock.now_ms += run.duration_ms
        if len(self._rows) > EXECUTIONS:
            raise self.refuse(line, f"more than {EXECUTIONS} executions", "split the report")

    def __len__(self) -> int:
        return len(self._rows)

    def report(self, key: str) -> Report:
        """Return the report.

        Raises:
            MalformedInput: the first problem, if nothing else was found.
        """
        names = self._names()
        executions = []
        for row, failed in zip(self._rows, self.failed, strict=True):
            started = self._started(row)
            if started is not None:
                name = names.get((row.test_id, row.context), row.test_id) if names else row.test_id
                executions.append(Execution(name, row.area, started, row.duration_ms, failed))
        if self.problems and not executions and not self.skipped:
            raise self.problems[0]
        return Report(
            self.path, key, tuple(executions), self.skipped,
            tuple(f"{problem.message} ({problem.hint})" for problem in self.problems),
            self.suite_errors, self.untimed, self.zoneless,
        )  # fmt: skip

    def _started(self, row: _Row) -> datetime | None:
        if row.at is not None:
            return row.at
        clock = row.clock
        start = clock.start or self._first_time or self.options.undated
        if start is None:
            self.problem(
                row.line, "neither the suite nor an outer suite has a timestamp",
                "--undated file-time takes the time of the file",
            )  # fmt: skip
            return None
        now = self.options.now
        # Only tests that ran in parallel add up to far too much, and then their suite says how long it took.
        latest = row.duration_ms + (0 if clock.wall_ms else row.offset_ms)
        if implausible(start + latest * MILLISECOND, now, LONGEST_BUILD):
            self.problem(row.line, "its time and those of the tests before it add up to an end in the future")
            return None
        room = max(0, (now - start) // MILLISECOND)
        wall = min(clock.wall_ms or room, room)
        offset = row.offset_ms
        if clock.now_ms > wall:
            offset = min(offset * wall // clock.now_ms, max(0, wall - row.duration_ms))
        return start + offset * MILLISECOND

    def takes_file_time(self) -> bool:
        """Return whether the report has no time at all."""
        return self._first_time is None

    @cached_property
    def _first_time(self) -> datetime | None:
        stamps = (stamp for row in self._rows for stamp in (row.at, row.clock.start) if stamp is not None)
        return min(stamps, default=None)

    def _names(self) -> dict[tuple[str, tuple[str, ...]], str]:
        """Return the ids of tests that share an id with another test, by id and context."""
        contexts: dict[str, tuple[str, ...] | set[tuple[str, ...]]] = {}
        for row in self._rows:
            found = contexts.setdefault(row.test_id, row.context)
            if isinstance(found, set):
                found.add(row.context)
            elif found is not row.context and found != row.context:
                contexts[row.test_id] = {found, row.context}
        names = {}
        for test_id, shared in contexts.items():
            if isinstance(shared, set):
                for context in shared:
                    names[test_id, context] = _qualified(test_id, context, shared)
        return names


def _qualified(test_id: str, context: tuple[str, ...], shared: set[tuple[str, ...]]) -> str:
    """Return the id with the first property that has another value for each, else with all that differ."""
    columns = list(zip(*shared, strict=True))
    for position, values in enumerate(columns):
        if len(set(values)) == len(shared) and context[position]:
            return f"{context[position]}::{test_id}"
    parts = [part for part, values in zip(context, columns, strict=True) if part and len(set(values)) > 1]
    return "::".join([*parts, test_id])
