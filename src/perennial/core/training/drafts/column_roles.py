"""Roles of the columns of a table beside its target, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np

from perennial.core.input_spec import InputKind
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType

TAKEN = frozenset({"score", "decision", "right"})
"""Columns of the reference rows of a version."""
MOST_CATEGORIES = 200
"""Most values of a text that is a category."""
ROWS_OF_CATEGORY = 2
"""Fewest rows per value, on average, of a category."""
MOSTLY_NUMBERS, FEW_NUMBERS = 0.5, 20
"""Share of numbers from which texts are taken for numbers with another sign for a missing value, and most values
of a text that may be a category nevertheless."""
PROSE_WORDS, LONG_TEXT = 5, 40
"""Mean number of words, and mean length, from which a text is prose."""
KEY_NAME = re.compile(
    r"(?i)(^|[_\s-])(id|key|uuid|guid|index|rownum|row|unnamed)([_\s-]|$)|^column0+$|(?<=[a-z])I[dD]$"
)
OWNER_NAME = re.compile(
    r"(?i)^(subject|patient|customer|client|user|person|individual|household|student|participant|account|member|"
    r"employee|driver|device|machine|vehicle)([_\s-]?(no|nr|num|number|code))?$"
)
"""Names of those that several rows may be about."""
TIME_NAME = re.compile(
    r"(?i)(^|[_\s-])(time|date|datetime|timestamp|epoch|ts|created|updated|when|day)([_\s-]|$)|[_\s]at$"
)
YEAR_NAME = re.compile(r"(?i)^(year|yr)$")
FEWEST_YEARS = 10
SECONDS = {"second": 1.0, "millisecond": 0.001}


class Role(StrEnum):
    """Use of a column."""

    TARGET = "target"
    KEY = "key"
    TIME = "time"
    GROUP = "group"
    INPUT = "input"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Conclusion:
    """Role of a column, and why."""

    column: ColumnSummary
    role: Role
    reason: str
    kind: InputKind | None = None
    """Type of an input."""


def find_key(columns: Sequence[ColumnSummary], timed: bool) -> tuple[ColumnSummary, str] | None:
    """Return the column that names a row, and why."""
    for column in columns:
        unique = column.distinct == column.rows and not column.missing
        if unique and column.type in (ColumnType.TEXT, ColumnType.INT) and KEY_NAME.search(column.name):
            return column, "another value in every row, and the name of a key"
    return None


def find_time(columns: Sequence[ColumnSummary], timed: bool) -> tuple[ColumnSummary, str] | None:
    """Return the column that orders the rows, and why: times, else numbers whose name and values are those of times."""
    times = [column for column in columns if column.type is ColumnType.TIMESTAMP and not column.missing]
    if times:
        others = f"; also times: {', '.join(column.name for column in times[1:])}" if len(times) > 1 else ""
        return times[0], f"the first column of times{others}{_read_as(times[0])}"
    for column in columns:
        unit = (column.time_unit or "").partition(" ")[0]
        is_year = unit == "year" and YEAR_NAME.search(column.name) and column.distinct >= FEWEST_YEARS
        if not column.missing and (is_year or (unit not in ("", "year") and TIME_NAME.search(column.name))):
            return as_time(column), f"each number is a {column.time_unit}"
    return None


def as_time(column: ColumnSummary) -> ColumnSummary:
    """Return a column of numbers as times, where its numbers may be times."""
    low, high, unit = column.minimum, column.maximum, (column.time_unit or "").partition(" ")[0]
    if not unit or not isinstance(low, float) or not isinstance(high, float):
        return column
    bounds = [_moment(value, unit) for value in (low, high)]
    return replace(column, type=ColumnType.TIMESTAMP, minimum=bounds[0], maximum=bounds[1])


def find_group(columns: Sequence[ColumnSummary], timed: bool) -> tuple[ColumnSummary, str] | None:
    """Return the column whose equal values must stay together, and why."""
    if timed:
        return None
    for column in columns:
        repeats = 20 <= column.distinct <= column.rows / 2 and not column.missing
        named = KEY_NAME.search(column.name) or OWNER_NAME.search(column.name)
        if repeats and column.type in (ColumnType.TEXT, ColumnType.INT) and named:
            each = column.rows / column.distinct
            return column, f"the name of a key, and {each:.1f} rows for each value: they must stay together"
    return None


def as_input(column: ColumnSummary) -> Conclusion:
    """Return a column as an input with its type, or as left out."""
    out = _unfit(column)
    if out:
        return Conclusion(column, Role.LEFT_OUT, out)
    kinds = {
        ColumnType.INT: InputKind.INT,
        ColumnType.FLOAT: InputKind.FLOAT,
        ColumnType.BOOL: InputKind.BOOL,
        ColumnType.TIMESTAMP: InputKind.TIMESTAMP,
        ColumnType.ARRAY: InputKind.ARRAY,
        ColumnType.TEXT: InputKind.TEXT if is_prose(column) else InputKind.CATEGORY,
    }
    detail = f"{column.mean_words:.0f} words on average" if is_prose(column) else f"{column.distinct} values"
    if column.size:
        detail = f"{column.size} numbers in each row"
    if column.missing:
        detail += f", {column.missing / column.rows:.1%} missing"
    return Conclusion(
        column, Role.INPUT, detail + _read_as(column) + _sentinel(column) + blanks(column), kinds[column.type]
    )


def is_prose(column: ColumnSummary) -> bool:
    """Return whether the texts of a column are sentences."""
    varied = column.distinct > min(MOST_CATEGORIES, (column.rows - column.missing) / ROWS_OF_CATEGORY)
    return column.type is ColumnType.TEXT and varied and column.mean_words >= PROSE_WORDS


def number_texts(column: ColumnSummary) -> str:
    """Return why texts that look like numbers are none; empty where they do not."""
    mostly = column.number_share >= MOSTLY_NUMBERS and column.distinct > FEW_NUMBERS
    if column.type is not ColumnType.TEXT or not mostly or column.odd_text is None:
        return ""
    return (
        f"{column.number_share:.1%} look like numbers, but {column.odd_text!r} is none: write numbers as 1234.5; "
        "--missing names a text for a missing value"
    )


def _unfit(column: ColumnSummary) -> str:
    """Return why a column cannot be an input; empty if it can."""
    known = column.rows - column.missing
    if column.name in TAKEN:
        return "the platform keeps its answers under this name: rename the column to use it"
    if not known:
        return "empty"
    if column.problem:
        return f"lists, but no array: {column.problem}"
    if column.distinct < 2 and not column.missing:
        return "the same value in every row"
    if column.type is ColumnType.OTHER:
        return "a type that no model here takes"
    if numbers := number_texts(column):
        return numbers
    if len(column.time_formats) > 1:
        return "each text may be day/month or month/day: write times as 2024-01-31"
    if column.type is ColumnType.INT and _one_float(column):
        return "the numbers are so large and so near to each other that models cannot tell them apart"
    unique = column.distinct == known
    if unique and column.type is ColumnType.INT and (KEY_NAME.search(column.name) or column.counts_up):
        return "another number in every row: it names the row"
    if column.type is not ColumnType.TEXT or is_prose(column):
        return ""
    if unique:
        return "another text in every row: it names the row"
    if column.mean_length >= LONG_TEXT:
        return "long texts of few words: neither categories nor prose"
    if column.distinct > MOST_CATEGORIES:
        return f"{column.distinct} texts: more than the {MOST_CATEGORIES} that a category may have"
    if column.distinct > known / ROWS_OF_CATEGORY:
        return f"{column.distinct} texts in {known} rows: too few rows of each to learn from"
    return ""


def _read_as(column: ColumnSummary) -> str:
    forms = [form for form in column.time_formats if "%" in form]
    return f", read as {datetime(2024, 12, 31, 14, 5, tzinfo=UTC).strftime(forms[0])}" if forms else ""


def blanks(column: ColumnSummary) -> str:
    """Return a note about texts that begin or end with a blank, which a caller must then send, too."""
    odd = next((value for value in column.values if isinstance(value, str) and value != value.strip()), None)
    return "" if odd is None else f"; {odd!r} begins or ends with a blank, which counts"


def _sentinel(column: ColumnSummary) -> str:
    """Return a note about a number such as -999 that is far from the others, and may stand for a missing value."""
    for value, share in column.sentinels:
        return f"; {share:.1%} are {value:g}: if that stands for a missing value: --missing {value:g}"
    return ""


def _one_float(column: ColumnSummary) -> bool:
    if not isinstance(column.maximum, float) or not isinstance(column.minimum, float):
        return False
    step = float(np.spacing(np.float32(max(abs(column.maximum), abs(column.minimum)))))
    return step > 1 and step > (column.deviation or 0.0) / 10


def _moment(value: float, unit: str) -> datetime:
    if unit == "year":
        return datetime(int(value), 1, 1, tzinfo=UTC)
    if unit == "day":
        return datetime(int(value) // 10_000, int(value) // 100 % 100, int(value) % 100, tzinfo=UTC)
    return datetime.fromtimestamp(value * SECONDS[unit], UTC)
