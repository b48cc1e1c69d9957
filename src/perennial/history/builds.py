"""Group test reports into CI cycles: the reports of a build become a cycle, in order of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from perennial.errors import MalformedInput
from perennial.history import schema
from perennial.history.reports import reader
from perennial.history.reports.report import ReadOptions, Report, Undated

Grouping = Literal["folder", "path", "file"]
NEXT_BUILD = timedelta(days=1)
"""A report that begins so long after those beside it is of another build: the folder was not emptied in between."""
LATE = timedelta(hours=12)
"""The same for a new report beside reports that were imported before. Shorter, and the reports of a build would fall
apart whose tools disagree about the zone; longer, and those of nightly builds would be one."""


@dataclass(frozen=True)
class JUnitImport:
    """Rows to append, and counts of the reports."""

    frame: pd.DataFrame
    reports: int
    cycles: int
    skipped: int
    known: int
    """Reports that the history has already."""
    retracted: tuple[Path, ...] = ()
    """Reports that were taken out of the history; they stay out."""
    left_out: tuple[str, ...] = ()
    """Parts that could not be read, each with file, line and reason."""
    suite_errors: int = 0
    untimed: int = 0
    """Tests without a duration, taken as 0 ms."""


@dataclass(frozen=True)
class _Known:
    """Builds of a history and of its retracted rows."""

    cycle_of: dict[str, int]
    """Report -> cycle."""
    begins: dict[int, datetime]
    """Cycle -> start."""
    ends: dict[int, datetime]
    """Cycle -> start of its last execution."""
    retracted: frozenset[str]
    last: int
    newest: datetime | None
    """Start of the newest build of the job."""


def read_builds(
    paths: list[Path],
    known: pd.DataFrame,
    suite: str,
    by: Grouping = "folder",
    undated: Undated = "error",
    now: datetime | None = None,
    retracted: pd.DataFrame | None = None,
    zone: tzinfo = UTC,
    strict: bool = False,
) -> JUnitImport:
    """Read reports and number their builds as cycles after those of a history.

    Args:
        paths: report files and folders; folders are searched to any depth.
        known: the history so far (maybe empty). Its reports are skipped; a new report of a known build joins
            the cycle of that build.
        suite: name of the CI job.
        by: "folder": files with the same parent folder are a build; "path": all files below a path of `paths`
            are; "file": each file is. Reports that begin much later than those beside them are of another build.
        undated: start of a report without a timestamp.
        now: no test starts after it; the clock of this machine by default.
        retracted: rows that were taken out of the history. Their reports are left out, and their cycle
            numbers are not used again.
        zone: zone of times without a zone.
        strict: refuse everything if a report, a test or a build cannot be taken.

    Raises:
        DatasetMissing: a path does not exist.
        MalformedInput: with `strict`, or if nothing can be taken: a report is none, a test has no name, time or
            plausible start, or a build began before the newest build of its job began, whose features would then
            contain the future.
    """
    state = _known(known, schema.empty() if retracted is None else retracted, suite)
    options = ReadOptions(now or datetime.now(UTC), zone=zone, not_before=state.newest, strict=strict)
    places, problems, reports = _places(paths, by), [], {}
    for path in places:
        try:
            report = reader.read(path, options, undated, state.cycle_of.keys() | state.retracted)
        except MalformedInput as error:
            if strict:
                raise
            problems.append(error)
        else:
            reports.setdefault(report.key, report)
    left_out = tuple(report.path for report in reports.values() if report.key in state.retracted)
    fresh = [report for key, report in reports.items() if key not in state.cycle_of.keys() | state.retracted]
    here = [report for key, report in reports.items() if key in state.cycle_of]
    frames = []
    for build, cycle in _numbered([*fresh, *here], places, state):
        if isinstance(cycle, MalformedInput):
            if strict:
                raise cycle
            problems.append(cycle)
        else:
            frames += [_frame(report, cycle, suite) for report in build]
    if problems and not frames and not here and not left_out:
        raise problems[0]
    frame = schema.conform(pd.concat(frames), "test reports") if frames else schema.empty()
    return JUnitImport(
        frame=frame,
        reports=len(fresh),
        cycles=frame["cycle"].nunique(),
        skipped=sum(report.skipped for report in fresh),
        known=len(here),
        retracted=left_out,
        left_out=tuple(f"{problem.message} ({problem.hint})" for problem in problems)
        + tuple(line for report in fresh for line in report.left_out),
        suite_errors=sum(report.suite_errors for report in fresh),
        untimed=sum(report.untimed for report in fresh),
    )


def _places(paths: list[Path], by: Grouping) -> dict[Path, str]:
    """Return for each report file where its build is."""
    if by == "path":
        return {file: str(path.resolve()) for path in paths for file in reader.find([path])}
    return {file: str(file.parent if by == "folder" else file) for file in reader.find(paths)}


def _known(known: pd.DataFrame, retracted: pd.DataFrame, suite: str) -> _Known:
    cycle_of, out = _cycles(known), _cycles(retracted)
    begins, ends = ({}, {}) if known.empty else (_starts(known, "min"), _starts(known, "max"))
    own = known.loc[known["suite"] == suite, ["cycle", "started_at"]]
    return _Known(
        cycle_of=cycle_of,
        begins=begins,
        ends=ends,
        retracted=frozenset(out.keys() - cycle_of.keys()),
        last=max((int(rows["cycle"].max()) for rows in (known, retracted) if len(rows)), default=0),
        newest=own.groupby("cycle")["started_at"].min().max().to_pydatetime() if len(own) else None,
    )


def _starts(rows: pd.DataFrame, which: Literal["min", "max"]) -> dict[int, datetime]:
    """Return cycle -> start of its first or last execution."""
    starts = rows.groupby("cycle")["started_at"].agg(which)
    return {int(cycle): at.to_pydatetime() for cycle, at in starts.items()}


def _cycles(rows: pd.DataFrame) -> dict[str, int]:
    """Return report key -> cycle for the rows of reports."""
    if rows.empty:
        return {}
    rows = rows[rows["execution_id"].str.startswith("junit:")]
    keys = rows["execution_id"].str.split(":", n=2).str[1]
    return {str(key): int(cycle) for key, cycle in rows["cycle"].groupby(keys).first().items()}


def _numbered(
    reports: list[Report], places: dict[Path, str], state: _Known
) -> Iterator[tuple[list[Report], int | MalformedInput]]:
    """Yield the new reports of each build with its cycle, or with the reason why it has none."""
    last = state.last
    for build in _in_order(reports, places, state):
        added = [report for report in build if report.runs]
        cycles = [state.cycle_of[report.key] for report in build if report.key in state.cycle_of]
        if not added:
            continue
        if cycles:
            yield added, cycles[-1]
        elif state.newest is not None and _begins(added[0], state) < state.newest:
            yield added, _older(added[0], state)
        else:
            last += 1
            yield added, last


def _in_order(reports: Iterable[Report], places: dict[Path, str], state: _Known) -> list[list[Report]]:
    """Return the builds by start, the reports of each by start."""
    groups: dict[str, list[list[Report]]] = {}
    ends: dict[str, datetime] = {}
    dated = [report for report in reports if report.runs or report.key in state.cycle_of]
    for report in sorted(dated, key=lambda report: (_begins(report, state), report.path)):
        place, begins = places[report.path], _begins(report, state)
        group = groups.setdefault(place, [[]])
        is_late = report.key not in state.cycle_of and any(
            earlier.key in state.cycle_of for earlier in group[-1]
        )
        if place in ends and begins > ends[place] + (LATE if is_late else NEXT_BUILD):
            group.append([])
        group[-1].append(report)
        ends[place] = max(_ends(report, state), ends.get(place, begins))
    builds = [build for group in groups.values() for build in group]
    return sorted(builds, key=lambda build: _begins(build[0], state))


def _begins(report: Report, state: _Known) -> datetime:
    if report.key in state.cycle_of:
        return state.begins[state.cycle_of[report.key]]
    return report.runs.first_start()


def _ends(report: Report, state: _Known) -> datetime:
    """Return the start of the last test."""
    if report.key in state.cycle_of:
        return state.ends[state.cycle_of[report.key]]
    return report.runs.last_start()


def _older(report: Report, state: _Known) -> MalformedInput:
    hint = "import builds of a job oldest first, or into a new history: --history NAME"
    if report.zoneless:
        hint += "; if its times are not in UTC: --timezone"
    return MalformedInput(
        f"{report.path}: the build of {_begins(report, state):%Y-%m-%d %H:%M:%S} is older than the newest cycle of "
        f"the job ({state.newest:%Y-%m-%d %H:%M:%S})",
        hint=hint,
    )


def _frame(report: Report, cycle: int, suite: str) -> pd.DataFrame:
    runs = report.runs
    return pd.DataFrame(
        {
            "execution_id": [f"junit:{report.key}:{number}" for number in range(len(runs))],
            "suite": suite,
            "test_id": runs.test_ids,
            "cycle": cycle,
            "started_at": pd.to_datetime(np.asarray(runs.starts_us), unit="us", utc=True),
            "duration_ms": np.asarray(runs.durations_ms),
            "verdict": np.frombuffer(runs.failed, dtype="int8"),
            "area": runs.areas,
        }
    )
