"""Read a report from its text."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from perennial.history.reports import reader
from perennial.history.reports.report import ReadOptions, Report

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TEN = datetime(2025, 3, 1, 10, tzinfo=UTC)
STAMP = 'timestamp="2025-03-01T10:00:00Z"'


def read(folder: Path, content: str | bytes, name: str = "r.xml", **options: object) -> Report:
    """Write a report and read it."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return reader.read(path, ReadOptions(**({"now": NOW} | options)))


def told(report: Report) -> list[tuple[str, bool]]:
    """Return id and verdict of each execution."""
    return [(run.test_id, run.failed) for run in report.executions]


def starts(report: Report) -> list[float]:
    """Return the seconds from ten o'clock to each start."""
    return [(run.started_at - TEN).total_seconds() for run in report.executions]
