"""Explanations for `explain: true`: computed in a thread beside the traffic, within a time limit."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.core.training.attribution import Attributions, check_complete
from perennial.core.training.explanation import ServedExplanation
from perennial.errors import ExplanationNotReady, IncompleteExplanation, MalformedInput
from perennial.serving.attribution import METHOD, shapley
from perennial.serving.session import LoadedVersion

LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 3.0
"""Shorter than the per-try timeout of the router (4 s), after which it would try the next server."""

NICENESS = 10
"""Niceness of the explaining thread; benchmarks/explain.py measures its effect on the traffic."""


@dataclass(frozen=True)
class ExplainedScores:
    """Complete attributions of the rows of a request; times in seconds."""

    version: LoadedVersion
    attributions: Attributions
    gap: float
    seconds: float
    waited: float

    def add_to(self, answer: dict[str, Any]) -> None:
        """Add the attributions to the `predictions` of the answer, in the same order; times in milliseconds."""
        wanted, background = _configuration(self.version)
        answer["explanation"] = {
            "of": self.version.manifest.task.output,
            "method": METHOD,
            "base": self.attributions.base,
            "background_rows": len(background),
            "coalitions": wanted.coalitions,
            "tolerance": wanted.tolerance,
            "gap": self.gap,
            "ms": round(self.seconds * 1000, 1),
            "waited_ms": round(self.waited * 1000, 1),
        }
        names = self.version.manifest.features
        for prediction, values in zip(answer["predictions"], self.attributions.values, strict=True):
            prediction["attributions"] = dict(zip(names, values.tolist(), strict=True))


class Explanations:
    """A single thread for all explanations of a server, because the library is not thread-safe.

    Its first task imports the library; predictions continue meanwhile.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="explain", initializer=_lower_priority
        )
        self._patience = patience

    async def explain(
        self, version: LoadedVersion, features: np.ndarray, scores: np.ndarray
    ) -> ExplainedScores:
        """Return attributions that add up to the scores.

        Args:
            features: float32 [n, features], as given to the model; scores: float32 [n], as it answered.

        Raises:
            MalformedInput: this version has no background, or the request has too many rows.
            ExplanationNotReady: the time limit passed. A waiting task is dropped, the result of a running task is
                discarded.
            IncompleteExplanation: the attributions do not add up to the scores, or the rows cannot be explained. The
                version has scored these rows, and it was explained before its registration: a client that chooses
                the rows must not have that counted against it.
        """
        wanted, _ = _configuration(version)
        if len(features) > wanted.max_rows:
            raise MalformedInput(
                f"{len(features)} rows to explain",
                hint=f"send at most {wanted.max_rows} rows per request",
            )
        work = self._thread.submit(_work, version, features, scores, time.perf_counter())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), self._patience)
        except TimeoutError:
            raise ExplanationNotReady(
                f"no explanation of {len(features)} rows within {self._patience:g} s",
                hint="try again in some seconds (the first explanation of a server loads a library) or send fewer rows",
            ) from None


def _lower_priority() -> None:
    """Give predictions precedence on busy cores; only Linux has a priority per thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _configuration(version: LoadedVersion) -> tuple[ServedExplanation, np.ndarray]:
    """Return the explanation settings of a version and its background."""
    if version.manifest.explanation is None or version.background is None:
        raise MalformedInput(
            f"{version.wanted.model} {version.wanted.version} has no background for explanations",
            hint="train again, or send the request without explain",
        )
    return version.manifest.explanation, version.background


def _work(
    version: LoadedVersion, features: np.ndarray, scores: np.ndarray, submitted: float
) -> ExplainedScores:
    wanted, background = _configuration(version)
    began = time.perf_counter()
    try:
        attributions = shapley(version.score, background, features, wanted.coalitions, wanted.seed)
    except Exception as error:  # the library and onnxruntime have exceptions without a common base class
        LOG.exception("explanation of %s", version.wanted.version)
        raise IncompleteExplanation(
            f"these rows cannot be explained: {type(error).__name__}", hint="send the request without explain"
        ) from error
    gap = check_complete(attributions, scores.astype(float), wanted.tolerance)
    return ExplainedScores(
        version, attributions, gap, seconds=time.perf_counter() - began, waited=began - submitted
    )
