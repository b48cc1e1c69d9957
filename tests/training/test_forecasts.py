"""A table of series becomes a registered forecast that is served, logged, labelled and watched."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.feedback import Labels
from one_server import NOW
from vega_datasets import data

from perennial.adapters.documents.figures import TrainingFigures
from perennial.adapters.evidently_drift import EvidentlyDrift
from perennial.core.governance.card import make_card
from perennial.core.governance.card_figures import CardEvidence
from perennial.core.release.gate import judge
from perennial.core.release_spec import FeedbackSpec
from perennial.core.verdict import Verdict
from perennial.errors import MalformedInput
from perennial.flows.feedback.ingest import ingest
from perennial.flows.feedback.votes import votes
from perennial.flows.monitoring.accuracy import accuracy
from perennial.flows.monitoring.monitor import accuracy_known, accuracy_seen, coverage_seen, labelled
from perennial.flows.training.workdir import read_table
from perennial.serving.evidence.answered import AnsweredPredictions
from perennial.serving.feedback_inbox import FeedbackInbox
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.wiring import releasing

pytestmark = pytest.mark.slow
SERIES = ("--task", "forecast", "--time", "date")


def seasons(months: int = 144) -> pd.DataFrame:
    """Two shops with a season that a repeated last value does not know."""
    random = np.random.default_rng(1)
    date = pd.date_range("2015-01-01", periods=months, freq="MS")
    wave = 10 * np.sin(2 * np.pi * np.arange(months) / 12)
    shops = {
        shop: level + size * (wave + random.normal(0, 1, months))
        for shop, level, size in (("north", 50, 1), ("south", 900, 20))
    }
    return pd.concat(
        [pd.DataFrame({"date": date, "shop": shop, "sold": sold}) for shop, sold in shops.items()]
    )


def test_sales_with_a_season_go_the_whole_way(table_world):
    import shap  # noqa: F401 loaded here, so that its seconds do not count for the server's time limit

    world = table_world("sales", seasons())
    world.figures = TrainingFigures()
    assert world.init("sold", *SERIES, "--group", "shop", "--unit", "pieces") == 0
    spec = world.spec
    assert (spec.task.frequency, spec.task.season, spec.task.past) == ("month", 12, 13)
    evaluation, ref = world.whole_way()
    mase = {name: scores["mase"] for name, scores in evaluation.scores.items()}
    assert set(mase) == {"model", "last_value", "seasonal_naive"}
    assert mase["model"].high < mase["last_value"].low
    assert 0.7 < evaluation.scores["model"]["coverage"].value <= 1
    assert {"error_by_step.png", "coverage_by_step.png"} <= {path.name for path in world.work.plots.iterdir()}
    record = world.registry.find("sales", ref.version)
    judged = {rule.rule: rule.verdict for rule in judge(spec.gate, record, None, [1.0]).rules}
    assert (judged["mase"], judged["coverage"]) == (Verdict.PASS, Verdict.PASS)
    checks = {one.rule: one for one in releasing.checks(spec, world.work.model)}
    assert {checks[rule].verdict for rule in ("safety", "noise", "missing_values")} == {Verdict.PASS}, checks
    card = make_card(spec, record, CardEvidence(evaluation=evaluation), None, (), NOW).model_dump_json()
    assert "seasonal_naive (reference)" in card
    assert "coverage_3" in card

    server, past = world.server(ref), seasons()["sold"].iloc[-13:].round(2).tolist()
    request = {"shop": "south"} | {"series": "south", "time": "2026-12-01", "past": past}
    assert world.ask(server, request).status_code == 400  # `shop` is no key of a request
    answer = world.ask(server, {"series": "south", "time": "2026-12-01", "past": past})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert [one["entity"]["step"] for one in predictions] == [1, 2, 3]
    assert len({one["prediction_id"] for one in predictions}) == 3
    for one in predictions:
        quantiles = list(one["quantiles"].values())
        assert quantiles == sorted(quantiles)
        assert one["value"] == one["quantiles"]["0.5"]

    # The actual values of the three months arrive one after the other; the last is far outside.
    actual = [predictions[0]["value"], predictions[1]["quantiles"]["0.95"], 5000.0]
    given = [
        {"prediction_id": one["prediction_id"], "label": value}
        for one, value in zip(predictions, actual, strict=True)
    ]
    wrong = {"labels": [{**given[0], "label": "much"}]}
    assert server.client.post("/v1/feedback", json=wrong).status_code == 400
    for one in given:
        assert server.client.post("/v1/feedback", json={"labels": [one]}).status_code == 200
    reader, labels = PredictionLogReader(server.folder / "log"), Labels()
    inbox = FeedbackInbox(server.folder / "feedback", lambda: NOW)
    assert ingest(inbox, labels, AnsweredPredictions(server.folder / "log")).received == 3
    policy = FeedbackSpec(sole_source="ci")
    counts = accuracy("sales", NOW - timedelta(days=1), labels, reader, policy)[ref.digest]
    assert (round(counts.right * 3), counts.labels) == (2, 3)

    reference = read_table(world.work.model / "reference.parquet", "train")
    known = accuracy_known(spec, reference).value
    assert known == pytest.approx(evaluation.scores["model"]["coverage"].value, abs=1e-6)
    log = reader.read("sales")
    many = pd.concat([log] * 40, ignore_index=True)
    many["prediction_id"] = many["request_id"] = [str(number) for number in range(len(many))]
    given = votes({"ci": dict.fromkeys(many["prediction_id"], 5000.0)})
    assert accuracy_seen(labelled(many, given, policy)).value == 0
    coverage = coverage_seen(labelled(many, given, policy))
    assert (coverage.claimed, coverage.seen.value, coverage.is_short) == (pytest.approx(0.9), 0, True)
    window = pd.concat([reference] * 8).assign(lag_1=reference["lag_1"].max())
    drifts = {one.column: one for one in EvidentlyDrift().compare(spec, reference, window, None)}
    assert drifts["lag_1"].excess > 0

    explained = world.ask(
        server, {"series": "south", "time": "2026-12-01", "past": past}, explain=True
    ).json()
    assert explained["explanation"]["of"] == "median"
    base = explained["explanation"]["base"]
    for one in explained["predictions"]:
        assert set(one["attributions"]) == set(spec.features.names)
        assert base + sum(one["attributions"].values()) == pytest.approx(one["value"], rel=1e-5)


def test_the_market_forecast_does_not_claim_to_beat_the_naive_forecast(table_world):
    """Its error lies within the interval of the naive forecast's, as the page of the model says."""
    world = table_world("market_forecast", pd.DataFrame({"not": ["read"]}))
    evaluation, ref = world.whole_way()
    model, naive = (evaluation.scores[name]["mase"] for name in ("model", "last_value"))
    assert naive.low < model.value < naive.high
    assert evaluation.gains["seasonal_naive"]["mase"].low > 0
    assert model.value < world.spec.gate.metrics["mase"].max
    assert evaluation.scores["model"]["coverage"].value > 0.75
    assert ref.version == "1.0.0"


