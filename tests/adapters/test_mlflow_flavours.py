"""A trained pipeline is kept with its run without a pickle, and answers as it did."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from perennial.adapters.mlflow.tracker import MlflowTracker

import mlflow  # isort: skip  after the adapter, which sets its environment

pytestmark = pytest.mark.slow
RANDOM = np.random.default_rng(0)


def estimators():
    from lightgbm import LGBMRegressor
    from xgboost import XGBRegressor

    return {
        "sklearn": Ridge(),
        "lightgbm": LGBMRegressor(n_estimators=5, verbose=-1, n_jobs=1),
        "xgboost": XGBRegressor(n_estimators=5, n_jobs=1),
    }


@pytest.mark.parametrize("framework", ["sklearn", "lightgbm", "xgboost"])
def test_a_pipeline_is_logged_in_a_flavour_that_runs_no_code(framework, tmp_path):
    rows = RANDOM.normal(size=(60, 3)).astype(np.float32)
    pipeline = make_pipeline(StandardScaler(), estimators()[framework]).fit(rows, rows.sum(axis=1))
    served = tmp_path / "model"
    served.mkdir()
    (served / "manifest.json").write_text(json.dumps({"framework": framework}))
    from skl2onnx import to_onnx

    onnx_file = to_onnx(make_pipeline(StandardScaler(), Ridge()).fit(rows, rows[:, 0]), rows[:1])
    (served / "model.onnx").write_bytes(onnx_file.SerializeToString())
    url = f"sqlite:///{tmp_path}/mlflow.db"
    tracker = MlflowTracker(url, tmp_path / "artifacts")
    with tracker.run("any", "training", {}) as run:
        run.model(served, pipeline, rows[:5], pipeline.predict(rows[:5]))
    logged = sorted(tmp_path.rglob("MLmodel"))
    files = [path for path in tmp_path.rglob("*") if path.suffix in {".pkl", ".pickle", ".joblib"}]
    assert not files
    kept = next(path for path in logged if "skops" in path.read_text())
    loaded = mlflow.sklearn.load_model(str(kept.parent))
    assert np.array_equal(loaded.predict(rows), pipeline.predict(rows))
