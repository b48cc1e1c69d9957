"""How much each feature moves the scores of a model, over a sample of rows that it never learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.attribution import GlobalAttributions, complete
from perennial.core.training.background import Background
from perennial.errors import ModelFileError
from perennial.flows.training.workdir import read_record
from perennial.ports import Explain, Scorer


def explain_model(
    spec: ModelSpec, folder: Path, features: np.ndarray, scorer: Scorer, explain: Explain
) -> GlobalAttributions:
    """Explain at most `explanation.sample` rows, drawn with the seed of the manifest.

    Args:
        folder: the exported model with its manifest and background.
        features: float32 [n, features] of holdout rows.

    Raises:
        ModelFileError: the model was trained before there were explanations.
        IncompleteExplanation: base and attributions do not add up to a score.
    """
    manifest = read_record(folder / "manifest.json", ModelManifest, "train")
    how = manifest.explanation
    if how is None:
        raise ModelFileError(f"{folder} has no background to explain against", hint="train again")
    background = read_record(folder / how.background, Background, "train").values()
    order = np.random.default_rng(how.seed).permutation(len(features))
    rows = features[np.sort(order[: spec.explanation.sample])]
    score = scorer.opened(folder)
    found = explain(score, background, rows, how.coalitions, how.seed)
    gap = complete(found, score(rows).astype(float), how.tolerance)
    return GlobalAttributions.of(
        manifest.digest, manifest.features, found, len(background), how.coalitions, gap
    )