def test_a_forecast_of_unrelated_values_fails_its_gate(table_world):
    world = table_world("market", data.stocks())
    assert world.init("price", *SERIES, "--group", "symbol") == 0
    module = world.settings.project / "models" / "market.py"
    module.write_text(
        module.read_text() + "\n    def build(self, train):\n"
        "        network = super().build(train)\n"
        "        network.first.data += 5.0\n"
        "        network.requires_grad_(False)\n"
        "        network.gaps.requires_grad_(True)\n"
        "        return network\n"
    )
    _, ref = world.whole_way()
    record = world.registry.find("market", ref.version)
    judged = {rule.rule: rule.verdict for rule in judge(world.spec.gate, record, None, [1.0]).rules}
    assert judged["mase"] is Verdict.FAIL


def test_one_series_needs_no_group_and_a_doubled_month_is_refused(table_world, capsys):
    frame = seasons()
    world = table_world("one", frame[frame["shop"] == "north"].drop(columns="shop"))
    assert world.init("sold", *SERIES) == 0
    assert "series: 1, a value per month, season 12" in capsys.readouterr().out
    world.prepare()
    twice = pd.concat([pd.read_csv(world.path), pd.read_csv(world.path).tail(1)])
    twice.to_csv(world.path, index=False)
    with pytest.raises(MalformedInput, match="rows 143 and 144: series - has two values in the same month"):
        world.prepare()


def test_init_refuses_what_is_no_series(table_world, capsys):
    frame = seasons()
    world = table_world("none", frame.assign(date=range(len(frame))))
    assert world.init("sold", "--task", "forecast") != 0
    assert "a forecast needs a time in every row" in capsys.readouterr().err
    assert not world.spec_path.exists()
