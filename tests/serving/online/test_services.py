"""Feature services over each online store: Feast's SQLite, the packed one, Redis."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
import yaml

from perennial import catalog
from perennial.core.feature_spec import FeatureSpec
from perennial.errors import FeaturesUnavailable, SettingsError
from perennial.installation import HERE

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = {
    "balance": "float", "overdrawn": "bool", "bookings": "int", "city": "string", "since": "timestamp",
    "taste": {"type": "array", "size": 3},
}  # fmt: skip
PACKED = (HERE / "feature_repo" / "feature_store.yaml").read_text()
PLAIN = PACKED.replace("perennial.serving.online.packed.PackedSqliteOnlineStore", "sqlite")
TYPED = {
    "city": {"type": "category", "missing": "allow", "categories": ["Bonn"], "unknown": "missing"},
    "since": {"type": "timestamp", "missing": "allow"},
    "taste": {"type": "array", "missing": "allow", "size": 3},
}


def spec(service: str, *names: str):
    """A model over these features of both views."""
    columns = [name if ":" in name else f"clients:{name}" for name in names]
    features = FeatureSpec(
        service=service, entities=("client_id",), columns=columns,
        inputs={name: TYPED[name] for name in names if name in TYPED},
    )  # fmt: skip
    return catalog.spec("test_failure_predictor").model_copy(update={"features": features})


SPECS = [
    spec("numbers", "balance", "overdrawn", "bookings", "visits:visits"),
    spec("texts", "city", "bookings"),
    spec("everything", *COLUMNS, "visits:visits"),
]


def clients(bookings: int = 1) -> pd.DataFrame:
    """Rows of four clients; d is older than the ttl."""
    rows = [
        ("a", 0.1, True, bookings, "Bonn", NOW, [0.1, -0.0, 7.0]),
        ("b", math.nan, None, None, None, None, None),
        ("c", -1e300, False, 2**53 - 1, "Köln\n\n", NOW - timedelta(days=400), [1e-45, 3.4e14, 2.0]),
        ("d", 4.0, True, 4, "Bonn", NOW, [1.0, 2.0, 3.0]),
    ]
    frame = pd.DataFrame(rows, columns=["client_id", *COLUMNS])
    at = [NOW - timedelta(days=100 if client == "d" else 1) for client in frame["client_id"]]
    return frame.assign(
        bookings=frame["bookings"].astype("Int64"), overdrawn=frame["overdrawn"].astype("boolean"),
        since=pd.to_datetime(frame["since"], utc=True).astype("datetime64[us, UTC]"),
        booked_at=pd.to_datetime(at, utc=True),
    )  # fmt: skip


def visits() -> pd.DataFrame:
    at = pd.Series([NOW - timedelta(days=900)] * 3).astype("datetime64[us, UTC]")
    return pd.DataFrame({"client_id": ["a", "b", "d"], "visits": [1, 2, 3], "seen_at": at})


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    views = folder / "configs" / "features"
    views.mkdir(parents=True)
    (folder / "feature_repo").mkdir()
    content = {"description": "", "entity": "client_id", "source": None}
    for name, more in (
        ("clients", {"times": {"event": "booked_at", "created": None}, "ttl": "P30D", "columns": COLUMNS}),
        (
            "visits",
            {"times": {"event": "seen_at", "created": None}, "ttl": None, "columns": {"visits": "int"}},
        ),
    ):
        (views / f"{name}.yaml").write_text(yaml.safe_dump(content | more))
    return folder


def store(project, folder, configuration=PACKED, online_store=None):
    from perennial.adapters.feast.features import FeastFeatures

    (project / "feature_repo" / "feature_store.yaml").write_text(configuration)
    repo = project / "feature_repo"
    return FeastFeatures(repo, folder, lambda: SPECS, lambda: NOW, online_store=online_store)


def published(*given):
    features = store(*given)
    features.publish({"clients": clients(), "visits": visits()})
    return features


def answers(features, service: str, clients: str = "abcdx"):
    """Values by client, with types and bits that can be compared."""
    rows = features.online(
        next(each.features for each in SPECS if each.features.service == service),
        [{"client_id": client} for client in clients],
    )
    return {
        client: None if row is None else {name: repr(value) for name, value in row.items()}
        for client, row in zip(clients, rows, strict=True)
    }


@pytest.mark.slow
def test_every_store_gives_the_same_values(project, tmp_path, redis_server):
    """Numbers, texts, times, arrays, missing and late values, and entities of which a view or none knows."""
    plain = published(project, tmp_path / "plain", PLAIN)
    expected = {each.features.service: answers(plain, each.features.service) for each in SPECS}
    of_a, of_b, of_c, of_d, of_x = expected["everything"].values()
    assert (of_a["balance"], of_a["city"], of_a["bookings"]) == ("0.1", "'Bonn'", "1")
    assert (of_b["bookings"], of_b["taste"]) == ("None", "None")
    assert of_c is None, "one of the views does not know it"
    assert (of_d["balance"], of_d["visits"]) == ("None", "3")
    assert of_x is None
    assert expected["texts"]["c"] == {"city": "'Köln\\n\\n'", "bookings": str(2**53 - 1)}
    for name, online_store in (("packed", None), ("redis", redis_server.url)):
        features = published(project, tmp_path / name, PACKED, online_store)
        for service, values in expected.items():
            assert answers(features, service) == values, (name, service)
            features._online._reads[service] = None
            assert answers(features, service) == values, f"{name}, {service}: as Feast itself answers"


@pytest.mark.slow
def test_a_push_renews_all_features_at_once(project, tmp_path):
    features = published(project, tmp_path)
    newer = clients(7).assign(balance=9.5, booked_at=pd.Timestamp(NOW))
    features.push({"clients": newer[newer["client_id"] == "a"]})
    values = answers(features, "numbers")
    assert values["a"] == {"balance": "9.5", "overdrawn": "True", "bookings": "7", "visits": "1"}
    assert answers(features, "everything")["a"]["balance"] == "9.5"


@pytest.mark.slow
def test_what_was_published_unpacked_is_served_and_pushed_to_until_the_next_publication(project, tmp_path):
    before = published(project, tmp_path, PLAIN)
    expected = answers(before, "everything")
    features = store(project, tmp_path, PACKED)
    assert answers(features, "everything") == expected
    newer = clients(8)
    features.push({"clients": newer[newer["client_id"] == "a"]})
    assert answers(features, "numbers")["a"]["bookings"] == "8"
    features.publish({"clients": clients(9).iloc[:1], "visits": visits()})
    assert answers(features, "numbers")["a"]["bookings"] == "9"
    assert answers(features, "everything")["b"] == expected["b"], "it has left the history"


@pytest.mark.slow
def test_a_feature_that_was_added_is_unknown_until_it_is_written(project, tmp_path):
    """An entity that is not written again has the features of the earlier view, and no more."""
    features = published(project, tmp_path)
    path = project / "configs" / "features" / "clients.yaml"
    content = path.read_text()
    changed = yaml.safe_load(content)
    changed["columns"]["mood"] = "float"
    path.write_text(yaml.safe_dump(changed))
    SPECS.append(spec("moods", "balance", "mood"))
    try:
        features = store(project, tmp_path)
        features.publish({"clients": clients().iloc[1:].assign(mood=0.5), "visits": visits()})
        assert answers(features, "moods", "ab") == {"a": None, "b": {"balance": "None", "mood": "0.5"}}
        assert answers(features, "numbers", "a")["a"]["balance"] == "0.1"
    finally:
        path.write_text(content)
        SPECS.pop()


@pytest.mark.slow
def test_redis_away_is_told_and_comes_back_by_itself(project, tmp_path, redis_server):
    features = published(project, tmp_path, PACKED, redis_server.url)
    expected = answers(features, "numbers")
    redis_server.stop()
    for call in (lambda: answers(features, "numbers"), lambda: features.push({"visits": visits()})):
        with pytest.raises(FeaturesUnavailable, match="Redis does not answer") as caught:
            call()
        assert "PERENNIAL_ONLINE_STORE" in caught.value.hint
        assert caught.value.http_status == 503
    redis_server.start()
    end = datetime.now(UTC) + timedelta(seconds=60)
    while True:
        try:
            assert answers(features, "numbers") == expected
            return
        except FeaturesUnavailable:
            assert datetime.now(UTC) < end


@pytest.mark.parametrize("address", ["redis.example:6379,password=hidden", "http://:hidden@host"])
def test_another_address_is_refused_without_its_password(project, tmp_path, address):
    features = store(project, tmp_path, PACKED, address)
    with pytest.raises(SettingsError, match="PERENNIAL_ONLINE_STORE") as caught:
        features.publish({"visits": visits()})
    assert "hidden" not in f"{caught.value.message} {caught.value.hint}"
