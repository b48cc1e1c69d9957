"""The Features port: the same cases over the fake and over Feast."""

from __future__ import annotations

import math

import pandas as pd
import pytest
from doubles.features import MemoryFeatures, OnDemand

from perennial import catalog
from perennial.errors import FeaturesUnavailable, MalformedInput, SpecError
from perennial.history.prepare import SUITE_VIEW, TEST_VIEW, prepare
from perennial.history.schema import conform
from perennial.installation import HERE

REPO = HERE / "feature_repo"
SPEC = catalog.spec("test_failure_predictor")
ASKED = {"cycle_size": 2, "requested_at": pd.Timestamp("2025-01-10T12:00Z").timestamp()}


@pytest.fixture(params=["memory", "feast", "redis"])
def features(request, tmp_path):
    if request.param == "memory":
        return memory()
    return feast(tmp_path, request.getfixturevalue("redis_server").url if request.param == "redis" else None)


def feast(folder, online_store=None):
    from perennial.adapters.feast.features import FeastFeatures

    return FeastFeatures(REPO, folder / "feast", lambda: [SPEC], online_store=online_store)


def memory():
    """The fake computes by the very function that Feast is given."""
    from perennial.adapters.feast.objects import definitions

    views = {one.name: one for one in definitions(REPO, REPO, ())}
    compute = views["request_features"].feature_transformation.udf
    on_demand = OnDemand({TEST_VIEW: ["last_run_at"]}, ["requested_at", "cycle_size"], compute)
    return MemoryFeatures({TEST_VIEW: ["test_id"], SUITE_VIEW: ["suite"]}, {"request_features": on_demand})


def history(*runs):
    """Runs as (cycle, test, minute of start, verdict); a run takes one minute."""
    rows = [
        {
            "execution_id": f"{number}",
            "suite": "ci",
            "test_id": test,
            "cycle": cycle,
            "started_at": pd.Timestamp("2025-01-06", tz="UTC") + pd.Timedelta(minutes=minute),
            "duration_ms": 60_000,
            "verdict": verdict,
            "area": "",
        }
        for number, (cycle, test, minute, verdict) in enumerate(runs)
    ]
    return conform(pd.DataFrame(rows), "test")


THREE = history((1, "a", 0, 1), (1, "b", 0, 0), (2, "a", 60, 0), (3, "a", 120, 1), (3, "c", 121, 0))


@pytest.mark.slow
def test_a_row_gets_what_was_known_when_its_cycle_started(features):
    made = prepare(THREE)
    joined = features.join(SPEC.features, made.examples, made.views)
    known = {(row.cycle, row.test_id): row for row in joined.itertuples()}
    assert math.isnan(known[1, "a"].last_execution_status)
    assert math.isnan(known[1, "a"].suite_failure_rate_last)
    assert known[2, "a"].last_execution_status == 1
    assert known[2, "a"].failure_count == 1
    assert known[2, "a"].suite_failure_rate_last == 0.5
    assert known[3, "a"].last_execution_status == 0
    assert known[3, "a"].hours_since_last_run == pytest.approx(59 / 60)
    assert math.isnan(known[3, "c"].failure_rate)
    assert known[3, "c"].cycle_size == 2


def test_order_and_repetitions_of_rows_stay(features):
    made = prepare(THREE)
    rows = pd.concat([made.examples.iloc[::-1], made.examples.iloc[[3, 3]]])
    joined = features.join(SPEC.features, rows, made.views)
    assert list(joined.index) == list(rows.index)
    assert joined["test_id"].tolist() == rows["test_id"].tolist()
    straight = features.join(SPEC.features, made.examples, made.views)
    names = list(SPEC.features.names)
    pd.testing.assert_frame_equal(joined.iloc[:5][names], straight.iloc[::-1][names])
    assert joined.iloc[5]["failure_rate"] == joined.iloc[6]["failure_rate"]


def test_no_rows_are_no_error(features):
    made = prepare(THREE)
    assert features.join(SPEC.features, made.examples.iloc[:0], made.views).empty


def test_what_cannot_be_joined_is_named(features):
    made = prepare(THREE)
    with pytest.raises(MalformedInput, match=SUITE_VIEW):
        features.join(SPEC.features, made.examples, {TEST_VIEW: made.views[TEST_VIEW]})
    other = SPEC.features.model_copy(update={"columns": (f"{TEST_VIEW}:shoe_size",)})
    with pytest.raises(SpecError, match="shoe_size"):
        features.join(other, made.examples, made.views)


