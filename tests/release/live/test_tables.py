"""From a CSV file, or a finished model, of other people to a champion behind Envoy; a spoilt second version stops."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import numpy as np
import pandas as pd
import pytest
from foreign.pipelines import progression, wine
from live_releases import SHORT
from load_generator import Load
from serving_stack import until
from signed_in import sign_in
from sklearn import datasets
from vega_datasets import data as vega

from perennial.cli import main
from perennial.core.events import Event
from perennial.core.release.approval import Risk
from perennial.core.release.phase import Phase
from perennial.wiring import database, traffic

from .shell import shell
from .table_releases import OVERLAY, TableReleases, table_releases

pytestmark = [pytest.mark.traffic, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def releases(tmp_path_factory) -> Iterator[TableReleases]:
    with table_releases(tmp_path_factory.mktemp("tables")) as made:
        yield made


def stocks() -> pd.DataFrame:
    """Prices by month and company, with the price of the month before."""
    table = vega.stocks()
    return table.assign(last_price=table.groupby("symbol")["price"].shift()).dropna()


CASES = {
    "breast_cancer": (lambda: datasets.load_breast_cancer(as_frame=True).frame, "target", ()),
    "wine": (lambda: datasets.load_wine(as_frame=True).frame, "target", ()),
    "diabetes": (lambda: datasets.load_diabetes(as_frame=True).frame, "target", ()),
    "stocks": (stocks, "price", ("--time", "date", "--keep", "last_price")),
}


def row_of(table: pd.DataFrame, target: str) -> dict:
    """The last row as a request: what a client knows before the target."""
    values = table.drop(columns=target).iloc[-1].to_dict()
    plain = {key: value.item() if hasattr(value, "item") else value for key, value in values.items()}
    return {key: str(value.date()) if hasattr(value, "date") else value for key, value in plain.items()}


@pytest.mark.parametrize("name", CASES)
def test_a_csv_file_becomes_a_champion_that_answers(releases, name):
    make, target, options = CASES[name]
    table = make()
    releases.make(name, table, "--target", target, *options)
    status, _ = releases.release(name)
    assert status.phase is Phase.SUCCEEDED, status.note
    releases.stack.wait_healthy(name)
    request = row_of(table, target)
    if name == "stocks":
        request.pop("date")  # the time of a row orders the rows, and is no input
    answer = releases.ask(name, request)
    if name == "breast_cancer":
        assert 0 <= answer["score"] <= 1
        assert answer["decision"] in (0, 1)
    elif name == "wine":
        assert answer["class"] in (0, 1, 2)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    else:
        assert table[target].min() / 2 <= answer["value"] <= table[target].max() * 2


def test_an_imported_model_becomes_a_champion_that_answers(releases, tmp_path):
    given = wine(tmp_path)
    releases.take("cultivar", given.onnx(tmp_path / "wine.onnx"), given.holdout, "--target", "target")
    status, _ = releases.release("cultivar")
    assert status.phase is Phase.SUCCEEDED, status.note
    releases.stack.wait_healthy("cultivar")
    row = json.loads(given.rows[:1].to_json(orient="records"))[0]
    answer = releases.ask("cultivar", row)
    assert answer["class"] == given.model.predict(given.rows[:1])[0]
    chances = dict(zip(given.model.classes_, given.model.predict_proba(given.rows[:1])[0], strict=True))
    assert answer["probabilities"] == pytest.approx(chances, abs=1e-5)


def test_an_imported_skops_model_is_of_high_risk_and_answers_after_its_approval(releases, tmp_path):
    given, name = progression(tmp_path), "progression"
    releases.take(name, given.skops(tmp_path / "given.skops"), given.holdout, "--target", "target")
    status, phases = releases.release(name)
    assert status.phase is Phase.SUCCEEDED, status.note
    assert status.gate.risk is Risk.HIGH
    assert Phase.AWAITING_APPROVAL in phases
    assert traffic.router(releases.settings).route(name).stable.digest == status.candidate.digest
    releases.stack.wait_healthy(name)
    answer = releases.ask(name, given.rows.iloc[0].to_dict())
    assert answer["value"] == pytest.approx(given.model.predict(given.rows[:1])[0], rel=1e-4)


def test_a_second_version_goes_through_canary_without_a_failed_request(releases):
    name, table = "breast_cancer", datasets.load_breast_cancer(as_frame=True).frame
    first = traffic.router(releases.settings).route(name).stable.digest
    releases.write(name, table.iloc[:-20])
    releases.train(name)
    body = {"rows": [row_of(table, "target")]}
    port = releases.settings.port_envoy
    with Load(port, releases.address(name), body, threads=2, pause_s=0.01) as load:
        status, phases = releases.release(name)
    assert status.phase is Phase.SUCCEEDED, status.note
    assert Phase.SHADOW in phases
    assert Phase.CANARY in phases
    assert load.failed == 0, load.failures
    assert len(load.versions) == 2
    assert traffic.router(releases.settings).route(name).stable.digest == status.candidate.digest != first


@pytest.mark.parametrize("name", ["wine", "diabetes"])
def test_a_version_of_shuffled_targets_does_not_pass_its_gate(releases, name):
    table = CASES[name][0]()
    champion = traffic.router(releases.settings).route(name).stable.digest
    shuffled = np.random.default_rng(1).permutation(table["target"])
    releases.write(name, table.assign(target=shuffled))
    releases.train(name)
    status, phases = releases.release(name)
    assert status.phase is Phase.REJECTED, status.note
    assert Phase.CANARY not in phases
    assert traffic.router(releases.settings).route(name).stable.digest == champion


def test_a_variant_becomes_champion_by_a_canary_and_goes_back_like_any_version(releases, monkeypatch):
    name, random = "variants", np.random.default_rng(2)
    table = pd.DataFrame(random.normal(size=(600, 4)).round(3), columns=["a", "b", "c", "d"])
    table["late"] = (table["a"] + table["b"] * table["c"] + random.normal(scale=0.3, size=600) > 0).astype(
        int
    )
    releases.make(name, table, "--target", "late", template="network")
    releases.allow_variants(name)
    status, _ = releases.release(name)
    assert status.phase is Phase.SUCCEEDED, status.note
    releases.stack.wait_healthy(name)
    assert main(["optimise", name, "champion", "--recipe", "fp16"]) == 0
    row, router = row_of(table, "late"), traffic.router(releases.settings)
    port, address = releases.settings.port_envoy, releases.address(name)
    before = releases.ask(name, row)["score"]
    with Load(port, address, {"rows": [row]}, threads=2, pause_s=0.01) as load:
        status, phases = releases.release(name, "1.0.1")
        assert status.phase is Phase.SUCCEEDED, status.note
        assert Phase.CANARY in phases
        assert router.route(name).stable.digest == status.candidate.digest
        until(lambda: releases.answer(name, row)["version"] == "1.0.1", 60, "an answer of the variant")
        assert releases.ask(name, row)["score"] == pytest.approx(before, abs=0.01)
        sign_in(monkeypatch, "bob")
        assert main(["release", "rollback", name]) == 0
        assert router.route(name).stable.version == "1.0.0"
        until(lambda: releases.answer(name, row)["version"] == "1.0.0", 60, "an answer of the parent")
        assert releases.ask(name, row)["score"] == before
    assert load.failed == 0, load.failures
    assert set(load.versions) == {"1.0.0", "1.0.1"}


def labelled(releases, name: str, table: pd.DataFrame, key: str) -> None:
    """Ask for all rows, and label the answers as a source would: one in eight otherwise than the table does."""
    url, random = releases.settings.envoy_url, np.random.default_rng(4)
    flipped = random.random(len(table)) < 1 / 8
    truth = np.where(flipped, 1 - table["target"], table["target"])
    for places in np.array_split(random.permutation(len(table)), 40):
        rows = json.loads(table.drop(columns="target").iloc[places].to_json(orient="records"))
        answer = httpx.post(f"{url}{releases.address(name)}", json={"rows": rows}, timeout=60)
        ids = [one["prediction_id"] for one in answer.raise_for_status().json()["predictions"]]
        given = [
            {"prediction_id": one, "label": int(truth[place])} for one, place in zip(ids, places, strict=True)
        ]
        sent = httpx.post(
            f"{url}/v1/feedback",
            json={"labels": given},
            headers={"x-perennial-feedback-key": key},
            timeout=60,
        )
        assert sent.status_code == 200, sent.text


@pytest.mark.timeout(2400)  # a training and MLflow's server, besides
def test_a_recalibration_is_made_released_and_taken_back_from_a_shell(releases, monkeypatch, capsys):
    """Over an MLflow server with accounts, as `perennial local up` starts it. The test is the release account."""
    name, table = "calibrated", datasets.load_breast_cancer(as_frame=True).frame
    overlay = {
        **OVERLAY,
        "recalibration": {"enabled": True, "fewest_labels": 300},
        "approval": {"low_risk": 1, "medium_risk": 1, "high_risk": 1},
        "release": {**SHORT, "strategy": "immediate", "feedback": {"sole_source": "ci"}},
    }
    (releases.overlay / f"{name}.yaml").write_text(json.dumps(overlay))
    releases.write(name, table)
    path = str(releases.project / f"{name}.csv")
    assert main(["init", name, "--from", path, "--template", "linear", "--target", "target", "--yes"]) == 0
    router = traffic.router(releases.settings)
    probes = [row_of(table.iloc[: place + 1], "target") for place in range(0, 500, 25)]

    def scores(version: str) -> np.ndarray:
        until(lambda: releases.answer(name, probes[0])["version"] == version, 60, f"an answer of {version}")
        return np.array([releases.ask(name, probe)["score"] for probe in probes])

    with shell(releases.settings) as perennial:

        def release(version: str) -> None:
            sign_in(monkeypatch, "ann")
            assert main(["release", "start", name, "--version", version]) == 0
            assert "AWAITING_APPROVAL" in capsys.readouterr().out
            sign_in(monkeypatch, "bob")
            assert main(["release", "approve", name]) == 0
            assert main(["release", "reconcile", name, "--until-final", "--every", "0.2"]) == 0
            assert router.route(name).stable.version == version
            releases.stack.wait_healthy(name)

        perennial("run", name)
        release("1.0.0")
        before = scores("1.0.0")
        capsys.readouterr()
        assert main(["feedback", "source", "add", "ci", "--model", name]) == 0
        labelled(releases, name, table, capsys.readouterr().out.split()[-1])
        assert main(["feedback", "ingest"]) == 0
        assert f"{len(table)} new or changed" in capsys.readouterr().out
        sign_in(monkeypatch, "ann")
        made = json.loads(perennial("recalibrate", name, "--json"))
        assert (made["champion"], made["version"], made["proven"]) == ("1.0.0", "1.0.1", True)
        release("1.0.1")
    after = scores("1.0.1")
    assert router.route(name).stable.digest == made["digest"]
    assert 0.01 < np.abs(after - before).max() <= 0.2 + 1e-6
    assert (np.diff(after[np.argsort(before, kind="stable")]) >= -1e-6).all(), "the order of the rows stays"
    assert main(["release", "rollback", name]) == 0
    assert scores("1.0.0") == pytest.approx(before)
    told = [row.entry for row in database.store(releases.settings).ledger.rows(name)]
    (registered,) = [entry for entry in told if entry.kind == Event.RECALIBRATED]
    assert (registered.digest, registered.actor) == (made["digest"], "ann")
    assert {Event.RELEASE_SUCCEEDED, Event.EMERGENCY_ROLLBACK} <= {entry.kind for entry in told}
