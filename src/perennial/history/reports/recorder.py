"""Collect the runs of a report: their starts, and which of them are the same test.

**Starts.** Few reports say when each test started. Without that, the tests of a suite are laid out in sequence from the
time of the suite. Tests that ran in parallel then take longer than the suite did: their starts are moved together,
so that each lies within the suite, and none lies in the future.

**Same test.** Two runs of an id are a retry, unless they are in other suites, files or browsers: then they are
different tests, and the first of these properties that tells them apart becomes part of the id.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from perennial.errors import MalformedInput
from perennial.history.reports import times
from perennial.history.reports.report import ReadOptions, Report, Runs, microsecond, wrong
from perennial.limits import LONGEST_BUILD, implausible

EXECUTIONS = 2_000_000
"""Most executions of a report."""
MILLISECOND = timedelta(milliseconds=1)
LONGEST_SECONDS = 1e7
UNSET = {(1, 1, 1), (1601, 1, 1), (1900, 1, 1), (1970, 1, 1)}
"""Dates that .NET, Windows and Jest write for a time that they do not know."""


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
        self.span: tuple[int | None, int] | None = None
        """Start in microseconds, and milliseconds from there until now; set when all tests are known."""


class Run(NamedTuple):
    """A run of a test. `at` is its own time, if the report has it."""

    failed: bool
    duration_ms: int
    at: datetime | None = None


class Recorder:
    """Collects the runs of one report."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self.options = options
        self.skipped = self.suite_errors = self.untimed = 0
        self.zoneless = False
        self.problems: list[MalformedInput] = []
        self.failed = bytearray()
        """Per run, if it failed; a format may correct an earlier run."""
        # A column each, for memory.
        self._test_ids: list[str] = []
        self._contexts: list[tuple[str, ...]] = []
        self._areas: list[str] = []
        self._clocks: list[Clock] = []
        self._at: dict[int, datetime] = {}
        self._offsets_ms, self._durations_ms, self._lines = array("q"), array("q"), array("q")

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
        if text.strip() in ("", "0"):
            return None
        try:
            at, zoned = times.moment(text, self.options.zone, self.options.not_before)
        except ValueError:
            self.problem(line, f"{name} is {text!r}, not ISO 8601 or another known form of a time")
            return None
        if (at.year, at.month, at.day) in UNSET:
            return None
        self.zoneless |= not zoned
        if problem := implausible(at, self.options.now):
            self.problem(
                line, f"{name} is {at.isoformat()}, {problem}",
                "is the clock of that machine right? A time without a zone is taken as UTC: --timezone",
            )  # fmt: skip
            return None
        return at

    def milliseconds(self, line: int, text: str, unit_ms: int = 1000) -> int:
        """Return a duration of this unit in ms.

        A missing duration is counted and taken as 0. So is an unreadable one, which is a problem, too. A negative one
        (the clock was set back) is 0.
        """
        if not text.strip():
            self.untimed += 1
            return 0
        try:
            duration_s = times.seconds(text) * unit_ms / 1000
        except ValueError:
            duration_s = math.nan
        if not -LONGEST_SECONDS < duration_s < LONGEST_SECONDS or (duration_s < 0 and self.options.strict):
            self.untimed += 1
            self.problem(line, f"time is {text!r}, not a duration in seconds", "the test is taken with 0 ms")
            return 0
        return max(0, round(duration_s * 1000))

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
        for failed, took, at in runs:
            if at is not None:
                self._at[len(self.failed)] = at
                if clock.start is not None:
                    clock.now_ms = max(0, (at - clock.start) // MILLISECOND)
            self.failed.append(failed)
            self._test_ids.append(test_id)
            self._contexts.append(context)
            self._areas.append(area)
            self._clocks.append(clock)
            self._offsets_ms.append(clock.now_ms)
            self._durations_ms.append(took)
            self._lines.append(line)
            clock.now_ms += took
        if len(self.failed) > EXECUTIONS:
            raise self.refuse(line, f"more than {EXECUTIONS} executions", "split the report")

    def report(self, key: str) -> Report:
        """Return the report.

        Raises:
            MalformedInput: the first problem, if there was nothing else.
        """
        names, runs = self._names(), Runs()
        for number, (test_id, failed) in enumerate(zip(self._test_ids, self.failed, strict=True)):
            start = self._start_us(number)
            if start is None:
                continue
            runs.test_ids.append(names.get((test_id, self._contexts[number]), test_id) if names else test_id)
            runs.areas.append(self._areas[number])
            runs.starts_us.append(start)
            runs.durations_ms.append(self._durations_ms[number])
            runs.failed.append(failed)
        if self.problems and not runs and not self.skipped:
            raise self.problems[0]
        return Report(
            self.path, key, runs, self.skipped,
            tuple(f"{problem.message} ({problem.hint})" for problem in self.problems),
            self.suite_errors, self.untimed, self.zoneless,
        )  # fmt: skip

    def _start_us(self, number: int) -> int | None:
        if number in self._at:
            return self._not_after_now(self._at[number])
        clock, took = self._clocks[number], self._durations_ms[number]
        if clock.span is None:
            clock.span = self._span(clock)
        start, room = clock.span
        if start is None:
            self.problem(
                self._lines[number], "neither the suite nor an outer suite has a timestamp",
                "--undated file-time takes the time of the file",
            )  # fmt: skip
            return None
        offset = self._offsets_ms[number]
        # Only tests that ran in parallel add up to far too much, and then their suite says how long it took.
        if (took if clock.wall_ms else offset + took) > room + LONGEST_BUILD // MILLISECOND:
            self.problem(
                self._lines[number],
                "its time and those of the tests before it add up to an end in the future",
            )
            return None
        wall = min(clock.wall_ms or room, max(0, room))
        if clock.now_ms > wall:
            offset = min(offset * wall // clock.now_ms, max(0, wall - took))
        return start + offset * 1000

    def _span(self, clock: Clock) -> tuple[int | None, int]:
        """Return the start of a suite in microseconds, and the milliseconds from there until now."""
        start = clock.start or self._first_time or self.options.undated
        if start is None:
            return None, 0
        return self._not_after_now(start), (self.options.now - start) // MILLISECOND

    def _not_after_now(self, at: datetime) -> int:
        """Return a time in microseconds; the clock of the machine may have been a little ahead."""
        return microsecond(min(at, self.options.now))

    def takes_file_time(self) -> bool:
        """Return whether the report has no time at all."""
        return self._first_time is None

    @cached_property
    def _first_time(self) -> datetime | None:
        starts = (clock.start for clock in self._clocks if clock.start is not None)
        return min(chain(self._at.values(), starts), default=None)

    def _names(self) -> dict[tuple[str, tuple[str, ...]], str]:
        """Return the ids of tests that share an id with another test, by id and context."""
        contexts: dict[str, tuple[str, ...] | set[tuple[str, ...]]] = {}
        for test_id, context in zip(self._test_ids, self._contexts, strict=True):
            known = contexts.setdefault(test_id, context)
            if isinstance(known, set):
                known.add(context)
            elif known is not context and known != context:
                contexts[test_id] = {known, context}
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
