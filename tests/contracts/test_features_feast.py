"""What only Feast can get wrong: joins against its own, publications cut short, readers beside writers."""

from __future__ import annotations

import shutil
import threading

import numpy as np
import pandas as pd
import pytest

from perennial import catalog
from perennial.errors import MalformedInput
from perennial.history.prepare import SUITE_VIEW, TEST_VIEW, prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.installation import HERE

pytestmark = pytest.mark.slow

SPEC = catalog.spec("test_failure_predictor")
NAMES = list(SPEC.features.names)


@pytest.fixture(scope="module")
def made():
    return prepare(simulate(SimulationScenario(cycles=40, tests=30)))


@pytest.fixture
def features(tmp_path):
    return adapter(tmp_path)


def adapter(folder):
    from perennial.adapters.feast.features import FeastFeatures

    return FeastFeatures(HERE / "feature_repo", folder / "feast", lambda: [SPEC])


def by_pandas(rows, view, key):
    """The same join in pandas, for rows without late arrivals."""
    state = view.sort_values("event_timestamp").drop(
        columns=[c for c in ("suite",) if c != key and c in view]
    )
    asked = rows[[key, "event_timestamp"]].assign(row=np.arange(len(rows))).sort_values("event_timestamp")
    return pd.merge_asof(asked, state, on="event_timestamp", by=key).sort_values("row", ignore_index=True)


def by_feast(features, made, rows, late=False):
    """Feast's own join over the published tables, in the order of `rows`."""
    features.publish(made)
    store = features._store(features._folder / "registry.db")
    entities = rows[["test_id", "suite", "requested_at", "event_timestamp"]].assign(
        cycle_size=rows["cycle_size"].astype("int64"), row=np.arange(len(rows))
    )
    service = store.get_feature_service(SPEC.features.service)
    found = store.get_historical_features(entities, service, filter_by_created_timestamp=True).to_df()
    # The request value and the feature share the name cycle_size; the feature comes last.
    found = found.loc[:, ~found.columns.duplicated(keep="last")].sort_values("row", ignore_index=True)
    assert len(found) == len(rows)
    return found[NAMES].astype("float64")


def test_a_time_in_the_future_is_not_published(features, made):
    features.publish(made.views)
    late = made.views[TEST_VIEW].copy()
    late.loc[late.index[-1], ["event_timestamp", "created_timestamp"]] = pd.Timestamp("2099-01-01", tz="UTC")
    for write in (features.publish, features.push):
        with pytest.raises(MalformedInput, match=r"test_id.*2099-01-01.*in the future") as caught:
            write({**made.views, TEST_VIEW: late})
        assert "perennial data retract" in caught.value.hint


def test_the_join_is_pandas_merge_asof(features, made):
    joined = features.join(SPEC.features, made.examples, made.views)
    for view, key in ((TEST_VIEW, "test_id"), (SUITE_VIEW, "suite")):
        expected = by_pandas(made.examples, made.views[view], key)
        names = [column.split(":")[1] for column in SPEC.features.columns if column.startswith(view)]
        pd.testing.assert_frame_equal(joined[names], expected[names], check_exact=True)


def test_the_join_is_feasts_own(features, made):
    rows = pd.concat([made.examples, made.examples.sample(50, random_state=1)], ignore_index=True)
    expected = by_feast(features, made.views, rows)
    joined = features.join(SPEC.features, rows, made.views)[NAMES]
    pd.testing.assert_frame_equal(joined, expected, check_exact=True)


def test_rows_that_came_in_late_are_as_feast_has_them(features, made):
    rng = np.random.default_rng(5)
    views = {}
    for name, view in made.views.items():
        delay = pd.to_timedelta(rng.integers(0, 96, len(view)) * rng.integers(0, 2, len(view)), unit="h")
        views[name] = view.assign(created_timestamp=view["event_timestamp"] + delay)
    joined = features.join(SPEC.features, made.examples, views)[NAMES]
    assert not joined.equals(features.join(SPEC.features, made.examples, made.views)[NAMES])
    pd.testing.assert_frame_equal(joined, by_feast(features, views, made.examples), check_exact=True)


