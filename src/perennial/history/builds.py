"""Group JUnit reports into CI cycles: the reports of a build become a cycle, in order of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal

import pandas as pd

from perennial.errors import MalformedInput
from perennial.history import junit, schema

Grouping = Literal["folder", "file"]
Undated = Literal["error", "file-time"]


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


def read_builds(
    paths: list[Path],
    known: pd.DataFrame,
    suite: str,
    by: Grouping = "folder",
    undated: Undated = "error",
    now: datetime | None = None,
    retracted: pd.DataFrame | None = None,
) -> JUnitImport:
    """Read reports and number their builds as cycles after those of a history.

    Args:
        paths: report files and folders; folders are searched to any depth.
        known: the history so far (maybe empty). Its reports are skipped; a new report of a known build joins
            the cycle of that build.
        suite: name of the CI job.
        by: "folder": files with the same parent folder are a build; "file": each file is a build.
        undated: start of a report without a timestamp.
        now: no test starts after it; the clock of this machine by default.
        retracted: rows that were taken out of the history. Their reports are left out, and their cycle
            numbers are not used again.

    Raises:
        DatasetMissing: a path does not exist.
        MalformedInput: a report is no JUnit XML, holds no executed test of a build, or a build is older
            than the newest cycle of the history, whose features would then contain the future.
    """
    reports = []
    for path in junit.find(paths):
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        reports.append(junit.read(path, changed if undated == "file-time" else None, now))
    retracted = schema.empty() if retracted is None else retracted
    cycle_of, out = _known_cycles(known), _known_cycles(retracted).keys() - _known_cycles(known).keys()
    left_out = tuple(report.path for report in reports if report.key in out)
    reports = list({report.key: report for report in reports if report.key not in out}.values())
    fresh = [report for report in reports if report.key not in cycle_of]
    fresh_keys = {report.key for report in fresh}
    last = max((int(rows["cycle"].max()) for rows in (known, retracted) if len(rows)), default=0)
    frames = []
    for build in _in_order(reports, by):
        added = [report for report in build if report.key in fresh_keys]
        cycles = [cycle_of[report.key] for report in build if report.key in cycle_of]
        if not added or not any(report.executions for report in added):
            continue
        if not cycles:
            _refuse_older(added, known)
            last += 1
        cycle = cycles[0] if cycles else last
        frames += [_frame(report, cycle, suite) for report in added if report.executions]
    frame = schema.conform(pd.concat(frames), "JUnit reports") if frames else schema.empty()
    return JUnitImport(
        frame=frame,
        reports=len(fresh),
        cycles=frame["cycle"].nunique(),
        skipped=sum(report.skipped for report in fresh),
        known=len(reports) - len(fresh),
        retracted=left_out,
    )


def _known_cycles(known: pd.DataFrame) -> dict[str, int]:
    """Return report key -> cycle for the JUnit rows of a history."""
    rows = known[known["execution_id"].str.startswith("junit:")] if len(known) else known
    return {
        identity.split(":")[1]: int(cycle)
        for identity, cycle in zip(rows["execution_id"], rows["cycle"], strict=True)
    }


def _in_order(reports: Iterable[junit.JUnitReport], by: Grouping) -> list[list[junit.JUnitReport]]:
    def place(report: junit.JUnitReport) -> str:
        return str(report.path.parent if by == "folder" else report.path)

    builds = [list(group) for _, group in groupby(sorted(reports, key=place), key=place)]
    return sorted((build for build in builds if _starts(build)), key=lambda build: min(_starts(build)))


def _starts(reports: list[junit.JUnitReport]) -> list[datetime]:
    return [execution.started_at for report in reports for execution in report.executions]


def _refuse_older(build: list[junit.JUnitReport], known: pd.DataFrame) -> None:
    if known.empty:
        return
    begins, newest = min(_starts(build)), known["started_at"].max().to_pydatetime()
    if begins < newest:
        raise MalformedInput(
            f"{build[0].path}: the build of {begins:%Y-%m-%d %H:%M:%S} is older than the newest cycle of the "
            f"history ({newest:%Y-%m-%d %H:%M:%S})",
            hint="import builds oldest first, or into a new history: --history NAME",
        )


def _frame(report: junit.JUnitReport, cycle: int, suite: str) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "execution_id": f"junit:{report.key}:{number}",
                "suite": suite,
                "test_id": execution.test_id,
                "cycle": cycle,
                "started_at": execution.started_at,
                "duration_ms": execution.duration_ms,
                "verdict": int(execution.failed),
                "area": execution.area,
            }
            for number, execution in enumerate(report.executions)
        ]
    )
