"""A model over a table learns from stored values of every type and from past events, and is asked by entity."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import yaml
from signing import TRUSTED

from perennial.core.input_encoding import encode
from perennial.errors import SpecError
from perennial.flows.batch.features import FeaturesAsOf, NewestFeatures
from perennial.flows.batch.score import batch_inputs
from perennial.flows.evaluation.offline_features import OfflineSource, recompute
from perennial.flows.training.point_in_time import as_of
from perennial.flows.training.tables import TableExamples
from perennial.flows.training.workdir import read_table
from perennial.installation import HERE
from perennial.serving.manifest import load_manifest
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.wiring import training

NOW = datetime(2024, 4, 1, tzinfo=UTC)
PAYMENTS = {
    "description": "payments of a client",
    "entity": "client_id",
    "times": {"event": "paid_at", "created": None},
    "ttl": None,
    "source": {"kind": "table", "path": "payments.csv", "missing": [""]},
    "columns": {"amount": "float"},
    "windows": [
        {"column": "amount", "functions": ["mean", "last"], "over": ["P30D"]},
        {"column": None, "functions": ["count", "time_since"], "over": ["P7D"]},
    ],
}
CLIENTS = {
    "description": "what is known of a client",
    "entity": "client_id",
    "times": {"event": "changed_at", "created": None},
    "ttl": None,
    "source": {"kind": "table", "path": "clients.parquet", "missing": []},
    "columns": {"city": "string", "member": "bool", "visits": "int", "opened": "timestamp"},
}
FEATURES = {
    "source": "store",
    "service": "payments",
    "entities": ["client_id"],
    "columns": [
        "past_payments:amount_mean_30d",
        "past_payments:amount_last_30d",
        "past_payments:count_7d",
        "past_payments:time_since_7d",
        "clients:city",
        "clients:member",
        "clients:visits",
        "clients:opened",
    ],
    "inputs": {
        "city": {
            "type": "category",
            "categories": ["Bonn", "Köln"],
            "missing": "allow",
            "unknown": "missing",
        },
        "opened": {"type": "timestamp", "missing": "allow"},
        "amount": {"type": "float", "missing": "refuse"},
    },
}


def payments(rows: int = 600) -> pd.DataFrame:
    """Payments that are returned when they are much larger than the client's last ones."""
    random = np.random.default_rng(5)
    seconds = np.sort(random.choice(60 * 86_400, rows, replace=False))
    frame = pd.DataFrame(
        {
            "client_id": random.choice(["a", "b", "c", "d"], rows),
            "paid_at": pd.Timestamp("2024-01-25", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "amount": random.normal(size=rows),
        }
    )
    usual = frame.groupby("client_id")["amount"].transform(lambda amounts: amounts.shift().fillna(0))
    returned = frame["amount"] - usual + random.normal(0, 0.3, rows) > 0
    return frame.assign(returned=np.where(returned, "yes", "no"))


def clients() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "client_id": ["a", "b", "c", "d", "a"],
            "changed_at": [pd.Timestamp("2024-01-01", tz="UTC")] * 4 + [pd.Timestamp("2024-03-01", tz="UTC")],
            "city": ["Bonn", "Köln", None, "Aachen", "Köln"],
            "member": [True, False, True, None, False],
            "visits": pd.array([1, 2, None, 4, 5], dtype="Int64"),
            "opened": [pd.Timestamp("2020-01-02T03:04:05Z"), None, pd.Timestamp("1969-01-01T00:00Z")]
            + [None] * 2,
        }
    )


