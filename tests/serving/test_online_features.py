"""Feature values inside the model server."""

from __future__ import annotations

import math

import pytest

from perennial import catalog
from perennial.errors import FeaturesUnavailable, SettingsError
from perennial.history.prepare import TEST_VIEW, prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.installation import HERE

SPEC = catalog.spec("test_failure_predictor")
SERVICE = SPEC.features.service


@pytest.fixture(scope="module")
def online_module():
    from perennial.serving import online_features

    return online_features


@pytest.fixture
def published(tmp_path, online_module):
    from perennial.adapters.feast.features import FeastFeatures

    features = FeastFeatures(HERE / "feature_repo", tmp_path, lambda: [SPEC])
    features.publish(prepare(simulate(SimulationScenario(cycles=10, tests=10))).views)
    return features


def row(test):
    return {"test_id": test, "suite": "ci", "cycle_size": 3, "requested_at": 1_750_000_000.0}


def some_test(tmp_path):
    import pandas as pd

    return pd.read_parquet(tmp_path / "offline" / f"{TEST_VIEW}.parquet")["test_id"].iloc[-1]


def test_nothing_published_is_a_clear_error(tmp_path, online_module):
    with pytest.raises(FeaturesUnavailable, match="no features are published"):
        online_module.OnlineFeatures(tmp_path)


def test_values_come_in_the_order_of_the_rows(published, tmp_path, online_module):
    test = some_test(tmp_path)
    online = online_module.OnlineFeatures(tmp_path)
    first, nobody, again = online.values(SERVICE, [row(test), row("nobody"), row(test)])
    assert nobody is None
    assert first == again
    assert set(first) == set(SPEC.features.names)
    assert not any(math.isnan(value) for value in first.values())


def test_an_unknown_service_names_those_there_are(published, tmp_path, online_module):
    with pytest.raises(FeaturesUnavailable, match=SERVICE):
        online_module.OnlineFeatures(tmp_path).values("nothing", [row("a")])


def test_a_number_finds_a_test_that_is_named_by_digits(tmp_path, published, online_module):
    history = simulate(SimulationScenario(cycles=3, tests=3)).assign(test_id="107440")
    published.publish(prepare(history).views)
    online = online_module.OnlineFeatures(tmp_path)
    assert online.values(SERVICE, [row(107440)]) == online.values(SERVICE, [row("107440")])


def test_an_open_reader_follows_a_new_publication(published, tmp_path, online_module):
    test = some_test(tmp_path)
    online = online_module.OnlineFeatures(tmp_path)
    before = online.values(SERVICE, [row(test)])[0]
    other = SPEC.model_copy(update={"features": SPEC.features.model_copy(update={"service": "newcomer"})})
    published._specs = lambda: [SPEC, other]
    published.publish(prepare(simulate(SimulationScenario(cycles=12, tests=10))).views)
    after = online.values("newcomer", [row(test)])[0]
    assert after["run_count"] >= before["run_count"]
    assert set(after) == set(before)


def test_a_store_that_is_gone_is_unavailable(published, tmp_path, online_module):
    online = online_module.OnlineFeatures(tmp_path)
    (tmp_path / "registry.db").unlink()
    with pytest.raises(FeaturesUnavailable):
        online.values(SERVICE, [row("a")])


def test_a_variable_in_a_comment_need_not_be_set(tmp_path, online_module, monkeypatch):
    """That of the shipped file names PWD, which a process of a container does not have."""
    monkeypatch.delenv("PWD", raising=False)
    shipped = (HERE / "feature_repo" / "feature_store.yaml").read_text()
    assert "$PWD" in shipped
    (tmp_path / "feature_store.yaml").write_text(shipped)
    assert online_module.read_config(tmp_path / "feature_store.yaml", tmp_path).project == "perennial"


def test_a_configuration_that_is_none_is_a_settings_error(published, tmp_path, online_module):
    (tmp_path / "feature_store.yaml").write_text("project: ${PERENNIAL_NOT_SET_ANYWHERE}")
    with pytest.raises(SettingsError, match="PERENNIAL_NOT_SET_ANYWHERE"):
        online_module.OnlineFeatures(tmp_path)
    (tmp_path / "feature_store.yaml").write_text("project: perennial\nprovider: nowhere\ncolour: red\n")
    with pytest.raises(SettingsError):
        online_module.OnlineFeatures(tmp_path)
