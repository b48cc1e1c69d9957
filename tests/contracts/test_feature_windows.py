"""Window features know only what was known before the moment of a row; Feast answers online what training joins."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial import catalog
from perennial.adapters.feast.windows import window_columns
from perennial.core.feature_view import Aggregate, ViewSpec
from perennial.errors import MalformedInput

START = pd.Timestamp("2024-03-01", tz="UTC")
CONTENT = {
    "name": "payments",
    "description": "payments of a client",
    "entity": "client_id",
    "times": {"event": "paid_at", "created": "seen_at"},
    "ttl": None,
    "columns": {"amount": "float", "late": "bool"},
    "source": None,
    "windows": [
        {"column": "amount", "functions": ["mean", "last", "count"], "over": ["PT1H", "P7D"]},
        {"column": "late", "functions": ["mean"], "over": ["P30D"]},
        {"column": None, "functions": ["count", "rate", "time_since"], "over": ["P7D", "P30D"]},
    ],
}
VIEW = ViewSpec.model_validate(CONTENT)
NAMES = [feature.name for feature in VIEW.window_features]


def table(events) -> pd.DataFrame:
    """Events as (client, minute, minutes until it was seen, amount or None, late or None)."""
    return pd.DataFrame(
        {
            "client_id": [event[0] for event in events],
            "paid_at": [START + pd.Timedelta(minutes=event[1]) for event in events],
            "seen_at": [START + pd.Timedelta(minutes=event[1] + event[2]) for event in events],
            "amount": pd.Series([event[3] for event in events], dtype="float64"),
            "late": pd.Series([event[4] for event in events], dtype="object"),
        }
    )


def asked(rows) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "client_id": [row[0] for row in rows],
            "event_timestamp": [START + pd.Timedelta(minutes=row[1]) for row in rows],
        }
    )


def by_hand(events, rows) -> dict[str, list[float]]:
    """The same by the definition, an event after another."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for client, minute in rows:
        for feature in VIEW.window_features:
            length = feature.over / timedelta(minutes=1)
            inside = [
                (event[1] + event[2], place, *event[3:])
                for place, event in enumerate(events)
                if event[0] == client and minute - length <= event[1] + event[2] < minute
            ]
            inside.sort(key=lambda event: event[0])
            column = {"amount": 2, "late": 3, None: 0}[feature.column]
            values = [float(event[column]) for event in inside if event[column] is not None]
            value = math.nan
            if feature.function is Aggregate.COUNT:
                value = len(values)
            elif feature.function is Aggregate.RATE:
                value = len(values) / (length / 1440)
            elif values:
                value = {
                    Aggregate.MEAN: sum(values) / len(values),
                    Aggregate.LAST: values[-1],
                    Aggregate.TIME_SINCE: (minute - inside[-1][0]) / 60,
                }[feature.function]
            found[feature.name].append(value)
    return found


clients = st.sampled_from(["a", "b", "ä c"])
minutes = st.integers(0, 60 * 24 * 40)
numbers = st.integers(-5, 5).map(lambda number: number / 2)
events = st.lists(
    st.tuples(
        clients, minutes, st.sampled_from([0, 0, 30, 5000]), st.none() | numbers, st.none() | st.booleans()
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda event: (event[0], event[1] + event[2]),
)
rows = st.lists(st.tuples(clients, minutes), min_size=1, max_size=12)


@pytest.mark.slow
@given(events, rows)
def test_windows_are_what_their_definition_says(events, rows):
    rows = [*rows, *((event[0], event[1] + event[2]) for event in events[:5])]
    found = window_columns(VIEW, NAMES, table(events), asked(rows), "event_timestamp")
    for name, expected in by_hand(events, rows).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.slow
@given(events, rows, events, minutes)
def test_no_change_of_the_future_changes_a_value(events, rows, other, cut):
    """Everything from `cut` on is replaced by something else; no row up to `cut` changes by a bit."""
    before = [event for event in events if event[1] + event[2] < cut]
    later = [event for event in other if event[1] + event[2] >= cut]
    rows = [(client, min(minute, cut)) for client, minute in rows]
    first = window_columns(VIEW, NAMES, table(events), asked(rows), "event_timestamp")
    second = window_columns(VIEW, NAMES, table([*before, *later]), asked(rows), "event_timestamp")
    for name in NAMES:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_an_event_without_entity_or_time_is_named():
    broken = table([("a", 1, 0, 1.0, True), (None, 2, 0, 1.0, True)])
    with pytest.raises(MalformedInput, match="event 1 of payments has no client_id"):
        window_columns(VIEW, NAMES, broken, asked([("a", 5)]), "event_timestamp")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"windows": [{"column": None, "functions": ["mean"], "over": ["P1D"]}]}, "mean need a `column`"),
        ({"windows": [{"column": "size", "functions": ["mean"], "over": ["P1D"]}]}, "no column size"),
        ({"ttl": "P1D"}, "windows end by themselves"),
        ({"columns": {"amount": "string", "late": "bool"}}, "amount is no number"),
    ],
)
def test_a_view_that_cannot_be_computed_is_refused(change, named):
    with pytest.raises(ValueError, match=named):
        ViewSpec.model_validate(CONTENT | change)


