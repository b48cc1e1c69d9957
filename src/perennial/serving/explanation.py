"""`explain: true`: what moved each score, worked out beside the traffic and within a stated time."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.core.training.attribution import Attributions, complete
from perennial.core.training.explanation import ServedExplanation
from perennial.errors import MalformedInput, PerennialError
from perennial.serving.attribution import METHOD, shapley
from perennial.serving.session import LoadedVersion

PATIENCE_SECONDS = 3.0
"""Shorter than one try of the router (4 s), which would send the request on to the next server."""

NICENESS = 10
"""Of the explaining thread; see benchmarks/explain.py for what it saves the traffic."""


class ExplanationNotReady(PerennialError):
    """Not done in time: others are before it, or the library still loads. 429: neither an error of this server
    nor something that another one should try."""


@dataclass(frozen=True)
class ExplainedScores:
    """Complete attributions of the rows of one request."""

    version: LoadedVersion
    found: Attributions
    gap: float
    seconds: float
    waited: float

    def tell(self, answer: dict[str, Any]) -> None:
        """Put them into the answer, which has the same rows in `predictions`; times in milliseconds."""
        wanted, background = _how(self.version)
        answer["explanation"] = {
            "of": "score",
            "method": METHOD,
            "base": self.found.base,
            "background_rows": len(background),
            "coalitions": wanted.coalitions,
            "tolerance": wanted.tolerance,
            "gap": self.gap,
            "ms": round(self.seconds * 1000, 1),
            "waited_ms": round(self.waited * 1000, 1),
        }
        names = self.version.manifest.features
        for prediction, values in zip(answer["predictions"], self.found.values, strict=True):
            prediction["attributions"] = dict(zip(names, values.tolist(), strict=True))


class Explanations:
    """One thread for all explanations of a server: traffic goes on meanwhile, and the library is not safe for
    two. Its first task imports the library."""

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="explain", initializer=_give_way)
        self._patience = patience

    async def explain(
        self, version: LoadedVersion, features: np.ndarray, scores: np.ndarray
    ) -> ExplainedScores:
        """Attributions that add up to the scores.

        Args:
            features: float32 [n, features], as given to the model; scores: float32 [n], as it answered.

        Raises:
            MalformedInput: this version has no background, or these are too many rows.
            ExplanationNotReady: not within the server's patience. What waits is dropped, what runs ends for
                nobody.
            IncompleteExplanation: they do not add up.
        """
        wanted, _ = _how(version)
        if len(features) > wanted.max_rows:
            raise MalformedInput(
                f"{len(features)} rows are to be explained",
                hint=f"at most {wanted.max_rows} in one request: send fewer",
            )
        work = self._thread.submit(_work, version, features, scores, time.perf_counter())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), self._patience)
        except TimeoutError:
            raise ExplanationNotReady(
                f"no explanation of {len(features)} rows within {self._patience:g} s",
                hint="try again in some seconds (the first one of a server loads a library), or with fewer rows",
            ) from None


def _give_way() -> None:
    """Where the cores are busy, predictions come first: Linux has a priority for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _how(version: LoadedVersion) -> tuple[ServedExplanation, np.ndarray]:
    """How a version is explained, and its background."""
    if version.manifest.explanation is None or version.background is None:
        raise MalformedInput(
            f"{version.wanted.model} {version.wanted.version} has no background to explain against",
            hint="train again, or ask without explain",
        )
    return version.manifest.explanation, version.background


def _work(version: LoadedVersion, features: np.ndarray, scores: np.ndarray, asked: float) -> ExplainedScores:
    wanted, background = _how(version)
    began = time.perf_counter()
    found = shapley(version.score, background, features, wanted.coalitions, wanted.seed)
    gap = complete(found, scores.astype(float), wanted.tolerance)
    return ExplainedScores(version, found, gap, seconds=time.perf_counter() - began, waited=began - asked)
