"""Finished models as other people hand them over: files of scikit-learn pipelines, and the rows to judge them by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn import datasets
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


@dataclass(frozen=True)
class Given:
    """A fitted pipeline, its inputs on the holdout, and the holdout as a CSV file with the column `target`."""

    model: Any
    rows: pd.DataFrame
    holdout: Path

    def onnx(self, path: Path, **options: Any) -> Path:
        """Write the pipeline as ONNX: a matrix, or an input per column where there are texts."""
        texts = [name for name in self.rows if isinstance(self.rows[name].iloc[0], str)]
        width = len(self.rows.columns)
        types: list[tuple[str, Any]] = [("X", FloatTensorType([None, width]))]
        if texts:
            types = [(name, StringTensorType([None, 1]) if name in texts else FloatTensorType([None, 1]))
                     for name in self.rows.columns]  # fmt: skip
        made = skl2onnx.convert_sklearn(
            self.model, name="given", initial_types=types, options=options or None
        )
        path.write_bytes(made.SerializeToString())
        return path

    def skops(self, path: Path) -> Path:
        import skops.io

        skops.io.dump(self.model, path)
        return path


def given(folder: Path, frame: pd.DataFrame, target: pd.Series, pipeline: Any, learnt: int) -> Given:
    model = pipeline.fit(frame[:learnt], target[:learnt])
    holdout = folder / "holdout.csv"
    frame.assign(target=target)[learnt:].to_csv(holdout, index=False)
    return Given(model, frame[learnt:].reset_index(drop=True), holdout)


def wine(folder: Path) -> Given:
    """Three classes by name; the classes of the model are in another order than those of the rows."""
    frame = datasets.load_wine(as_frame=True).frame.sample(frac=1, random_state=0).reset_index(drop=True)
    target = frame.pop("target").map({0: "grignolino", 1: "barolo", 2: "barbera"})
    return given(folder, frame, target, make_pipeline(StandardScaler(), LogisticRegression(max_iter=500)), 90)


def progression(folder: Path) -> Given:
    frame = datasets.load_diabetes(as_frame=True).frame
    return given(folder, frame, frame.pop("target"), make_pipeline(StandardScaler(), Ridge()), 250)


def sales(folder: Path, rows: int = 500, colours: tuple[str, ...] = ("red", "green", "blue")) -> Given:
    """Numbers, a flag and a text, which the pipeline encodes itself."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": random.normal(10, 3, rows),
            "colour": random.choice(colours, rows).astype(object),
            "express": random.random(rows) < 0.4,
        }
    )
    chance = 1 / (1 + np.exp(-(frame["size"] - 10 + 4 * (frame["colour"] == colours[0]))))
    target = pd.Series(np.where(random.random(rows) < chance, "yes", "no"))
    encoder = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["size"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
            ("flags", "passthrough", ["express"]),
        ]
    )
    return given(folder, frame, target, make_pipeline(encoder, LogisticRegression()), 300)
