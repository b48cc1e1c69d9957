"""Fakes of DataStore and Validator."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from perennial.core.training.data import CheckReport, DataRevision, FailedRule
from perennial.core.training.expectations import Expectation, Suite
from perennial.errors import DatasetMissing, SpecError


class MemoryData:
    """A DataStore in a dictionary; a revision is the hash of names and bytes."""

    def __init__(self) -> None:
        self._contents: dict[str, dict[str, bytes]] = {}
        self._revisions: dict[str, DataRevision] = {}
        self._latest: str | None = None

    def commit(self, files: Mapping[str, Path], message: str) -> DataRevision:
        missing = [str(source) for source in files.values() if not source.is_file()]
        if missing:
            raise DatasetMissing(f"{missing[0]} is not there", hint="prepare it first")
        contents = {name: source.read_bytes() for name, source in sorted(files.items())}
        hashes = {name: hashlib.md5(b, usedforsecurity=False).hexdigest() for name, b in contents.items()}
        revision = hashlib.sha256(repr(hashes).encode()).hexdigest()[:40]
        if revision not in self._revisions:
            self._contents[revision] = contents
            self._revisions[revision] = DataRevision(revision=revision, files=hashes, message=message)
        self._latest = revision
        return self._revisions[revision]

    def checkout(self, revision: str, into: Path) -> None:
        if revision not in self._contents:
            raise DatasetMissing(f"no data revision {revision!r}", hint="prepare the data")
        for name, content in self._contents[revision].items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(content)

    def fetch(self, files: Mapping[str, str], into: Path) -> None:
        for name, expected in files.items():
            contents = (content.get(name) for content in self._contents.values())
            hashed = {
                hashlib.md5(content, usedforsecurity=False).hexdigest(): content
                for content in contents
                if content
            }
            if expected not in hashed:
                raise DatasetMissing(f"{name} (md5 {expected}) is not in the remote", hint="prepare the data")
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(hashed[expected])

    def latest(self) -> DataRevision | None:
        return None if self._latest is None else self._revisions[self._latest]


class MemoryValidator:
    """A Validator for the expectation types of the shipped suites, in pandas; writes no docs."""

    def check(self, suite: Suite, table: pd.DataFrame, docs: Path) -> CheckReport:
        judged = [_judge(rule, table) for rule in suite.expectations]
        return CheckReport(
            suite=suite.name,
            table=suite.name,
            rows=len(table),
            rules=len(suite.expectations),
            failed=tuple(rule for rule in judged if rule is not None),
        )


def _judge(rule: Expectation, table: pd.DataFrame) -> FailedRule | None:
    try:
        return _judge_values(rule, table)
    except TypeError as error:
        # Values of a kind that the rule cannot compare: the rule does not hold.
        return FailedRule(rule=rule.type, column=rule.about, observed=f"could not be checked: {error}")


def _judge_values(rule: Expectation, table: pd.DataFrame) -> FailedRule | None:
    if rule.type not in _ROW_RULES and rule.type not in _TABLE_RULES:
        raise SpecError(f"{rule.type} not found", hint="the fake knows the rules of the shipped suites")
    column = rule.kwargs.get("column")
    if column is not None and column not in table.columns:
        return FailedRule(rule=rule.type, column=column, observed="the table has no such column")
    if rule.type in _TABLE_RULES:
        observed = _TABLE_RULES[rule.type](table, rule.kwargs)
        if observed is None:
            return None
        return FailedRule(rule=rule.type, column=rule.about, observed=f"{observed}; wanted: {rule.wanted}")
    wrong = _ROW_RULES[rule.type](table, rule.kwargs).to_numpy()
    if not wrong.any():
        return None
    observed = f"{wrong.sum()} rows"
    return FailedRule(
        rule=rule.type,
        column=rule.about,
        observed=f"{observed}; wanted: {rule.wanted}" if rule.wanted else observed,
        rows=tuple(json.loads(table[wrong].head(3).to_json(orient="records", date_format="iso"))),
    )


Kwargs = Mapping[str, Any]


def _outside(values: pd.Series, kwargs: Kwargs) -> pd.Series:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    wrong = pd.Series(False, index=values.index)
    wrong |= (values < low) if low is not None else False
    wrong |= (values > high) if high is not None else False
    return wrong


def _not_above(table: pd.DataFrame, kwargs: Kwargs) -> pd.Series:
    larger, smaller = table[kwargs["column_A"]], table[kwargs["column_B"]]
    return larger < smaller if kwargs.get("or_equal") else larger <= smaller


def _columns(table: pd.DataFrame, kwargs: Kwargs) -> str | None:
    names = list(table.columns)
    return None if names == list(kwargs["column_list"]) else str(names)


def _aggregate(value: Any, kwargs: Kwargs) -> str | None:
    return str(value) if _outside(pd.Series([value]), kwargs).any() else None


def _of_type(table: pd.DataFrame, kwargs: Kwargs) -> str | None:
    values = table[kwargs["column"]]
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        found = "Timestamp"
    elif values.dtype == object:
        found = ", ".join(sorted({type(value).__name__ for value in values.dropna()}))
    else:
        found = str(values.dtype)
    return None if found == kwargs["type_"] else found


_ROW_RULES: dict[str, Callable[[pd.DataFrame, Kwargs], pd.Series]] = {
    "expect_column_values_to_not_be_null": lambda table, k: table[k["column"]].isna(),
    "expect_column_values_to_be_unique": lambda table, k: table[k["column"]].duplicated(keep=False),
    "expect_column_values_to_be_in_set": lambda table, k: (
        table[k["column"]].notna() & ~table[k["column"]].isin(k["value_set"])
    ),
    "expect_column_values_to_be_between": lambda table, k: _outside(table[k["column"]], k),
    "expect_column_pair_values_a_to_be_greater_than_b": _not_above,
    "expect_compound_columns_to_be_unique": lambda table, k: table.duplicated(k["column_list"], keep=False),
}
_TABLE_RULES: dict[str, Callable[[pd.DataFrame, Kwargs], str | None]] = {
    "expect_table_columns_to_match_ordered_list": _columns,
    "expect_table_row_count_to_be_between": lambda table, k: _aggregate(len(table), k),
    "expect_column_max_to_be_between": lambda table, k: _aggregate(table[k["column"]].max(), k),
    "expect_column_mean_to_be_between": lambda table, k: _aggregate(table[k["column"]].mean(), k),
    "expect_column_values_to_be_of_type": _of_type,
}
