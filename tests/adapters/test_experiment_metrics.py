"""The figures of running A/B tests on the monitor's page."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from perennial.adapters.prometheus.experiment_metrics import ExperimentMetrics
from perennial.core.experiment.live_experiment import VariantFigures

CONTROL = VariantFigures(experiment="ab12", version="1.0.0", users=40, accuracy=0.75, reward=None)
TREATMENT = VariantFigures(experiment="ab12", version="1.1.0", users=41, accuracy=0.8, reward=-2.5)


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_what_is_known_is_shown_and_an_ended_test_is_not(registry):
    metrics = ExperimentMetrics(registry)
    metrics.show("m", [CONTROL, TREATMENT])
    page = generate_latest(registry).decode()
    assert 'ab_test_accuracy{arm="1.0.0",experiment="ab12",model="m"} 0.75' in page
    assert 'ab_test_avg_reward{arm="1.1.0",experiment="ab12",model="m"} -2.5' in page
    assert 'ab_test_users{arm="1.1.0",experiment="ab12",model="m"} 41.0' in page
    assert page.count("ab_test_avg_reward{") == 1
    metrics.show("m", [])
    assert "ab12" not in generate_latest(registry).decode()


def test_page_is_as_prometheus_wants_it(registry):
    ExperimentMetrics(registry).show("m", [CONTROL, TREATMENT])
    page = generate_latest(registry)
    read = {family.name for family in text_string_to_metric_families(page.decode())}
    assert {"ab_test_users", "ab_test_accuracy", "ab_test_avg_reward"} <= read
    if shutil.which("promtool"):
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, b"")
