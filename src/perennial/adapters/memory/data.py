"""Fakes of DataStore and Validator."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from perennial.core.data import CheckReport, DataRevision, FailedRule
from perennial.core.expectations import Expectation, Suite
from perennial.errors import DatasetMissing, SpecError
from perennial.history.suites import read_suite


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

    def latest(self) -> DataRevision | None:
        return None if self._latest is None else self._revisions[self._latest]


class MemoryValidator:
    """A Validator for the expectation types of the shipped suites, in pandas; writes no docs."""

    def check(self, suite: Path, table: pd.DataFrame, docs: Path, reference: datetime) -> CheckReport:
        rules = read_suite(suite).rules(reference)
        failed = [rule for rule in (_judge(one, table) for one in rules) if rule is not None]
        return CheckReport(
            suite=suite.stem, table=suite.stem, rows=len(table), rules=len(rules), failed=tuple(failed)
        )


def _judge(rule: Expectation, table: pd.DataFrame) -> FailedRule | None:
    column = rule.kwargs.get("column")
    if column is not None and column not in table.columns:
        return FailedRule(rule=rule.type, column=column, observed="the table has no such column")
    if rule.type not in _ROW_RULES and rule.type not in _TABLE_RULES:
        raise SpecError(f"the fake knows no {rule.type}", hint="use the Great Expectations adapter")
    if rule.type in _TABLE_RULES:
        observed = _TABLE_RULES[rule.type](table, rule.kwargs)
        return FailedRule(rule=rule.type, column=column, observed=observed) if observed else None
    wrong = _ROW_RULES[rule.type](table[column], rule.kwargs)
    if not wrong.any():
        return None
    rows = tuple(table[wrong.to_numpy()].head(3).to_dict("records"))
    return FailedRule(rule=rule.type, column=column, observed=f"{wrong.sum()} rows", rows=rows)


def _outside(values: pd.Series, kwargs: Mapping[str, Any]) -> pd.Series:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    wrong = pd.Series(False, index=values.index)
    wrong |= (values < low) if low is not None else False
    wrong |= (values > high) if high is not None else False
    return wrong


def _columns(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> str | None:
    names, wanted = list(table.columns), list(kwargs["column_list"])
    return None if names == wanted else f"columns {names}"


def _row_count(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> str | None:
    return f"{len(table)} rows" if _outside(pd.Series([len(table)]), kwargs).any() else None


def _maximum(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> str | None:
    newest = table[kwargs["column"]].max()
    return str(newest) if _outside(pd.Series([newest]), kwargs).any() else None


def _of_type(table: pd.DataFrame, kwargs: Mapping[str, Any]) -> str | None:
    found = str(table[kwargs["column"]].dtype)
    return None if found == kwargs["type_"] else found


_ROW_RULES: dict[str, Callable[[pd.Series, Mapping[str, Any]], pd.Series]] = {
    "expect_column_values_to_not_be_null": lambda values, _: values.isna(),
    "expect_column_values_to_be_unique": lambda values, _: values.duplicated(keep=False),
    "expect_column_values_to_be_in_set": lambda values, k: values.notna() & ~values.isin(k["value_set"]),
    "expect_column_values_to_be_between": _outside,
}
_TABLE_RULES: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], str | None]] = {
    "expect_table_columns_to_match_ordered_list": _columns,
    "expect_table_row_count_to_be_between": _row_count,
    "expect_column_max_to_be_between": _maximum,
    "expect_column_values_to_be_of_type": _of_type,
}
