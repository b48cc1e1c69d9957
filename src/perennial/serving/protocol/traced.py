"""Inference of a server that traces."""

from __future__ import annotations

import numpy as np

from perennial.serving.observing.steps import step
from perennial.serving.protocol.inference import Inference
from perennial.serving.session import LoadedVersion
from perennial.serving.version_selection import SelectedVersion


class TracedInference(Inference):
    """Inference whose scoring is a step."""

    def score(self, selected: SelectedVersion[LoadedVersion], features: np.ndarray) -> np.ndarray:
        with step("score"):
            return super().score(selected, features)