def test_published_values_come_back_online(features):
    features.publish(prepare(THREE).views)
    known, strange, strange_suite, again = features.online(
        SPEC.features,
        [
            {"test_id": "a", "suite": "ci", **ASKED},
            {"test_id": "nobody", "suite": "ci", **ASKED},
            {"test_id": "a", "suite": "nowhere", **ASKED},
            {"test_id": "c", "suite": "ci", **ASKED},
        ],
    )
    assert strange is None
    assert strange_suite is None
    assert set(known) == set(SPEC.features.names)
    assert (known["last_execution_status"], known["failure_count"], known["run_count"]) == (1, 2, 3)
    assert (again["last_execution_status"], again["run_count"]) == (0, 1)
    assert known["suite_failure_rate_last"] == 0.5
    assert known["cycle_size"] == 2
    assert known["weekday"] == 4
    # The third cycle is known when its last run is: 122 minutes after midnight of the 6th.
    assert known["hours_since_last_run"] == pytest.approx(4 * 24 + 12 - 122 / 60)


def test_online_gives_what_a_join_at_that_moment_gives(features):
    made = prepare(THREE)
    features.publish(made.views)
    moment = pd.Timestamp("2025-01-10T12:00Z")
    rows = pd.DataFrame(
        {
            "test_id": ["a", "b"],
            "suite": "ci",
            "cycle_size": 2,
            "requested_at": moment,
            "event_timestamp": moment,
        }
    )
    joined = features.join(SPEC.features, rows, made.views)
    online = features.online(SPEC.features, [{"test_id": t, "suite": "ci", **ASKED} for t in ("a", "b")])
    for number, values in enumerate(online):
        for name in SPEC.features.names:
            assert values[name] == pytest.approx(joined.iloc[number][name]), name


def test_publishing_again_and_then_more_follows_the_history(features):
    early = THREE[THREE["cycle"] < 3]
    row = {"test_id": "a", "suite": "ci", **ASKED}
    for _ in range(2):
        features.publish(prepare(early).views)
        assert features.online(SPEC.features, [row])[0]["run_count"] == 2
    features.publish(prepare(THREE).views)
    assert features.online(SPEC.features, [row])[0]["run_count"] == 3


def test_a_publication_after_a_retraction_brings_the_older_values_back(features):
    row = {"test_id": "a", "suite": "ci", **ASKED}
    features.publish(prepare(THREE).views)
    features.push(prepare(THREE).views)
    features.publish(prepare(THREE[THREE["cycle"] < 3]).views)
    assert features.online(SPEC.features, [row])[0]["run_count"] == 2


def test_a_push_is_online_at_once(features):
    features.publish(prepare(THREE[THREE["cycle"] < 3]).views)
    after = prepare(THREE).views
    features.push({name: view.tail(2) for name, view in after.items()})
    rows = [{"test_id": test, "suite": "ci", **ASKED} for test in ("a", "b", "c")]
    a, b, c = features.online(SPEC.features, rows)
    assert (a["run_count"], b["run_count"], c["run_count"]) == (3, 1, 1)
    assert a["suite_failure_rate_last"] == 0.5


def test_the_newest_row_of_a_push_wins_whatever_the_order(features):
    features.publish(prepare(THREE[THREE["cycle"] < 2]).views)
    features.push({name: view.iloc[::-1] for name, view in prepare(THREE).views.items()})
    assert features.online(SPEC.features, [{"test_id": "a", "suite": "ci", **ASKED}])[0]["run_count"] == 3


def test_before_the_first_publication_there_is_nothing(features):
    with pytest.raises(FeaturesUnavailable):
        features.online(SPEC.features, [{"test_id": "a", "suite": "ci", **ASKED}])
    with pytest.raises(FeaturesUnavailable):
        features.push(prepare(THREE).views)


def test_a_wrong_table_changes_nothing(features):
    made = prepare(THREE)
    features.publish(made.views)
    with pytest.raises(MalformedInput, match="weather"):
        features.publish({**made.views, "weather": made.views[TEST_VIEW]})
    with pytest.raises(MalformedInput, match="test_id"):
        features.publish({TEST_VIEW: made.views[TEST_VIEW].drop(columns="test_id")})
    assert features.online(SPEC.features, [{"test_id": "a", "suite": "ci", **ASKED}])[0]["run_count"] == 3


def test_a_row_without_a_key_or_a_request_value_is_refused(features):
    features.publish(prepare(THREE).views)
    whole = {"test_id": "a", "suite": "ci", **ASKED}
    for name in ("suite", "cycle_size"):
        with pytest.raises(MalformedInput, match=name):
            features.online(SPEC.features, [{key: whole[key] for key in whole if key != name}])
    assert features.online(SPEC.features, []) == []