@pytest.mark.slow
def test_feast_answers_online_what_training_joins(tmp_path):
    """Windows and values of every type, over the real Feast: online values are those of a join at the same moment."""
    import yaml

    from perennial.adapters.feast.features import FeastFeatures
    from perennial.installation import HERE

    project = tmp_path / "project"
    (project / "configs" / "features").mkdir(parents=True)
    (project / "feature_repo").mkdir()
    (project / "feature_repo" / "feature_store.yaml").write_text(
        (HERE / "feature_repo" / "feature_store.yaml").read_text()
    )
    typed = {
        "description": "", "entity": "client_id", "times": {"event": "at", "created": None}, "ttl": "P60D",
        "columns": {"balance": "float", "bookings": "int", "overdrawn": "bool"}, "source": None,
    }  # fmt: skip
    for name, content in (("payments", CONTENT), ("accounts", typed)):
        (project / "configs" / "features" / f"{name}.yaml").write_text(
            yaml.safe_dump(content, sort_keys=False)
        )
    columns = [
        *(f"payments:{name}" for name in NAMES),
        *(f"accounts:{name}" for name in ("balance", "bookings", "overdrawn")),
    ]
    base = catalog.spec("test_failure_predictor")
    features = base.features.model_copy(
        update={"service": "churn", "entities": ("client_id",), "columns": tuple(columns), "request": {}}
    )
    spec = base.model_copy(update={"name": "churn", "features": features})
    now = datetime(2024, 4, 5, 12, tzinfo=UTC)
    store = FeastFeatures(project / "feature_repo", tmp_path / "feast", lambda: [spec], lambda: now)
    random = np.random.default_rng(1)
    made = [
        (
            str(random.choice(["a", "b", "c"])),
            int(minute),
            int(random.choice([0, 90])),
            float(random.normal()),
            None,
        )
        for minute in random.choice(60 * 24 * 35, 200, replace=False)
    ]
    accounts = pd.DataFrame(
        {
            "client_id": ["a", "b", "a", "c"],
            "at": [START, START, START + pd.Timedelta(days=3), START - pd.Timedelta(days=200)],
            "balance": [1.5, None, -2.25, 7.0],
            "bookings": [1, 2**40, 3, 4],
            "overdrawn": [False, False, True, False],
        }
    )
    views = {"payments": table(made), "accounts": accounts}
    store.publish(views)
    keys = [{"client_id": client} for client in ("a", "b", "c")]
    joined = store.join(features, pd.DataFrame(keys).assign(event_timestamp=pd.Timestamp(now)), views)
    online = store.online(features, keys)
    for place, values in enumerate(online):
        for name in features.names:
            value = math.nan if values[name] is None else float(values[name])
            assert value == pytest.approx(joined[name].iloc[place], nan_ok=True, rel=1e-12), name
    assert online[0]["overdrawn"] is True
    assert online[1]["bookings"] == 2**40
    assert joined["count_30d"].min() > 10
    store.push({"payments": table([*made, ("a", 50_000, 0, 1.0, True)])})
    assert store.online(features, keys)[0]["count_7d"] == online[0]["count_7d"] + 1
