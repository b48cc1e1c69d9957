"""Conclusions about a table from summaries of its columns: task, key, time, group, inputs, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from perennial.core.data_spec import Split
from perennial.core.input_spec import InputKind
from perennial.core.tasks.values import Label
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType
from perennial.errors import DataError

TaskKind = Literal["binary", "multiclass", "regression", "forecast"]
FEWEST_ROWS = 40
TAKEN = frozenset({"score", "decision", "right"})
"""Columns of the reference rows of a version."""
MOST_CLASSES, MOST_WHOLE_CLASSES = 100, 20
"""Most values of a target that are classes: texts, and whole numbers."""
MOST_CATEGORIES = 200
"""Most values of a text that is a category."""
MOSTLY_NUMBERS = 0.5
"""Share of numbers from which texts are taken for numbers with another sign for a missing value."""
LONG_TEXT = 40
"""Mean length from which a text is prose."""
KEY_NAME = re.compile(
    r"(?i)(^|[_\s-])(id|key|uuid|guid|index|rownum|row|unnamed)([_\s-]|$)|^column0+$|(?<=[a-z])I[dD]$"
)
PERIODS = tuple(
    timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400, 604_800, 2_419_200, 31_536_000)
)
MOST_PERIODS = 1000


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


@dataclass(frozen=True)
class TableProfile:
    """Everything that was concluded about a table."""

    rows: int
    task: TaskKind
    task_reason: str
    labels: tuple[Label, ...]
    """Values of the target in order; the second is the positive one of a binary task. Empty for a regression."""
    split: Split
    split_reason: str
    period: timedelta | None
    columns: tuple[Conclusion, ...]

    def named(self, role: Role) -> str | None:
        """Return the name of the column in a role that only one column can have."""
        return next((conclusion.column.name for conclusion in self.columns if conclusion.role is role), None)

    @property
    def target(self) -> ColumnSummary:
        return next(conclusion.column for conclusion in self.columns if conclusion.role is Role.TARGET)

    @property
    def inputs(self) -> dict[str, Conclusion]:
        return {
            conclusion.column.name: conclusion for conclusion in self.columns if conclusion.role is Role.INPUT
        }

    def without(self, reasons: dict[str, str]) -> TableProfile:
        """Return the profile with columns left out: name -> reason."""
        columns = tuple(
            Conclusion(conclusion.column, Role.LEFT_OUT, reasons[conclusion.column.name])
            if conclusion.column.name in reasons
            else conclusion
            for conclusion in self.columns
        )
        return replace(self, columns=columns)


@dataclass(frozen=True)
class Given:
    """Statements of a person; None where it is to be concluded."""

    target: str
    task: TaskKind | None = None
    key: str | None = None
    time: str | None = None
    group: str | None = None
    positive: str | None = None


def conclude(columns: Sequence[ColumnSummary], given: Given) -> TableProfile:
    """Conclude what a table is for.

    Raises:
        DataError: a named column is not there, the target cannot be learnt, or nothing is left to learn from.
    """
    by_name = {column.name: column for column in columns}
    for name in (given.target, given.key, given.time, given.group):
        if name is not None and name not in by_name:
            raise DataError(f"the table has no column {name!r}", hint=f"it has {', '.join(by_name)[:500]}")
    target = by_name[given.target]
    if target.name in TAKEN:
        raise DataError(
            f"the platform keeps its answers under the name {target.name!r}",
            hint="rename the column in the file",
        )
    if target.rows < FEWEST_ROWS:
        raise DataError(f"the table has {target.rows} rows", hint=f"bring at least {FEWEST_ROWS}")
    task, task_reason, labels = _task(target, given.task, given.positive)
    roles: dict[str, Conclusion] = {target.name: Conclusion(target, Role.TARGET, task_reason)}
    others = [column for column in columns if column.name != target.name]
    for role, named, find in (
        (Role.KEY, given.key, _key),
        (Role.TIME, given.time, _time),
        (Role.GROUP, given.group, _group),
    ):
        free = [column for column in others if column.name not in roles]
        chosen = (
            (by_name[named], "you named it") if named is not None else find(free, Role.TIME in _in(roles))
        )
        if chosen is not None:
            column, reason = chosen
            roles[column.name] = Conclusion(column, role, reason)
    for column in others:
        if column.name not in roles:
            roles[column.name] = _input(column)
    split, why, period = _split(roles)
    profile = TableProfile(
        target.rows, task, task_reason, labels, split, why, period, tuple(roles[c.name] for c in columns)
    )
    if not profile.inputs:
        raise DataError("no column is left to learn from", hint="see the reasons, or bring other columns")
    return profile


def _in(roles: dict[str, Conclusion]) -> set[Role]:
    return {conclusion.role for conclusion in roles.values()}


def _task(
    target: ColumnSummary, given: TaskKind | None, positive: str | None
) -> tuple[TaskKind, str, tuple[Label, ...]]:
    if target.missing:
        raise DataError(
            f"{target.missing} of {target.rows} rows have no {target.name}",
            hint="a row without its target teaches nothing: remove these rows, or name another target",
        )
    if target.distinct < 2:
        raise DataError(
            f"{target.name} has a single value", hint="there is nothing to learn: name another target"
        )
    number = target.type in (ColumnType.INT, ColumnType.FLOAT)
    whole = target.type is ColumnType.INT or (target.type is ColumnType.FLOAT and target.whole)
    few = target.distinct <= (MOST_WHOLE_CLASSES if number else MOST_CLASSES)
    if given is not None:
        kind, why = given, "you named the task"
    elif target.distinct == 2:
        kind, why = "binary", "two values"
    elif number and not (whole and few):
        kind, why = "regression", f"a number with {target.distinct} values"
    elif number:
        kind = "multiclass"
        why = f"{target.distinct} whole numbers, each a class; if they are amounts: --task regression"
    else:
        kind, why = "multiclass", f"{target.distinct} texts, each a class"
    if kind == "regression":
        if not number:
            raise DataError(f"{target.name} is no number", hint="a regression needs a number as target")
        return kind, why, ()
    if target.type in (ColumnType.TIMESTAMP, ColumnType.OTHER) or not few:
        raise DataError(
            f"{target.name} has {target.distinct} values: too many classes",
            hint=f"name a target with at most {MOST_CLASSES} values, or --task regression for a number",
        )
    if kind == "binary" and target.distinct != 2:
        raise DataError(f"{target.name} has {target.distinct} values", hint="a binary task has two")
    labels = target.labels()
    if positive is not None:
        chosen = [label for label in labels if str(label) == positive]
        if kind != "binary" or not chosen:
            raise DataError(
                f"--positive {positive!r} is no value of {target.name} with two", hint=f"{labels}"
            )
        labels = (*(label for label in labels if label != chosen[0]), chosen[0])
    if kind == "binary":
        why = f"{why}; {labels[1]!r} is the positive one"
    return kind, why, labels


def _key(columns: Sequence[ColumnSummary], timed: bool) -> tuple[ColumnSummary, str] | None:
    for column in columns:
        unique = column.distinct == column.rows and not column.missing
        if unique and column.type in (ColumnType.TEXT, ColumnType.INT) and KEY_NAME.search(column.name):
            return column, "another value in every row, and the name of a key"
    return None


def _time(columns: Sequence[ColumnSummary], timed: bool) -> tuple[ColumnSummary, str] | None:
    times = [column for column in columns if column.type is ColumnType.TIMESTAMP and not column.missing]
    if not times:
        return None
    others = f"; also times: {', '.join(column.name for column in times[1:])}" if len(times) > 1 else ""
    return times[0], f"the first column of times{others}"


def _group(columns: Sequence[ColumnSummary], timed: bool) -> tuple[ColumnSummary, str] | None:
    if timed:
        return None
    for column in columns:
        repeats = 20 <= column.distinct <= column.rows / 2 and not column.missing
        if repeats and column.type in (ColumnType.TEXT, ColumnType.INT) and KEY_NAME.search(column.name):
            each = column.rows / column.distinct
            return column, f"the name of a key, and {each:.1f} rows for each value: they must stay together"
    return None


def _input(column: ColumnSummary) -> Conclusion:
    out = _unfit(column)
    if out:
        return Conclusion(column, Role.LEFT_OUT, out)
    kinds = {
        ColumnType.INT: InputKind.INT,
        ColumnType.FLOAT: InputKind.FLOAT,
        ColumnType.BOOL: InputKind.BOOL,
        ColumnType.TIMESTAMP: InputKind.TIMESTAMP,
        ColumnType.TEXT: InputKind.CATEGORY,
    }
    kind = kinds[column.type]
    detail = f"{column.distinct} values"
    if column.missing:
        detail += f", {column.missing / column.rows:.1%} missing"
    return Conclusion(column, Role.INPUT, detail, kind)


def _unfit(column: ColumnSummary) -> str:
    """Return why a column cannot be an input; empty if it can."""
    if column.name in TAKEN:
        return "the platform keeps its answers under this name: rename the column to use it"
    if column.missing == column.rows:
        return "empty"
    if column.distinct < 2 and not column.missing:
        return "the same value in every row"
    if column.type is ColumnType.OTHER:
        return "a type that no model here takes"
    mostly = column.number_share >= MOSTLY_NUMBERS and column.distinct > MOST_WHOLE_CLASSES
    if column.type is ColumnType.TEXT and mostly:
        example = column.odd_text or "a text"
        return (
            f"{column.number_share:.1%} look like numbers, but {example!r} is none: write numbers as 1234.5; "
            "--missing names a text for a missing value"
        )
    unique = column.distinct == column.rows - column.missing
    if unique and column.type is ColumnType.TEXT:
        return "another text in every row: it names the row"
    if unique and column.type is ColumnType.INT and (KEY_NAME.search(column.name) or column.counts_up):
        return "another number in every row: it names the row"
    if column.type is ColumnType.TEXT and column.mean_length >= LONG_TEXT:
        return "prose: texts are no inputs yet"
    if column.type is ColumnType.TEXT and column.distinct > MOST_CATEGORIES:
        return f"{column.distinct} texts: more than the {MOST_CATEGORIES} that a category may have"
    return ""


def _split(roles: dict[str, Conclusion]) -> tuple[Split, str, timedelta | None]:
    by_role = {conclusion.role: conclusion.column for conclusion in roles.values()}
    if Role.TIME in by_role:
        column = by_role[Role.TIME]
        if column.type is ColumnType.INT:
            return Split.TIME, f"{column.name} orders the rows: the latest are held back", None
        if column.type is not ColumnType.TIMESTAMP:
            raise DataError(f"{column.name} holds no times", hint="--time names times or whole numbers")
        seconds = column.span_seconds()
        period = next(
            (period for period in PERIODS if seconds / period.total_seconds() <= MOST_PERIODS), PERIODS[-1]
        )
        return Split.TIME, f"{column.name} orders the rows: the latest are held back", period
    if Role.GROUP in by_role:
        return Split.GROUP, f"rows of one {by_role[Role.GROUP].name} stay on one side", None
    return Split.RANDOM, "no column of times: rows are drawn by a hash, equal rows together", None