@pytest.fixture
def world(table_world):
    world = table_world("payments", payments())
    clients().to_parquet(world.settings.project / "clients.parquet")
    views = world.settings.configs / "features"
    for name, content in (("past_payments", PAYMENTS), ("clients", CLIENTS)):
        (views / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    (world.settings.project / "feature_repo").mkdir()
    store = HERE / "feature_repo" / "feature_store.yaml"
    (world.settings.project / "feature_repo" / "feature_store.yaml").write_text(store.read_text())
    assert world.init("returned", "--time", "paid_at") == 0
    world.change(lambda content: content.update(features=FEATURES, explanation=None))
    world.change(lambda content: content["monitoring"].update(columns=["amount"], features_needed=1))
    from perennial.adapters.feast.features import FeastFeatures

    world.features = FeastFeatures(
        world.settings.project / "feature_repo", world.folder / "feast", lambda: [world.spec], lambda: NOW
    )
    return world


@pytest.mark.slow
def test_training_and_serving_give_a_model_the_same_values(world):
    evaluation, ref = world.whole_way()
    model, baseline = evaluation.scores["model"], evaluation.scores["class_frequency"]
    assert model["roc_auc"].value > 0.9
    assert model["log_loss"].high < baseline["log_loss"].low
    rows = read_table(world.work.features, "train")
    first = rows[rows["client_id"] == "a"].iloc[0]
    assert np.isnan(first["amount_mean_30d"])
    assert (first["count_7d"], first["city"], first["member"], first["visits"]) == (0, 0, 1, 1)
    assert first["opened"] == np.float32(pd.Timestamp("2020-01-02T03:04:05Z").timestamp() / 86_400)
    last = rows[rows["client_id"] == "a"].iloc[-1]
    assert (last["city"], last["member"], last["visits"]) == (1, 0, 5)

    views = training.view_tables(world.spec, world.settings)
    world.features.publish(views)
    from perennial.serving.online_features import OnlineFeatures

    server = world.server(ref)
    server.values = OnlineFeatures(world.folder / "feast", lambda: NOW)
    asked = [{"client_id": client, "amount": 1.25} for client in "abcd"]
    answer = server.client.post("/v1/models/payments/predict", json={"entities": asked})
    assert answer.status_code == 200, answer.text
    (kept,) = world.features.online(world.spec.features, [{"client_id": "d"}])
    assert isinstance(kept["visits"], int)
    assert kept["city"] == "Aachen"
    table = pd.DataFrame(asked).assign(event_timestamp=pd.Timestamp(NOW))
    offline = as_of(world.spec.features, table, world.features, views).astype("float32")
    values = [None if np.isnan(value) else float(value) for value in offline.to_numpy().ravel()]
    tensor = {"name": "features", "shape": list(offline.shape), "datatype": "FP32", "data": values}
    raw = server.client.post("/v2/models/payments/infer", json={"inputs": [tensor]})
    served = [one["score"] for one in answer.json()["predictions"]]
    assert served == pytest.approx(raw.json()["outputs"][0]["data"], abs=1e-7)
    assert len(set(served)) == 4

    columns = {
        "client_id": list("abcd"), "amount": np.full(4, 1.25),
        "at": np.full(4, NOW.replace(tzinfo=None), dtype="datetime64[us]"),
    }  # fmt: skip
    for join in (
        NewestFeatures(world.spec.features, server.values),
        FeaturesAsOf(world.spec.features, world.features, views, "at"),
    ):
        batched, refused = join(columns, 4)
        assert not refused
        inputs = batch_inputs(load_manifest(world.work.model, "payments", ref.digest, TRUSTED))
        np.testing.assert_array_equal(encode(inputs, batched, 4), offline.to_numpy(), err_msg=join.words)
        assert [fault.row for fault in join({**columns, "client_id": ["a", "nobody", "", "d"]}, 4)[1]] == [
            2,
            1,
        ]

    for wrong, named in (
        ({"client_id": "a"}, "amount"),
        ({"client_id": "a", "amount": "much"}, "amount is 'much'"),
        ({"client_id": "a", "amount": None}, "a value is needed"),
        ({"client_id": "", "amount": 1.0}, "non-empty"),
        ({"client_id": "nobody", "amount": 1.0}, "no features are known"),
    ):
        refused = server.client.post("/v1/models/payments/predict", json={"entities": [wrong]})
        assert refused.status_code in (400, 404), wrong
        assert named in refused.text

    server.writer.close()
    log = PredictionLogReader(server.folder / "log").read("payments")
    log = log[log["entity"] != "{}"].reset_index(drop=True)
    source = OfflineSource(world.features, lambda: None, lambda _: TableExamples(pd.DataFrame(), views))
    again, joined = recompute(world.spec.features, log, source)
    assert joined.all()
    names = world.spec.features.names
    for name in ("amount", "city", "member", "visits"):
        np.testing.assert_array_equal(again[:, names.index(name)].astype("float32"), offline[name])


def test_a_spec_over_a_store_says_what_it_needs(world):
    before = world.spec_path.read_text()
    world.change(lambda content: content["features"]["columns"].append("nothing:size"))
    with pytest.raises(SpecError, match="there is no feature view 'nothing'"):
        world.prepare()
    world.spec_path.write_text(before)
    view = world.settings.configs / "features" / "clients.yaml"
    view.write_text(yaml.safe_dump(CLIENTS | {"source": None}))
    with pytest.raises(SpecError, match="source is null"):
        world.prepare()
    world.change(lambda content: content["data"]["source"].update(period=None))
    with pytest.raises(SpecError, match="as of the time of a row"):
        _ = world.spec