def test_a_state_past_its_ttl_is_not_known(made):
    from datetime import timedelta

    from perennial.adapters.feast import point_in_time

    view = adapter(HERE)._objects[TEST_VIEW]
    found = {}
    for ttl in (None, timedelta(days=1)):
        view.ttl = ttl
        found[ttl] = point_in_time.state_columns(view, ["last_run_at"], made.views[view.name], made.examples)[
            "last_run_at"
        ]
    at = made.examples["event_timestamp"].to_numpy("datetime64[ms]").astype("int64") / 1000
    old = at - found[None] > 86_400
    assert 0 < old.sum() < len(old)
    assert np.isnan(found[timedelta(days=1)][old]).all()
    np.testing.assert_array_equal(found[timedelta(days=1)][~old], found[None][~old])


def test_a_publication_cut_short_keeps_the_old_one_and_can_be_repeated(features, made, monkeypatch):
    from perennial.adapters.feast import features as feast_features

    row = {"test_id": made.examples["test_id"].iloc[0], "suite": "ci", "cycle_size": 1, "requested_at": 0.0}
    features.publish(made.views)
    before = features.online(SPEC.features, [row])
    registry = (features._folder / "registry.db").read_bytes()

    for step in ("_let_read_while_writing", "_materialise"):

        def killed(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(feast_features, step, killed)
            with pytest.raises(KeyboardInterrupt):
                features.publish(made.views)
        assert (features._folder / "registry.db").read_bytes() == registry
        assert features.online(SPEC.features, [row]) == before
    features.publish(made.views)
    assert features.online(SPEC.features, [row]) == before


def test_readers_are_answered_while_a_publication_runs(features, made):
    from perennial.serving.online_features import OnlineFeatures

    row = {"test_id": made.examples["test_id"].iloc[0], "suite": "ci", "cycle_size": 1, "requested_at": 0.0}
    features.publish(made.views)
    reader = OnlineFeatures(features._folder)
    done, answers, errors = threading.Event(), [], []

    def read():
        try:
            while not done.is_set():
                answers.append(reader.values(SPEC.features.service, [row])[0])
        except Exception as error:  # noqa: BLE001 whatever it is, the test shows it
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for _ in range(3):
            features.publish(made.views)
            features.push({name: view.tail(20) for name, view in made.views.items()})
    finally:
        done.set()
        thread.join()
    assert not errors
    assert len(answers) > 3
    assert all(answer == answers[0] for answer in answers)


def test_views_of_another_model_that_nobody_published_stop_nothing(features, made):
    features.publish({SUITE_VIEW: made.views[SUITE_VIEW]})
    store = features._store(features._folder / "registry.db")
    assert [view.name for view in store.list_feature_views()] == [SUITE_VIEW]
    assert store.list_feature_services() == []
    features.publish({TEST_VIEW: made.views[TEST_VIEW]})
    assert len(features._store(features._folder / "registry.db").list_feature_services()) == 1


def test_what_features_mean_is_kept_beside_the_publication(features, made, tmp_path):
    """Adding a feature changes no other's meaning; another type, key or computation changes that of its own."""
    from perennial.adapters.feast import definitions as feature_definitions

    service = SPEC.features.service
    assert feature_definitions.published(features._folder, service) == {}
    features.publish(made.views)
    first = feature_definitions.published(features._folder, service)
    assert set(first) == set(NAMES)
    features.publish(made.views)
    assert feature_definitions.published(features._folder, service) == first

    repo = tmp_path / "feature_repo"
    shutil.copytree(HERE / "feature_repo", repo)
    shutil.copytree(HERE / "configs" / "features", tmp_path / "configs" / "features")
    files = [tmp_path / "configs" / "features" / f"{view}.yaml" for view in (TEST_VIEW, SUITE_VIEW)]
    wider = [path.read_text().replace("columns:", "columns:\n  mood: float") for path in files]
    for path, text in zip(files, wider, strict=True):
        path.write_text(text.replace("ttl: null", "ttl: P9D"))
    views = {name: view.assign(mood=0.0) for name, view in made.views.items()}
    from perennial.adapters.feast.features import FeastFeatures

    FeastFeatures(repo, features._folder, lambda: [SPEC]).publish(views)
    assert all(
        digest != first[name]
        for name, digest in feature_definitions.published(features._folder, service).items()
    )
    for path, text in zip(files, wider, strict=True):
        path.write_text(text)
    FeastFeatures(repo, features._folder, lambda: [SPEC]).publish(views)
    assert feature_definitions.published(features._folder, service) == first
