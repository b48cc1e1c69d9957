"""What models used and what it costs: figures of the log and of MLflow, and no amount without a price."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from doubles.answers import answered
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.cli import main
from perennial.core.tenants.costs import Cost, Prices, Use, cost, together
from perennial.errors import SpecError
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.settings import load

USE = Use("rates", 2_000, 1_000, 1.5, 2**30, 2**30)


@pytest.mark.parametrize(
    ("prices", "amounts"),
    [
        (None, Cost(None, None, None, None)),
        ({}, Cost(None, None, None, None)),
        ({"thousand_requests": 2}, Cost(6.0, None, None, None)),
        ({"training_hour": 2}, Cost(None, 3.0, None, None)),
        ({"thousand_requests": 0, "training_hour": 0, "gib_month": 0}, Cost(0.0, 0.0, 0.0, 0.0)),
        ({"thousand_requests": 2, "training_hour": 2, "gib_month": 0.5}, Cost(6.0, 3.0, 9.0, 1.0)),
    ],
)
def test_what_has_no_price_has_no_amount(prices, amounts):
    assert cost(USE, None if prices is None else Prices(currency="EUR", **prices)) == amounts


COUNT = st.integers(0, 10**9)
USES = st.lists(st.builds(Use, st.just("m"), COUNT, COUNT, st.integers(0, 1000), COUNT, COUNT), max_size=5)


@given(USES)
@settings(max_examples=30)
def test_the_models_together_cost_what_they_cost_apart(uses):
    prices = Prices(currency="EUR", thousand_requests=0.5, training_hour=2, gib_month=0.25)
    apart = [cost(use, prices) for use in uses]
    whole = cost(together(uses), prices)
    for name in Cost._fields:
        assert getattr(whole, name) == pytest.approx(sum(getattr(each, name) for each in apart))


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of the models m and n."""
    models = tmp_path / "configs" / "models"
    models.mkdir(parents=True)
    for name in ("m", "n"):
        (models / f"{name}.yaml").touch()
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "training_hour: 1",
        "currency: EUR\ntraining_hour: -1",
        "currency: EUR\nhour: 1",
        "currency: EUR\ngib_month: .nan",
    ],
)
def test_wrong_prices_are_refused(project, capsys, text):
    (project / "configs" / "prices.yaml").write_text(text)
    assert main(["costs"]) == SpecError.exit_code
    assert "prices.yaml" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_counts_what_its_owners_have(project, capsys):
    from perennial.adapters.mlflow.tracker import MlflowTracker

    now, state = datetime.now(UTC), load().state
    writer = PredictionLogWriter(state / "serving" / "log", "stable", "w1")
    for age in (timedelta(hours=1), timedelta(hours=2), timedelta(days=40)):
        writer.append(answered(now - age, rows=2))
    writer.append(answered(now - timedelta(hours=3), shadow=True))
    logged = sum(path.stat().st_size for path in (state / "serving" / "log" / "m").glob("*.jsonl"))
    tracker = MlflowTracker(load().tracking, load().artifacts)
    with tracker.run("m", "training", {}) as run, tracker.run("m", "trial", {}, parent=run.run_id):
        kept = project / "kept.txt"
        kept.write_text("x" * 1000)
        run.artifact(kept)
    _last(run, hours=2)
    with tracker.run("m", "training", {}) as killed:
        pass
    _kill(killed, hours_ago=20)
    (project / "configs" / "prices.yaml").write_text(
        "currency: EUR\nthousand_requests: 500\ntraining_hour: 3\n"
    )
    capsys.readouterr()
    assert main(["costs", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    m, n, whole = printed["models"]
    assert (m["model"], m["requests"], m["shadow_requests"]) == ("m", 2, 1), "one is older than 30 days"
    assert m["training_hours"] == pytest.approx(20, abs=0.01), (
        "a trial counts once, a killed run up to the next"
    )
    assert (m["log_bytes"], m["artifact_bytes"]) == (logged, 1000)
    assert m["cost"]["requests"] == pytest.approx(1.5)
    assert m["cost"]["total"] == pytest.approx(61.5, abs=0.05)
    assert m["cost"]["storage_month"] is None
    assert (n["requests"], n["training_hours"], n["log_bytes"], n["artifact_bytes"]) == (0, 0, 0, 0)
    assert whole["requests"] == 2
    assert main(["costs", "--since", "P50D"]) == 0
    assert "no price" in capsys.readouterr().out
    assert main(["costs", "--since", "P50D", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["requests"] == 3


def _last(run, hours: float) -> None:
    """Let a run have begun so long before its end."""
    with closing(sqlite3.connect(load().mlflow_dir / "mlflow.db")) as connection:
        span = round(hours * 3_600_000)
        connection.execute("UPDATE runs SET start_time = end_time - ? WHERE run_uuid = ?", (span, run.run_id))
        connection.commit()


def _kill(run, hours_ago: float) -> None:
    """Let a run have begun so long ago, and never have ended."""
    begin = round((datetime.now(UTC).timestamp() - hours_ago * 3600) * 1000)
    with closing(sqlite3.connect(load().mlflow_dir / "mlflow.db")) as connection:
        connection.execute(
            "UPDATE runs SET start_time = ?, end_time = NULL, status = 'RUNNING' WHERE run_uuid = ?",
            (begin, run.run_id),
        )
        connection.commit()
