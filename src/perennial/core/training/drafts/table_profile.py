"""Conclusions about a table from summaries of its columns: task, key, time, group, inputs, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

from perennial.core.data_spec import Split
from perennial.core.tasks.values import Label
from perennial.core.training.drafts.column_roles import (
    TAKEN,
    Conclusion,
    Role,
    as_input,
    as_time,
    blanks,
    find_group,
    find_key,
    find_time,
    number_texts,
)
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType
from perennial.errors import DataError

TaskKind = Literal["binary", "multiclass", "regression", "forecast"]
FEWEST_ROWS = 40
MOST_CLASSES, MOST_WHOLE_CLASSES, MOST_CODES = 100, 20, 10
"""Most values of a target that are classes: texts, whole numbers that count up from 0 or 1, other whole numbers."""
FEWEST_OF_CLASS = 5
"""Rows of the rarest value below which whole numbers are amounts."""
PERIODS = tuple(
    timedelta(seconds=seconds) for seconds in (1, 60, 3600, 86_400, 604_800, 2_419_200, 31_536_000)
)
MOST_PERIODS = 1000


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
    drops_unlabelled: bool = False
    """Rows without a target are left out."""
    is_holdout: bool = False
    """The rows judge a finished model: a class may have few of them."""


def conclude(columns: Sequence[ColumnSummary], given: Given) -> TableProfile:
    """Conclude what a table is for.

    Raises:
        DataError: a named column is not there, the target cannot be learnt, or nothing is left to learn from.
    """
    by_name = {column.name: column for column in columns}
    for name in (given.target, given.key, given.time, given.group):
        if name is not None and name not in by_name:
            raise DataError(
                f"the table has no column {name!r}",
                hint=f"it has {', '.join(by_name)[:500]}; the first line of a CSV file names its columns",
            )
    target = by_name[given.target]
    if target.name in TAKEN:
        raise DataError(
            f"the platform keeps its answers under the name {target.name!r}",
            hint="rename the column in the file",
        )
    if (rows := target.rows - target.missing) < FEWEST_ROWS:
        of_all = f", of which {rows} have {target.name}" if target.missing else ""
        raise DataError(f"the table has {target.rows} rows{of_all}", hint=f"bring at least {FEWEST_ROWS}")
    if target.missing and not given.drops_unlabelled:
        raise DataError(
            f"{target.missing} of {target.rows} rows have no {target.name}",
            hint="remove these rows, or name another target; `init --drop-unlabelled` leaves them out for good",
        )
    task, task_reason, labels = _task(target, given)
    roles: dict[str, Conclusion] = {target.name: Conclusion(target, Role.TARGET, task_reason)}
    others = [column for column in columns if column.name != target.name]
    for role, named, find in (
        (Role.KEY, given.key, find_key),
        (Role.TIME, given.time, find_time),
        (Role.GROUP, given.group, find_group),
    ):
        free = [column for column in others if column.name not in roles]
        chosen = (
            (by_name[named], "you named it") if named is not None else find(free, Role.TIME in _in(roles))
        )
        if chosen is not None:
            column, reason = chosen
            column = as_time(column) if role is Role.TIME else column
            roles[column.name] = Conclusion(column, role, reason)
    for column in others:
        if column.name not in roles:
            roles[column.name] = as_input(column)
    split, why, period = _split(roles)
    profile = TableProfile(
        rows, task, task_reason, labels, split, why, period, tuple(roles[c.name] for c in columns)
    )
    if not profile.inputs:
        reasons = "; ".join(
            f"{c.column.name}: {c.reason}" for c in profile.columns if c.role is not Role.TARGET
        )
        raise DataError(f"no column is left to learn from: {reasons[:600]}", hint="bring other columns")
    return profile


def _in(roles: dict[str, Conclusion]) -> set[Role]:
    return {conclusion.role for conclusion in roles.values()}


def _task(target: ColumnSummary, given: Given) -> tuple[TaskKind, str, tuple[Label, ...]]:
    if target.distinct < 2:
        raise DataError(
            f"{target.name} has a single value", hint="there is nothing to learn: name another target"
        )
    number = target.type in (ColumnType.INT, ColumnType.FLOAT)
    if given.task != "multiclass" and (not_numbers := number_texts(target)):
        raise DataError(
            f"{target.name}: {not_numbers}", hint="mend the column: a target of numbers is not read as text"
        )
    whole = target.type is ColumnType.INT or (target.type is ColumnType.FLOAT and target.whole)
    few = target.distinct <= (MOST_WHOLE_CLASSES if number else MOST_CLASSES)
    if given.task is not None:
        kind, why = given.task, "you named the task"
    elif target.distinct == 2:
        kind, why = "binary", "two values"
    elif number and not (whole and few and _are_codes(target, given.is_holdout)):
        kind, why = "regression", f"a number with {target.distinct} values"
        if whole and few:
            why += "; if each is a class: --task multiclass"
    elif number:
        kind = "multiclass"
        why = f"{target.distinct} whole numbers, each a class; if they are amounts: --task regression"
    else:
        kind, why = "multiclass", f"{target.distinct} texts, each a class"
    if kind == "multiclass" and target.counts and min(target.counts) < FEWEST_OF_CLASS:
        rarest = target.counts.index(min(target.counts))
        why += f"; {target.values[rarest]!r} has only {_rows(target.counts[rarest])}"
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
    if given.positive is not None:
        chosen = [label for label in labels if str(label) == given.positive]
        if kind != "binary" or not chosen:
            raise DataError(
                f"--positive {given.positive!r} is no value of {target.name} with two", hint=f"{labels}"
            )
        labels = (*(label for label in labels if label != chosen[0]), chosen[0])
    if kind == "binary":
        why = f"{why}; {labels[1]!r} is positive"
    return kind, why + blanks(target), labels


def _are_codes(target: ColumnSummary, is_holdout: bool) -> bool:
    """Return whether few whole numbers are classes: all frequent, and of more than ten, numbered from 0 or 1."""
    numbered = target.minimum in (0.0, 1.0) and target.counts_up
    frequent = is_holdout or min(target.counts) >= FEWEST_OF_CLASS
    return frequent and (target.distinct <= MOST_CODES or numbered)


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


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
