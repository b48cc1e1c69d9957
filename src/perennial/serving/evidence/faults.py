"""Attribution of a failure: to the request (400, counts for nobody) or to the version (500, counts against it)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from perennial.errors import MalformedInput, VersionFailed
from perennial.serving.session import LoadedVersion

PLAUSIBLE = 1e15
"""Larger values of a feature are an error of the request: their squares leave float32 in any model."""


def score(version: LoadedVersion, features: np.ndarray, others: Iterable[LoadedVersion]) -> np.ndarray:
    """Return the finite answers of a version, float32 [n] or [n, k].

    Args:
        features: float32 [n, features].
        others: further loaded versions of the model. When they cannot score the rows either, the rows are at
            fault: a bad candidate fails where another version answers.

    Raises:
        MalformedInput: the rows are at fault.
        VersionFailed: the version is at fault.
    """
    scores, problem = _try(version, features)
    if scores is not None:
        return scores
    named = f"{version.wanted.model} {version.wanted.version}"
    if (np.abs(features) > PLAUSIBLE).any():
        raise MalformedInput(
            f"{named}: {problem}: a value is larger than {PLAUSIBLE:g}",
            hint="check the values of the request",
        )
    alike = [
        other
        for other in others
        if other.wanted.digest != version.wanted.digest
        and other.manifest.features == version.manifest.features
    ]
    if alike and all(_try(other, features)[0] is None for other in alike):
        raise MalformedInput(
            f"{named}: {problem}, and so with {', '.join(other.wanted.version for other in alike)}",
            hint="check the values of the request",
        )
    raise VersionFailed(f"{named}: {problem}", hint="the rows are within range: look at the version")


def _try(version: LoadedVersion, features: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Return the scores, or None and what is wrong."""
    try:
        scores = version.score(features)
    except Exception as error:  # noqa: BLE001 onnxruntime has its own exceptions without a common base class
        return None, f"it does not run: {type(error).__name__}"
    finite = math.isfinite(scores.item()) if scores.size == 1 else np.isfinite(scores).all()
    if not finite or len(scores) != len(features):
        return None, "a score is not finite"
    return scores, ""
