"""Validation before training: a bad batch stops the flow, is named, and is kept aside once."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import yaml
from doubles.data import MemoryValidator

from perennial import catalog
from perennial.errors import SpecError, ValidationFailed
from perennial.flows.training.validate import check_tables
from perennial.history import prepare
from perennial.history.simulator import SimulationScenario, simulate

SUITES = Path(__file__).resolve().parents[2] / "configs" / "expectations"
SPEC = catalog.spec("test_failure_predictor")
NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def tables():
    history = simulate(SimulationScenario(cycles=12, tests=60))
    return {"history": history} | prepare.prepare(history).views


@pytest.fixture
def check(tmp_path):
    def run(tables, suites=SUITES, now=NOW):
        return check_tables(
            SPEC, tables, MemoryValidator(), suites, tmp_path / "docs", tmp_path / "quarantine", now
        )

    return run


def spoilt(tables):
    history = tables["history"]
    return tables | {"history": history.assign(verdict=history["verdict"].where(history.index > 3, 7))}


def test_good_tables_give_one_report_each(check, tables, tmp_path):
    reports = check(tables)
    assert [(report.table, report.ok) for report in reports] == [
        ("history", True),
        ("test_execution_features", True),
    ]
    assert not (tmp_path / "quarantine").exists()


def test_a_bad_batch_is_named_and_kept_aside_once(check, tables, tmp_path):
    with pytest.raises(ValidationFailed) as caught:
        check(spoilt(tables))
    assert "history.verdict: expect_column_values_to_be_in_set: 4 rows" in caught.value.message
    assert caught.value.message.count('"verdict": 7') == 3
    with pytest.raises(ValidationFailed) as again:
        check(spoilt(tables), now=NOW + timedelta(minutes=5))
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert str(kept) in caught.value.hint
    assert str(kept) in again.value.hint
    assert kept.name.startswith("20260101T123000Z-")
    assert {path.name for path in kept.iterdir()} == {"history.parquet", "report.json"}
    assert (pd.read_parquet(kept / "history.parquet")["verdict"] == 7).sum() == 4
    reports = json.loads((kept / "report.json").read_text())
    assert [bool(report["failed"]) for report in reports] == [True, False]


def test_a_column_of_mixed_types_is_told_and_kept(check, tables, tmp_path):
    """Such a column cannot be Parquet."""
    history = tables["history"]
    mixed = history.assign(verdict=["failed", *history["verdict"][1:]])
    with pytest.raises(ValidationFailed, match="verdict"):
        check(tables | {"history": mixed})
    (kept,) = (tmp_path / "quarantine").iterdir()
    assert {path.name for path in kept.iterdir()} == {"history.csv", "report.json"}


def test_features_older_than_their_history_stop(check, tables):
    view = tables["test_execution_features"]
    old = view[view["event_timestamp"] < view["event_timestamp"].max() - timedelta(days=1)]
    with pytest.raises(ValidationFailed, match=r"test_execution_features.event_timestamp: expect_column_max"):
        check(tables | {"test_execution_features": old})


@pytest.mark.parametrize("table", ["history", "test_execution_features"])
def test_a_table_without_rows_stops(check, tables, table):
    with pytest.raises(ValidationFailed, match=f"no rows in the table {table}"):
        check(tables | {table: tables[table].iloc[:0]})


def test_a_table_without_times_stops(check, tables):
    history = tables["history"].assign(started_at="soon")
    with pytest.raises(ValidationFailed, match="holds no time"):
        check(tables | {"history": history})


def test_a_history_from_the_future_stops(check, tables):
    with pytest.raises(ValidationFailed, match=r"history.started_at: expect_column_max"):
        check(tables, now=datetime(2025, 1, 7, tzinfo=UTC))


def test_a_live_history_may_ask_for_recent_rows(check, tables, tmp_path):
    suites = tmp_path / "suites"
    shutil.copytree(SUITES, suites)
    path = suites / "ci_history.yaml"
    content = yaml.safe_load(path.read_text())
    content["freshness"]["max_age"] = "P3D"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValidationFailed, match="min_value"):
        check(tables, suites)
    newest = tables["history"]["started_at"].max().to_pydatetime(warn=False)
    assert check(tables, suites, now=newest + timedelta(days=2))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(expectation=[]), "expectation: Extra inputs"),
        (lambda c: c.pop("expectations"), "expectations: Field required"),
        (lambda c: c["expectations"][0].update(type="be_good"), "expectations.0.type"),
        (lambda c: c["freshness"].update(of="history"), "freshness.of"),
        (lambda c: c["freshness"].update(of="history.started_at"), "max_age is needed"),
        (lambda c: c["freshness"].update(of="nothing.at", max_age="P1D"), "nothing.at, which is not there"),
    ],
)
def test_a_wrong_suite_is_a_spec_error_that_names_the_key(check, tables, tmp_path, change, named):
    suites = tmp_path / "suites"
    shutil.copytree(SUITES, suites)
    path = suites / "ci_history.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SpecError) as caught:
        check(tables, suites)
    assert named in caught.value.message


def test_missing_suite_or_table_is_a_spec_error(check, tables, tmp_path):
    with pytest.raises(SpecError, match="there is no suite"):
        check(tables, tmp_path)
    with pytest.raises(SpecError, match="names the table 'history'"):
        check({"test_execution_features": tables["test_execution_features"]})
