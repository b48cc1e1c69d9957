"""Explain a model: mean attributions of its features over a sample of holdout rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.attribution import GlobalAttributions, check_complete
from perennial.core.training.explanation import Background
from perennial.errors import ModelFileError
from perennial.flows.training.workdir import read_record
from perennial.ports import Explain, Scorer


def explain_model(
    spec: ModelSpec, folder: Path, digest: str, features: np.ndarray, scorer: Scorer, explain: Explain
) -> GlobalAttributions:
    """Explain at most `explanation.sample` rows, drawn with the seed of the manifest.

    Args:
        folder: the exported model with its manifest and background.
        digest: of the version that they make up.
        features: float32 [n, features] of holdout rows.

    Raises:
        ModelFileError: the manifest has no explanation settings.
        IncompleteExplanation: base and attributions do not add up to a score.
    """
    manifest = read_record(folder / "manifest.json", ModelManifest, "train")
    settings = manifest.explanation
    if settings is None:
        raise ModelFileError(f"{folder} has no background to explain against", hint="train again")
    background = read_record(folder / settings.background, Background, "train").values()
    order = np.random.default_rng(settings.seed).permutation(len(features))
    rows = features[np.sort(order[: spec.explanation.sample])]
    score = scorer.opened(folder)
    attributions = explain(score, background, rows, settings.coalitions, settings.seed)
    gap = check_complete(attributions, score(rows).astype(float), settings.tolerance)
    return GlobalAttributions.of(
        digest, manifest.features, attributions, len(background), settings.coalitions, gap
    )
