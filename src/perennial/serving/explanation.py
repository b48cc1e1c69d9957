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

from perennial.core.input_spec import by_name
from perennial.core.tasks import Task
from perennial.core.training.attribution import check_complete
from perennial.core.training.explanation import ServedExplanation
from perennial.errors import ExplanationNotReady, IncompleteExplanation, MalformedInput
from perennial.serving.answers import brief, flag
from perennial.serving.attribution import METHOD, load_library, shapley
from perennial.serving.http.direct import in_a_task
from perennial.serving.session import LoadedVersion

LOG = logging.getLogger(__name__)
PATIENCE_SECONDS = 3.0
"""Shorter than the per-try timeout of the router (4 s), after which it would try the next server."""

NICENESS = 10
"""Niceness of the explaining thread; benchmarks/explain.py measures its effect on the traffic."""


@dataclass(frozen=True)
class ExplainedScores:
    """Complete attributions of the rows of a request, each of one number of its answer; times in seconds."""

    version: LoadedVersion
    explained: np.ndarray
    """Place of the explained class of each row, int [n]; 0 where an answer has a single number to explain."""
    base: np.ndarray
    """float64 [n]"""
    values: np.ndarray
    """float64 [n, features]; an array is one"""
    gap: float
    seconds: float
    waited: float

    def add_to(self, answer: dict[str, Any]) -> None:
        """Add the attributions to the `predictions` of the answer, in the same order; times in milliseconds."""
        wanted, background = _configuration(self.version)
        manifest = self.version.manifest
        classes, base = manifest.task.explained_classes, self.base.tolist()
        names = by_name(manifest.inputs, manifest.features)
        answer["explanation"] = {
            "of": manifest.task.explained,
            "method": METHOD,
            **({} if classes else {"base": base[0]}),
            "background_rows": len(background),
            "coalitions": wanted.coalitions,
            "tolerance": wanted.tolerance,
            "gap": self.gap,
            "ms": round(self.seconds * 1000, 1),
            "waited_ms": round(self.waited * 1000, 1),
        }
        for row, prediction in enumerate(answer["predictions"]):
            if classes:
                prediction["explained"] = {"class": classes[self.explained[row]], "base": base[row]}
            prediction["attributions"] = dict(zip(names, self.values[row].tolist(), strict=True))


def warm(version: LoadedVersion) -> None:
    """Load the library before a version that can be explained counts as loaded: no caller waits for it."""
    if version.background is not None:
        load_library()


def requested(body: dict[str, Any], task: Task) -> tuple[bool, int | None]:
    """Return whether the caller wants attributions, and the place of the class that they are to be of.

    Raises:
        MalformedInput: the class is none of the model, or is named without `explain: true`.
    """
    explain = flag(body, "explain")
    if "explain_class" not in body:
        return explain, None
    given = body["explain_class"]
    if not task.explained_classes:
        raise MalformedInput(
            f"explain_class is {brief(given)}, but a {task.kind} model answers a single number to explain",
            hint="leave explain_class out",
        )
    place = task.label(given)
    if not explain or place is None:
        raise MalformedInput(
            f"explain_class is {brief(given)}" + ("" if explain else " without explain: true"),
            hint=f"send explain: true, and {task.valid_label()}"[:500],
        )
    return True, int(place)


class Explanations:
    """A single thread for all explanations of a server, because the library is not thread-safe.

    The library is there by then (`warm`).
    """

    def __init__(self, patience: float = PATIENCE_SECONDS) -> None:
        self._thread = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="explain", initializer=_lower_priority
        )
        self._patience = patience

    async def explain(
        self, version: LoadedVersion, features: np.ndarray, scores: np.ndarray, chosen: int | None = None
    ) -> ExplainedScores:
        """Return attributions that add up to the scores.

        Args:
            features: float32 [n, features], as given to the model; scores: float32 [n] or [n, k], as it answered.
            chosen: place of the class to explain; None: the most probable of each row.

        Raises:
            MalformedInput: this version has no background, or the request has too many rows.
            ExplanationNotReady: the time limit passed. A waiting task is dropped, the result of a running task is
                discarded.
            IncompleteExplanation: the attributions do not add up to the scores, or the rows cannot be explained. The
                version has scored these rows, and it was explained before its registration: a client that chooses
                the rows must not have that counted against it.
        """
        await in_a_task()
        wanted, _ = _configuration(version)
        if len(features) > wanted.max_rows:
            raise MalformedInput(
                f"{len(features)} rows to explain",
                hint=f"send at most {wanted.max_rows} rows per request",
            )
        work = self._thread.submit(_work, version, features, scores, chosen, time.perf_counter())
        try:
            return await asyncio.wait_for(asyncio.wrap_future(work), self._patience)
        except TimeoutError:
            raise ExplanationNotReady(
                f"no explanation of {len(features)} rows within {self._patience:g} s",
                hint="try again in some seconds, or send fewer rows",
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
    version: LoadedVersion, features: np.ndarray, scores: np.ndarray, chosen: int | None, submitted: float
) -> ExplainedScores:
    wanted, background = _configuration(version)
    began = time.perf_counter()
    numbers_of = version.manifest.task.explained_numbers
    numbers = numbers_of(scores).astype(float)
    explained = numbers.argmax(axis=1) if chosen is None else np.full(len(numbers), chosen)
    needed, places = np.unique(explained, return_inverse=True)

    def score(rows: np.ndarray) -> np.ndarray:
        return numbers_of(version.score(rows))[:, needed]

    together = list(by_name(version.manifest.inputs, version.manifest.features).values())
    try:
        attributions = shapley(score, background, features, wanted.coalitions, wanted.seed, together)
    except Exception as error:  # the library and onnxruntime have exceptions without a common base class
        LOG.exception("explanation of %s", version.wanted.version)
        raise IncompleteExplanation(
            f"these rows cannot be explained: {type(error).__name__}", hint="send the request without explain"
        ) from error
    gap = check_complete(attributions, numbers[:, needed], wanted.tolerance)
    return ExplainedScores(
        version,
        explained,
        base=attributions.base[places],
        values=attributions.values[np.arange(len(numbers)), :, places],
        gap=gap,
        seconds=time.perf_counter() - began,
        waited=began - submitted,
    )
