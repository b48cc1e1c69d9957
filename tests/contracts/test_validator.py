"""The Validator port: the same cases over the fake and over Great Expectations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from doubles.data import MemoryValidator

from perennial import catalog
from perennial.core.training.expectations import Expectation, Freshness, Suite
from perennial.errors import SpecError
from perennial.history import prepare
from perennial.history.simulator import SimulationScenario, simulate

SUITES = Path(__file__).resolve().parents[2] / "configs" / "expectations"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["memory", "great_expectations"])
def validator(request):
    if request.param == "memory":
        return MemoryValidator()
    from perennial.adapters.gx_validator import GxValidator

    return GxValidator()


@pytest.fixture(scope="module")
def history():
    return simulate(SimulationScenario(cycles=12, tests=60))


@pytest.fixture
def history_suite():
    return catalog.suite(SUITES / "ci_history.yaml").at(NOW)


def failed(validator, suite, table, docs):
    return {(rule.rule, rule.column): rule for rule in validator.check(suite, table, docs).failed}


def test_a_good_history_passes_every_rule(validator, history, history_suite, tmp_path):
    report = validator.check(history_suite, history, tmp_path)
    assert report.ok, report.failed
    assert (report.rows, report.rules) == (len(history), len(history_suite.expectations))


def test_good_features_pass_every_rule(validator, history, tmp_path):
    views = prepare.prepare(history).views
    suite = catalog.suite(SUITES / "test_execution_features.yaml")
    newest = history["started_at"].max().to_pydatetime()
    assert validator.check(suite.at(newest), views[prepare.TEST_VIEW], tmp_path).failed == ()


@pytest.mark.parametrize(
    ("spoil", "rule", "column", "rows"),
    [
        (lambda t: t.assign(verdict=t["verdict"].where(t.index != 3, 7)), "in_set", "verdict", 1),
        (lambda t: t.assign(test_id=t["test_id"].where(t.index > 1)), "not_be_null", "test_id", 2),
        (
            lambda t: t.assign(duration_ms=t["duration_ms"].where(t.index > 4, -1)),
            "between",
            "duration_ms",
            3,
        ),
        (lambda t: pd.concat([t, t.tail(1)]), "be_unique", "execution_id", 2),
        (lambda t: t.assign(cycle=t["cycle"].astype("float64")), "of_type", "cycle", 0),
        (lambda t: t.assign(verdict=(t["verdict"] * 0 + 1).astype("int8")), "mean", "verdict", 0),
        (lambda t: t.head(10), "row_count", None, 0),
        (lambda t: t.assign(started_at=t["started_at"] + timedelta(days=900)), "max", "started_at", 0),
    ],
)
def test_a_bad_table_names_rule_column_and_sample_rows(
    validator, history, history_suite, tmp_path, spoil, rule, column, rows
):
    table = spoil(history)
    found = failed(validator, history_suite, table, tmp_path)
    key = next((key for key in found if rule in key[0] and key[1] == column), None)
    assert key, found
    sample = found[key].rows
    assert len(sample) == rows
    assert all(set(row) == set(table.columns) for row in sample)


def test_a_renamed_column_is_named(validator, history, history_suite, tmp_path):
    found = failed(validator, history_suite, history.rename(columns={"verdict": "result"}), tmp_path)
    whole = found["expect_table_columns_to_match_ordered_list", None]
    assert "'result'" in whole.observed
    assert found["expect_column_values_to_be_in_set", "verdict"].observed == "the table has no such column"


def test_values_of_the_wrong_kind_break_the_rule_not_the_check(validator, history, history_suite, tmp_path):
    table = history.assign(verdict=["failed", *history["verdict"][1:]])
    found = failed(validator, history_suite, table, tmp_path)
    assert found["expect_column_values_to_be_in_set", "verdict"].rows[0]["verdict"] == "failed"
    mean = found["expect_column_mean_to_be_between", "verdict"]
    assert mean.observed.startswith("could not be checked: ")


def test_rules_over_several_columns(validator, tmp_path):
    table = pd.DataFrame({"a": [1.0, 2.0, 2.0], "b": [0.0, 3.0, 3.0]})
    pair = Expectation(
        type="expect_column_pair_values_a_to_be_greater_than_b",
        kwargs={"column_A": "a", "column_B": "b", "or_equal": True},
    )
    both = Expectation(type="expect_compound_columns_to_be_unique", kwargs={"column_list": ["a", "b"]})
    found = failed(validator, Suite(name="pairs", expectations=(pair, both)), table, tmp_path)
    assert {key: len(rule.rows) for key, rule in found.items()} == {
        (pair.type, "a, b"): 2,
        (both.type, "a, b"): 2,
    }


def test_freshness_is_measured_from_the_reference(validator, tmp_path):
    table = pd.DataFrame({"at": pd.to_datetime(["2025-12-01", "2025-12-25"], utc=True)})
    rows = Expectation(type="expect_table_row_count_to_be_between", kwargs={"min_value": 1})

    def suite(days):
        fresh = Freshness(column="at", of="now", max_age=timedelta(days=days))
        return Suite(name="fresh", expectations=(rows,), freshness=fresh).at(NOW)

    assert validator.check(suite(8), table, tmp_path).ok
    stale = validator.check(suite(6), table, tmp_path).failed
    assert [rule.column for rule in stale] == ["at"]
    assert "2025-12-25" in stale[0].observed


def test_an_unknown_rule_is_a_spec_error(validator, history, tmp_path):
    nonsense = Suite(name="odd", expectations=(Expectation(type="expect_nonsense"),))
    with pytest.raises(SpecError, match="expect_nonsense"):
        validator.check(nonsense, history, tmp_path)


def test_great_expectations_names_wrong_arguments_and_writes_docs(history, tmp_path):
    from perennial.adapters.gx_validator import GxValidator

    wrong = Expectation(type="expect_column_values_to_be_between", kwargs={"colunm": "cycle", "min_value": 0})
    with pytest.raises(SpecError, match=r"rule 1.*colunm"):
        GxValidator().check(Suite(name="odd", expectations=(wrong,)), history, tmp_path)
    right = Expectation(type="expect_column_values_to_be_unique", kwargs={"column": "execution_id"})
    for _ in range(2):
        report = GxValidator().check(Suite(name="docs", expectations=(right,)), history, tmp_path)
    assert Path(report.docs).is_file()
    assert len(list((tmp_path / "docs" / "validations").rglob("*.html"))) == 1, "the last check only"
