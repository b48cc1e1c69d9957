"""Suites of data checks, as written in `configs/expectations/<suite>.yaml`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from perennial.core.frozen import Frozen

NOW = "now"
ROWS = (
    "expect_column_values_", "expect_column_value_lengths_", "expect_column_pair_values_", "expect_multicolumn_",
    "expect_select_column_values_",
)  # fmt: skip
"""Beginnings of the names of rules about each row; the library names them so."""
ORDERED = ("_unique", "_increasing", "_decreasing", "_of_type", "_in_type_list")
"""Ends of those that speak of the whole table or of its storage all the same."""


class Expectation(Frozen):
    """A rule in the configuration form of Great Expectations."""

    type: Annotated[str, Field(pattern=r"^expect_[a-z0-9_]+$")]
    kwargs: dict[str, Any] = Field(default_factory=dict)
    description: str | None = Field(None, description="reason of the rule, for people")

    @property
    def about(self) -> str | None:
        """Return the column names, comma-separated; None for a rule about the whole table."""
        if self.type.startswith("expect_table_"):
            return None
        named = [self.kwargs[key] for key in ("column", "column_A", "column_B") if key in self.kwargs]
        return ", ".join([*named, *self.kwargs.get("column_list", [])]) or None

    @property
    def is_about_rows(self) -> bool:
        """Return whether the rule holds for each row by itself, so that live rows have to keep it too.

        Not one with a condition: that may be about columns which only the training data has.
        """
        return self.type.startswith(ROWS) and not self.type.endswith(ORDERED) and self.condition is None

    @property
    def condition(self) -> Any:
        """Return the condition on the rows that the rule is about; None for all."""
        return self.kwargs.get("row_condition")

    @property
    def wanted(self) -> str:
        """Return the arguments of the rule as text."""
        hidden = {"column_list"} if self.about else set()
        hidden |= {"column", "column_A", "column_B"}
        return ", ".join(f"{key} {value}" for key, value in self.kwargs.items() if key not in hidden)


class Freshness(Frozen):
    """Limits for the newest value of a time column, relative to a reference time."""

    column: str
    of: Annotated[str, Field(pattern=r"^(now|\w+\.\w+)$")] = Field(
        description="`now`: the time of the check, no value may be later; or `table.column`: its newest value"
    )
    max_age: timedelta | None = Field(description="null: any age, for a history that is replayed")

    @model_validator(mode="after")
    def names_a_limit(self) -> Self:
        if self.of != NOW and self.max_age is None:
            raise ValueError("max_age is needed where `of` names a table")
        return self

    def rule(self, reference: datetime) -> Expectation:
        """Return the expectation for a reference time."""
        bounds: dict[str, Any] = {}
        if self.max_age is not None:
            bounds["min_value"] = reference - self.max_age
        if self.of == NOW:
            bounds["max_value"] = reference
        return Expectation(
            type="expect_column_max_to_be_between",
            kwargs={"column": self.column} | bounds,
            description=f"freshness, measured from {self.of}",
        )


class Suite(Frozen):
    """Rules for a table; `name` is the stem of the file."""

    name: str
    expectations: tuple[Expectation, ...] = Field(min_length=1)
    freshness: Freshness | None = None

    def at(self, reference: datetime | None) -> Suite:
        """Return the suite with its freshness as a plain rule.

        Args:
            reference: the time that `freshness.of` names; None only for a suite without freshness.
        """
        if self.freshness is None:
            return self
        if reference is None:
            raise ValueError(f"suite {self.name} has a freshness rule and needs a reference time")
        rules = (*self.expectations, self.freshness.rule(reference))
        return Suite(name=self.name, expectations=rules)
