"""Plan, counts and report of a batch."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.errors import UsageError

ROW, VERSION = "row", "model_version"
"""Columns of every result: the number of the row in the input, from 1, and the version that answered."""


class BatchPlan(Frozen):
    """Everything that decides on the result of a batch: a run goes on only with parts of the same plan."""

    model: str
    version: str
    digest: str = Field(description="of the version")
    source: str = Field(description="the file, or the query with its connection")
    revision: str = Field(description="SHA-256 over the rows of the input")
    copied: tuple[str, ...] = Field(description="columns of the input that the result has, too")
    features: str = Field("", description="values of the feature store that were joined; empty: none")
    part_rows: int = Field(ge=1, description="rows of a part, the last one excepted")

    def differences(self, earlier: BatchPlan) -> list[str]:
        """Return in words what an earlier plan has otherwise."""
        return [
            f"{name} was {getattr(earlier, name)}, is {getattr(self, name)}"
            for name in type(self).model_fields
            if getattr(earlier, name) != getattr(self, name)
        ]


class BatchCounts(Frozen):
    """Rows of a batch or a part: each is either scored or rejected."""

    scored: int = 0
    rejected: int = 0

    @property
    def read(self) -> int:
        return self.scored + self.rejected

    @classmethod
    def total(cls, parts: Iterable[BatchCounts]) -> BatchCounts:
        """Return the sum."""
        counts = list(parts)
        return cls(scored=sum(part.scored for part in counts), rejected=sum(part.rejected for part in counts))


class BatchReport(Frozen):
    """Result of a batch."""

    model: str
    version: str
    digest: str
    source: str
    revision: str
    features: str = ""
    read: int
    scored: int
    rejected: int
    out: str
    rejected_to: str | None = Field(description="null: no row was rejected")
    resumed_parts: int = Field(description="parts that an earlier, killed run had finished")


def check_names(copied: Collection[str], predicted: Collection[str]) -> None:
    """Refuse columns to copy whose names the result has already.

    Raises:
        UsageError: names them.
    """
    if twice := sorted(set(copied) & {ROW, VERSION, *predicted}):
        raise UsageError(
            f"the result would have {', '.join(twice)} twice: from the input and from the model",
            hint="rename the column in the input",
        )
