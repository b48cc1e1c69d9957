"""The schema of a CI history. A row is an execution of a test.

Several runs of a test in a cycle are retries. The frames of all sources (JUnit, public data sets, simulator)
pass through `conform` first.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from perennial import limits
from perennial.errors import MalformedInput

COLUMNS: dict[str, str] = {
    "execution_id": "str, unique",
    "suite": "str, the CI job",
    "test_id": "str",
    "cycle": "int64, number of the CI cycle, not negative",
    "started_at": "datetime64[ns, UTC]; a time without a zone is taken as UTC",
    "duration_ms": "int64, not negative",
    "verdict": "int8, 1 failed, 0 passed",
    "area": "str, code area of the test, '' if the source has none",
}
"""Column -> type and meaning, in order."""

ORDER = ["cycle", "started_at", "execution_id"]
"""Sort order of rows."""


def empty() -> pd.DataFrame:
    """Return a history without executions, with the right types."""
    return conform(pd.DataFrame({name: [] for name in COLUMNS}), "empty")


def conform(frame: pd.DataFrame, source: str, now: datetime | None = None) -> pd.DataFrame:
    """Check and cast every column, then sort by cycle, start and execution id.

    Args:
        frame: exactly the columns of `COLUMNS`, in any order.
        source: name for error messages, such as a file.
        now: for rows that come in: none starts after it, or before the first plausible date.

    Returns:
        A new frame with a fresh index from 0.

    Raises:
        MalformedInput: a value does not fit; names the column and the first such row (from 1, as given).
    """
    _check_columns(frame, source)
    frame = frame.reset_index(drop=True)
    cast = pd.DataFrame(
        {
            "execution_id": _text(frame, "execution_id", source),
            "suite": _text(frame, "suite", source),
            "test_id": _text(frame, "test_id", source),
            "cycle": _whole(frame, "cycle", source),
            "started_at": _time(frame, "started_at", source),
            "duration_ms": _whole(frame, "duration_ms", source),
            "verdict": _whole(frame, "verdict", source),
            "area": _text(frame, "area", source, may_be_empty=True),
        }
    )
    _refuse(~cast["verdict"].isin([0, 1]), frame, "verdict", "is neither 1 (failed) nor 0 (passed)", source)
    _refuse(cast["execution_id"].duplicated(), frame, "execution_id", "is there twice", source)
    if now is not None:
        problem = cast["started_at"].map(lambda at: limits.implausible(at, now))
        for what in (name for name in problem.unique() if name):
            _refuse(problem == what, frame, "started_at", f"is {what}", source)
    cast["verdict"] = cast["verdict"].astype("int8")
    return cast.sort_values(ORDER, kind="stable", ignore_index=True)


def _check_columns(frame: pd.DataFrame, source: str) -> None:
    missing = [name for name in COLUMNS if name not in frame.columns]
    unknown = [str(name) for name in frame.columns if name not in COLUMNS]
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing)
        parts += [f"has unknown {', '.join(unknown)}"] * bool(unknown)
        raise MalformedInput(
            f"{source}: the table {' and '.join(parts)}", hint=f"the columns are {', '.join(COLUMNS)}"
        )


def _text(frame: pd.DataFrame, name: str, source: str, may_be_empty: bool = False) -> pd.Series:
    values = frame[name]
    _refuse(values.isna(), frame, name, "is missing", source)
    text = values.astype(str).astype(object)
    if not may_be_empty:
        _refuse(text.str.strip() == "", frame, name, "is empty", source)
    return text


def _whole(frame: pd.DataFrame, name: str, source: str) -> pd.Series:
    numbers = pd.to_numeric(frame[name], errors="coerce")
    _refuse(numbers.isna() | np.isinf(numbers), frame, name, "is not a number", source)
    _refuse(numbers != np.floor(numbers), frame, name, "is not a whole number", source)
    _refuse(numbers < 0, frame, name, "is negative", source)
    return numbers.astype("int64")


def _time(frame: pd.DataFrame, name: str, source: str) -> pd.Series:
    values = frame[name]
    if pd.api.types.is_numeric_dtype(values) and len(values):
        # pandas would silently read numbers as nanoseconds since 1970.
        _refuse(pd.Series(True, index=frame.index), frame, name, "is a number, not a time", source)
    times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601" if _is_text(values) else None)
    _refuse(times.isna(), frame, name, "is not an ISO 8601 time", source)
    return times.astype("datetime64[ns, UTC]")


def _is_text(values: pd.Series) -> bool:
    if values.dtype != object and not isinstance(values.dtype, pd.StringDtype):
        return values.empty
    return values.map(lambda value: isinstance(value, str)).all()


def _refuse(wrong: pd.Series, frame: pd.DataFrame, name: str, what: str, source: str) -> None:
    if not wrong.any():
        return
    row = int(np.flatnonzero(wrong.to_numpy())[0])
    value = frame[name].iloc[row]
    more = int(wrong.sum()) - 1
    raise MalformedInput(
        f"{source}: row {row + 1}: {name} {what}: {value!r}" + (f" (and {more} more rows)" if more else ""),
        hint=f"{name} is {COLUMNS[name]}",
    )
