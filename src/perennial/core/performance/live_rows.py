"""The part of a performance report about live rows: the newest check of a day, and the merged profiles."""

from __future__ import annotations

from collections.abc import Sequence

from perennial.core.governance.document import Section, Table
from perennial.core.monitoring.day_check import ColumnProfile, DayCheck


def live_rows(
    check: DayCheck | None, profile: Sequence[ColumnProfile], unread: Sequence[str] = ()
) -> Section:
    """Return what the newest check found, the figures of each column over all days, and which files were left out."""
    text = "No day was checked: `perennial monitor check` does so each day."
    if check is not None:
        text = (
            f"The check of {check.day}: {check.rows} answers, {check.checked} rules of the training data checked, "
            f"{len(check.unchecked)} that do not apply to live rows. "
        )
        findings = [f"{level.value}: {finding}" for level, finding in check.findings()]
        text += "; ".join(findings) + "." if findings else "Nothing is wrong with these rows."
    rows = [
        (
            column.column,
            f"{column.rows}",
            f"{column.missing:.1%}",
            f"{column.distinct:.3g}",
            *(_shown(value) for value in (column.mean, column.least, column.median, column.most)),
        )
        for column in profile
    ]
    header = ("column", "rows", "missing", "different values", "mean", "least", "median", "most")
    return Section(title="Live rows", text=(text, *unread), tables=(Table(header=header, rows=tuple(rows)),))


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
