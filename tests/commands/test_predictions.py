"""`perennial predictions seal`: what it makes of the log of a model, and what it keeps."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from doubles.answers import answered
from some_release import MODEL, a_release

from perennial import catalog
from perennial import settings as environment
from perennial.cli import main
from perennial.core.release.phase import Phase
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader
from perennial.wiring import database

NOW = datetime.now(UTC)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A log with a prediction of 5, 15 and 25 days ago, under a spec that keeps ten days."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    settings = environment.load()
    spec = catalog.spec(MODEL, settings)
    kept = spec.retention.model_copy(update={"predictions": timedelta(days=10)})
    monkeypatch.setattr(catalog, "spec", lambda *given: spec.model_copy(update={"retention": kept}))
    log = PredictionLogWriter(settings.serving_dir / "log", "stable", "w")
    for days in (5, 15, 25):
        log.append(answered(NOW - timedelta(days=days)))
    log.close()
    (settings.serving_dir / "log" / "m").rename(settings.serving_dir / "log" / MODEL)
    return settings


@pytest.mark.parametrize(
    ("phase", "kept"), [(None, 1), (Phase.SUCCEEDED, 1), (Phase.ROLLED_BACK, 1), (Phase.CANARY, 2)]
)
def test_predictions_since_the_begin_of_a_release_that_goes_on_are_kept(settings, capsys, phase, kept):
    if phase is not None:
        release = a_release(NOW - timedelta(days=20), phase)
        database.store(settings).releases.save(release, None, [])
    assert main(["predictions", "seal", MODEL, "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["journals"], done["pruned"]) == (3, 3 - kept)
    assert len(PredictionLogReader(settings.serving_dir / "log").read(MODEL)) == kept
