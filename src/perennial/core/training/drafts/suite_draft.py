"""The suite of expectations that a table has taught, as YAML in the form of Great Expectations."""

from __future__ import annotations

from typing import Any

from perennial.core.input_spec import InputKind
from perennial.core.training.drafts.column_roles import Conclusion, Role
from perennial.core.training.drafts.table_columns import ColumnSummary
from perennial.core.training.drafts.table_profile import TableProfile
from perennial.core.training.drafts.thresholds import quote, rounded

MARGIN = 0.5
"""Part of the range by which a number may leave it on either side."""
MOSTLY = 0.95
"""Share of the rows that must have a known category."""
MORE_MISSING = 0.1
"""Rise of the share of missing values that is taken."""

MOST_RULES = 64
"""Largest array whose numbers get a rule each: checks take a time for each rule."""


def suite_text(name: str, profile: TableProfile) -> str:
    """Return the YAML of the suite: no missing values where there were none, known ranges, known categories."""
    rules = [
        _rule(
            "expect_table_row_count_to_be_between",
            {"min_value": profile.rows // 2},
            "half of the rows that taught these rules",
        )
    ]
    for conclusion in profile.columns:
        rules += _rules(conclusion, profile)
    lines = "\n".join(rules)
    time = profile.named(Role.TIME)
    freshness = ""
    if time is not None and profile.period is not None:
        freshness = (
            "freshness:\n  # No time may lie in the future. For live data set max_age, for example to P3D.\n"
            f"  column: {quote(time)}\n  of: now\n  max_age: null\n"
        )
    return (
        f"# Rules for the table of {name}, learnt from {profile.rows} rows by `perennial init`; in the configuration\n"
        "# form of Great Expectations. A rule that fails stops the training: correct the data, or the rule.\n"
        f"expectations:\n{lines}\n{freshness}"
    )


def _rules(conclusion: Conclusion, profile: TableProfile) -> list[str]:
    column, name = conclusion.column, conclusion.column.name
    if conclusion.role is Role.LEFT_OUT:
        return []
    rules = []
    share = column.missing / column.rows
    if not column.missing:
        rules.append(_rule("expect_column_values_to_not_be_null", {"column": name}))
    elif (least := _least(share)) > 0:
        rules.append(_rule("expect_column_values_to_not_be_null", {"column": name, "mostly": least}))
    if conclusion.role is Role.KEY and column.distinct == column.rows:
        rules.append(_rule("expect_column_values_to_be_unique", {"column": name}))
    if conclusion.role is Role.TARGET and profile.labels:
        values = {"column": name, "value_set": list(profile.labels)}
        rules.append(_rule("expect_column_values_to_be_in_set", values))
        rules.append(_rule("expect_column_distinct_values_to_contain_set", values, "each class must occur"))
    elif conclusion.kind is InputKind.CATEGORY:
        known = [str(value) for value in column.values]
        rules.append(
            _rule("expect_column_values_to_be_in_set", {"column": name, "value_set": known, "mostly": MOSTLY})
        )
    elif conclusion.kind is InputKind.ARRAY:
        rules += [
            _rule("expect_column_values_to_be_between", {"column": f"{name}[{place}]"} | _range(column))
            for place in range(column.size)
            if column.size <= MOST_RULES
        ]
    elif conclusion.kind in (InputKind.INT, InputKind.FLOAT) or conclusion.role is Role.TARGET:
        rules.append(_rule("expect_column_values_to_be_between", {"column": name} | _range(column)))
    return rules


def _range(column: ColumnSummary) -> dict[str, float]:
    low, high = float(_number(column.minimum)), float(_number(column.maximum))
    margin = MARGIN * (high - low) or 1.0
    lowest = 0.0 if low >= 0 and low - margin < 0 else rounded(low - margin)
    return {"min_value": min(lowest, low), "max_value": max(rounded(high + margin), high)}


def _least(missing: float) -> float:
    return round(max(0.0, 1 - missing - MORE_MISSING), 3)


def _number(value: Any) -> float:
    return value if isinstance(value, float) else 0.0


def _rule(kind: str, kwargs: dict[str, Any], why: str = "") -> str:
    text = f"  - type: {kind}\n    kwargs: {quote(kwargs)}"
    return f"{text}\n    description: {why}" if why else text
