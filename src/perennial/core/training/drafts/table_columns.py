"""Summaries of the columns of a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from perennial.core.tasks.values import Label


class ColumnType(StrEnum):
    """Type of a column in the file."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TEXT = "text"
    TIMESTAMP = "timestamp"
    ARRAY = "array"
    OTHER = "other"


@dataclass(frozen=True)
class ColumnSummary:
    """Summary of a column."""

    name: str
    type: ColumnType
    rows: int
    missing: int
    distinct: int
    minimum: float | datetime | None = None
    """Bounds of numbers (of an array, over all its numbers) and of times."""
    maximum: float | datetime | None = None
    mean: float | None = None
    """Mean and deviation of numbers."""
    deviation: float | None = None
    whole: bool = False
    """Every number is whole."""
    mean_length: float = 0.0
    """Mean length of texts in characters."""
    mean_words: float = 0.0
    """Mean number of words of texts."""
    time_formats: tuple[str, ...] = ()
    """Formats in which every text is a time; several where day and month may be swapped."""
    time_unit: str | None = None
    """Unit in which every number may be a time, such as year, or second since 1970."""
    sentinels: tuple[tuple[float, float], ...] = ()
    """Numbers such as -999 with the share of their rows, where they are frequent and far from the others."""
    number_share: float = 0.0
    """Share of the texts that are numbers."""
    odd_text: str | None = None
    """A text that is no number."""
    values: tuple[Label, ...] = ()
    """The distinct values, sorted, where they are few; else empty."""
    counts: tuple[int, ...] = ()
    """Rows of each of `values`."""
    size: int = 0
    """Numbers in each value of an array."""
    problem: str = ""
    """Why lists are no array."""

    @property
    def counts_up(self) -> bool:
        """Return whether the numbers are exactly those between lowest and highest."""
        if isinstance(self.minimum, float) and isinstance(self.maximum, float):
            return self.maximum - self.minimum == self.distinct - 1
        return False

    def labels(self) -> tuple[Label, ...]:
        """Return the values as labels: whole numbers as integers."""
        is_whole = self.type is ColumnType.FLOAT and self.whole
        return tuple(int(value) if is_whole else value for value in self.values)

    def span_seconds(self) -> float:
        """Return the time from the earliest to the latest value."""
        if isinstance(self.minimum, datetime) and isinstance(self.maximum, datetime):
            return (self.maximum - self.minimum).total_seconds()
        return 0.0
