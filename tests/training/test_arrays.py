"""Arrays of numbers, such as embeddings, as inputs: from a file or a feature store to answers, log and drift."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from perennial.adapters.evidently_drift import EvidentlyDrift
from perennial.core.monitoring.drift import JOINT
from perennial.core.monitoring.measured import measure
from perennial.errors import MalformedInput, ValidationFailed
from perennial.flows.evaluation.offline_features import OfflineSource, recompute
from perennial.flows.training.leakage import check_leakage
from perennial.flows.training.point_in_time import as_of
from perennial.flows.training.tables import TableExamples
from perennial.flows.training.workdir import read_table
from perennial.installation import HERE
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.wiring import training

NOW = datetime(2024, 4, 1, tzinfo=UTC)
SIZE, ROWS = 16, 400
COLUMNS = [f"embedding[{place}]" for place in range(SIZE)]


def products(fixed: bool = True) -> pa.Table:
    """Products whose class follows from two numbers of their embedding."""
    random = np.random.default_rng(3)
    embedding = random.normal(size=(ROWS, SIZE)).astype(np.float32)
    sold = embedding[:, 2] + embedding[:, 9] + random.normal(0, 0.3, ROWS) > 0
    column = [*embedding.tolist()[:-1], None]
    return pa.table(
        {
            "embedding": pa.array(column, pa.list_(pa.float32(), SIZE if fixed else -1)),
            "price": random.integers(1, 90, ROWS),
            "ragged": [[1.0] * (2 + row % 2) for row in range(ROWS)],
            "holes": [[1.0, None if row == 4 else 2.0] for row in range(ROWS)],
            "words": [["a", "b" * (1 + row % 3)] for row in range(ROWS)],
            "sold": np.where(sold, "yes", "no"),
        }
    )


@pytest.fixture
def made(table_world):
    """Return a function (name, table) -> the world of a Parquet file."""

    def make(name: str, table: pa.Table):
        world = table_world(name, pd.DataFrame({"none": [0]}))
        world.path = world.path.with_suffix(".parquet")
        pq.write_table(table, world.path)
        return world

    return make


@pytest.mark.slow
def test_an_array_of_a_file_becomes_a_version_that_answers(made, capsys):
    world = made("products", products())
    assert world.init("sold", "--positive", "yes", "--template", "linear") == 0
    said = capsys.readouterr().out
    assert "16 numbers in each row, 0.2% missing" in said
    for problem in (
        "row 2 has 3 numbers, row 1 has 2",
        "row 5 has a list with a number that is missing or not finite",
        "each value is a list of VARCHAR, not of numbers",
    ):
        assert f"lists, but no array: {problem}" in said
    spec = world.spec
    assert list(spec.features.inputs) == ["embedding", "price"]
    assert spec.features.inputs["embedding"].size == SIZE
    assert spec.features.names == (*COLUMNS, "price")
    assert spec.monitoring.columns == ("embedding", "price")

    evaluation, ref = world.whole_way()
    assert evaluation.scores["model"]["roc_auc"].value > 0.9
    server = world.server(ref)
    numbers = [0.0] * SIZE
    high, low, unknown = (
        {"embedding": value, "price": 5}
        for value in ([*numbers[:2], 2, *numbers[3:]], [*numbers[:2], -2.5, *numbers[3:]], None)
    )
    answer = world.ask(server, high, low, unknown, explain=True).json()
    scores = [prediction["score"] for prediction in answer["predictions"]]
    assert scores[0] > 0.7 > 0.3 > scores[1]
    explained = answer["predictions"][0]["attributions"]
    assert set(explained) == {"embedding", "price"}
    assert explained["embedding"] > abs(explained["price"])
    assert sum(explained.values()) + answer["explanation"]["base"] == pytest.approx(scores[0], abs=1e-3)
    row = [*high["embedding"], high["price"]]
    tensor = {"name": "features", "shape": [1, SIZE + 1], "datatype": "FP32", "data": row}
    raw = server.client.post("/v2/models/products/infer", json={"inputs": [tensor]})
    assert raw.json()["outputs"][0]["data"] == pytest.approx([scores[0]], abs=1e-6)
    named = [
        {"name": "embedding", "shape": [2, SIZE], "datatype": "FP32", "data": [*row[:-1], *[None] * SIZE]},
        {"name": "price", "shape": [2], "datatype": "INT64", "data": [5, 5]},
    ]
    raw = server.client.post("/v2/models/products/infer", json={"inputs": named})
    assert raw.json()["outputs"][0]["data"] == pytest.approx([scores[0], scores[2]], abs=1e-6)
    metadata = server.client.get("/v2/models/products").json()
    assert metadata["inputs"][0] == {"name": "embedding", "datatype": "FP32", "shape": [-1, SIZE]}
    half = [{**named[0], "data": [*row[:-1], *[None] * 15, 1.0]}, named[1]]
    refused = server.client.post("/v2/models/products/infer", json={"inputs": half})
    assert refused.status_code == 400
    assert "row 1, embedding[0] is nan" in refused.text
    refused = server.client.post(
        "/v2/models/products/infer",
        json={"inputs": [{**named[0], "shape": [2, 8], "data": row[:-1]}, named[1]]},
    )
    assert refused.status_code == 400
    assert "[n, 16]" in refused.text

    for wrong, named in (
        (numbers[1:], "row 1, embedding is a list of 15"),
        ([*numbers[1:], "0"], "row 1, embedding[15] is '0'"),
        ([*numbers[1:], None], "row 1, embedding[15] is None"),
        ([*numbers[1:], True], "row 1, embedding[15] is True"),
        ([numbers], "row 1, embedding is a list of 1"),
        ([numbers] * SIZE, "row 1, embedding[0] is ["),
        ("0, 0", "row 1, embedding is '0, 0'"),
        (0.5, "row 1, embedding is 0.5"),
    ):
        refused = world.ask(server, high, high | {"embedding": wrong})
        assert refused.status_code == 400, wrong
        assert named in refused.text
        assert "16 finite numbers" in refused.text
    not_a_number = '{"rows": [{"price": 1, "embedding": [NaN' + ", 0" * 15 + "]}]}"
    refused = server.client.post("/v1/models/products/predict", content=not_a_number)
    assert refused.status_code == 400

    server.writer.close()
    log = PredictionLogReader(server.folder / "log").read("products")
    logged = log[[f"feature:{name}" for name in COLUMNS]].to_numpy()
    assert logged[0].tolist() == high["embedding"]
    assert np.isnan(logged[2]).all()


def test_the_drift_of_one_number_is_the_drift_of_the_array(made):
    world = made("products", products(fixed=False))
    assert world.init("sold", "--template", "linear") == 0
    assert world.spec.features.inputs["embedding"].size == SIZE
    random = np.random.default_rng(1)
    names = [*COLUMNS, "price", "score"]
    reference = pd.DataFrame(random.normal(size=(1000, SIZE + 2)), columns=names)
    reference[world.spec.evaluation.group] = np.arange(1000)
    same = pd.DataFrame(random.normal(size=(400, SIZE + 2)), columns=names)
    moved = same.assign(**{"embedding[7]": same["embedding[7]"] + 1})
    drifts = {}
    for case, window in (("same", same), ("moved", moved)):
        found = EvidentlyDrift().compare(world.spec, reference, window, None)
        drifts[case] = {drift.column: drift for drift in found}
        assert list(drifts[case]) == ["embedding", "price", "score", JOINT]
    assert drifts["same"]["embedding"].excess < 0.02
    assert drifts["moved"]["embedding"].excess > 0.3
    # Sixteen chances to be the largest have an allowance of their own.
    columns = {name: (reference[name].to_numpy(), same[name].to_numpy()) for name in COLUMNS}
    alone = measure(
        columns, np.arange(1000), np.arange(400), world.spec.monitoring.bins, world.spec.tuning.seed
    )[:SIZE]
    assert drifts["same"]["embedding"].allowance >= max(drift.allowance for drift in alone)
    assert drifts["same"]["embedding"].psi == pytest.approx(max(drift.psi for drift in alone), abs=1e-9)


def test_a_number_of_an_array_that_tells_the_target_names_the_array(made, capsys):
    table = products()
    told = np.array([row or [0.0] * SIZE for row in table["embedding"].to_pylist()])
    told[:, 4] = table["sold"].to_numpy(zero_copy_only=False) == "yes"
    world = made("products", table.set_column(0, "embedding", pa.array(told.tolist())))
    assert world.init("sold", "--template", "linear") == 0
    assert "embedding[4]: a copy of the target" in capsys.readouterr().out
    assert "embedding" not in world.spec.features.inputs
    world.name = "kept"
    assert world.init("sold", "--template", "linear", "--keep", "embedding") == 0
    assert world.spec.data.source.leakage_accepted == ("embedding",)
    rows = training.source(world.spec, world.settings).read()
    examples = training.preparation(world.spec)(rows).examples
    check_leakage(world.spec, world.spec.data.source, examples, NOW)
    strict = world.spec.data.source.model_copy(update={"leakage_accepted": ()})
    with pytest.raises(ValidationFailed, match=r"embedding: embedding\[4\]: a copy of the target"):
        check_leakage(world.spec, strict, examples, NOW)


def test_numbers_that_left_their_range_and_other_sizes_stop_a_training(made):
    table = products()
    world = made("products", table)
    assert world.init("sold", "--template", "linear") == 0
    far = [row and [*row[:3], 99.0, *row[4:]] for row in table["embedding"].to_pylist()]
    pq.write_table(table.set_column(0, "embedding", pa.array(far)), world.path)
    world.prepare()
    with pytest.raises(ValidationFailed, match=r"embedding\[3\]: expect_column_values_to_be_between"):
        world.validate()
    assert list((world.folder / "quarantine").rglob("report.json"))
    short = [row and row[1:] for row in table["embedding"].to_pylist()]
    pq.write_table(table.set_column(0, "embedding", pa.array(short)), world.path)
    with pytest.raises(MalformedInput, match="embedding is a list of 15"):
        world.prepare()
    uneven = [row and row[place == 8 :] for place, row in enumerate(table["embedding"].to_pylist())]
    pq.write_table(table.set_column(0, "embedding", pa.array(uneven)), world.path)
    with pytest.raises(MalformedInput, match="embedding: row 9 has 15 numbers, row 1 has 16"):
        world.prepare()


TASTES = {
    "description": "what a client likes",
    "entity": "client_id",
    "times": {"event": "learnt_at", "created": None},
    "ttl": None,
    "source": {"kind": "table", "path": "tastes.parquet", "missing": []},
    "columns": {"visits": "int", "taste": {"type": "array", "size": 3}},
}
FEATURES = {
    "source": "store",
    "service": "orders",
    "entities": ["client_id"],
    "columns": ["tastes:taste", "tastes:visits"],
    "inputs": {
        "taste": {"type": "array", "size": 3, "missing": "allow"},
        "asked": {"type": "array", "size": 2, "missing": "refuse"},
    },
}
NAMES = ["taste[0]", "taste[1]", "taste[2]", "visits", "asked[0]", "asked[1]"]


def tastes() -> pd.DataFrame:
    times = [pd.Timestamp("2024-01-01", tz="UTC")] * 3 + [pd.Timestamp("2024-03-01", tz="UTC")]
    taste = [[0.1, 1.0, 2.0], [-1.0, 0.3, 0.5], None, [2.0, -0.7, 1e-3]]
    return pd.DataFrame(
        {"client_id": ["a", "b", "c", "a"], "learnt_at": times, "visits": [1, 2, 3, 4], "taste": taste}
    )


@pytest.fixture
def orders(made):
    random = np.random.default_rng(2)
    asked = random.normal(size=(600, 2)).round(3)
    seconds = np.sort(random.choice(60 * 86_400, 600, replace=False))
    table = pa.table(
        {
            "client_id": random.choice(["a", "b", "c"], 600),
            "ordered_at": pd.Timestamp("2024-01-25", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "asked": asked.tolist(),
            "returned": np.where(asked.sum(axis=1) + random.normal(0, 0.3, 600) > 0, "yes", "no"),
        }
    )
    world = made("orders", table)
    tastes().to_parquet(world.settings.project / "tastes.parquet")
    view = world.settings.configs / "features" / "tastes.yaml"
    view.write_text(yaml.safe_dump(TASTES, sort_keys=False))
    (world.settings.project / "feature_repo").mkdir()
    store = HERE / "feature_repo" / "feature_store.yaml"
    (world.settings.project / "feature_repo" / "feature_store.yaml").write_text(store.read_text())
    assert world.init("returned", "--positive", "yes", "--time", "ordered_at", "--template", "linear") == 0
    world.change(lambda content: content.update(features=FEATURES, explanation=None))
    world.change(lambda content: content["monitoring"].update(columns=["taste", "asked"], features_needed=1))
    from perennial.adapters.feast.features import FeastFeatures

    world.features = FeastFeatures(
        world.settings.project / "feature_repo", world.folder / "feast", lambda: [world.spec], lambda: NOW
    )
    return world


@pytest.mark.slow
def test_arrays_of_the_store_are_the_same_offline_and_online(orders):
    spec = orders.spec
    assert list(spec.features.names) == NAMES
    evaluation, ref = orders.whole_way()
    assert evaluation.scores["model"]["roc_auc"].value > 0.85
    rows = read_table(orders.work.features, "train")
    of_a = rows[rows["client_id"] == "a"]
    assert of_a.iloc[0][NAMES[:3]].tolist() == np.float32([0.1, 1.0, 2.0]).tolist()
    assert of_a.iloc[-1][NAMES[:3]].tolist() == np.float32([2.0, -0.7, 1e-3]).tolist()
    assert rows[rows["client_id"] == "c"][NAMES[:3]].isna().all(axis=None)

    views = training.view_tables(spec, orders.settings)
    orders.features.publish(views)
    from perennial.serving.online_features import OnlineFeatures

    server = orders.server(ref)
    server.values = OnlineFeatures(orders.folder / "feast", lambda: NOW)
    asked = [{"client_id": client, "asked": [0.25, -1.5]} for client in "abc"]
    answer = server.client.post("/v1/models/orders/predict", json={"entities": asked})
    assert answer.status_code == 200, answer.text
    table = pd.DataFrame(asked).assign(event_timestamp=pd.Timestamp(NOW))
    offline = as_of(spec.features, table, orders.features, views).astype("float32")
    assert list(offline) == NAMES
    refused = server.client.post(
        "/v1/models/orders/predict", json={"entities": [{"client_id": "a", "asked": [1.0]}]}
    )
    assert refused.status_code == 400
    assert "row 0, asked is a list of 1" in refused.text

    server.writer.close()
    log = PredictionLogReader(server.folder / "log").read("orders")
    served = log[[f"feature:{name}" for name in NAMES]].to_numpy(dtype="float32")
    np.testing.assert_array_equal(served, offline.to_numpy())
    source = OfflineSource(orders.features, lambda: None, lambda _: TableExamples(pd.DataFrame(), views))
    again, joined = recompute(spec.features, log, source)
    assert joined.all()
    np.testing.assert_array_equal(again.astype("float32"), served)


def test_an_array_of_another_size_than_its_view_says_is_refused(orders, caplog):
    views = training.view_tables(orders.spec, orders.settings)
    (name,) = views
    views[name].at[1, "taste"] = np.array([1.0, 2.0])
    with pytest.raises(MalformedInput, match="the table of tastes: row 1, taste is a list of 2"):
        orders.features.publish(views)
    from perennial.adapters.feast.objects import definitions

    orders.change(lambda content: content["features"]["inputs"]["taste"].update(size=4))
    definitions(orders.settings.project / "feature_repo", orders.folder, [orders.spec])
    assert "tastes:taste is an array of 3, features.inputs says an array of 4" in caplog.text
