"""Recording of answers before they are sent: a line in the prediction log and the metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from perennial.serving.metrics import ServerMetrics
from perennial.serving.prediction_log import ID_ENTROPY, AnsweredRequest, PredictionLogWriter, new_ids
from perennial.serving.session import LoadedVersion
from perennial.serving.version_selection import SelectedVersion


class Recorder:
    """Assigns prediction ids and logs the predictions.

    Args:
        clock: returns the aware UTC time of a prediction.
        entropy: returns random bytes for prediction ids.
    """

    def __init__(
        self,
        log: PredictionLogWriter,
        metrics: ServerMetrics,
        clock: Callable[[], datetime],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._entropy = entropy

    def record(
        self,
        selected: SelectedVersion[LoadedVersion],
        request_id: str,
        entities: Sequence[dict[str, Any] | None],
        features: np.ndarray,
        scores: np.ndarray,
        started: float,
        context: dict[str, Any] | None = None,
        client: str | None = None,
    ) -> list[str]:
        """Log the rows; returns their ids in order.

        Args:
            features: float32 [n, features], as given to the model.
            scores: float32 [n] or [n, k], finite.
            started: `time.perf_counter()` at the arrival of the request.
            context: request values, for a prediction by entity.
            client: pseudonym of the client.

        Raises:
            OSError: the log cannot be written.
        """
        wanted = selected.version.wanted
        now = self._clock()
        ids = new_ids(len(scores), now, self._entropy(ID_ENTROPY * len(scores)))
        task = selected.version.manifest.task
        decisions = task.decided(scores)
        seconds = time.perf_counter() - started
        if not selected.synthetic:
            self._log.append(
                AnsweredRequest(
                    at=now,
                    request_id=request_id,
                    version=selected.version,
                    release_id=selected.release_id,
                    shadow=selected.shadow,
                    latency_ms=seconds * 1000,
                    ids=ids,
                    entities=entities,
                    features=features,
                    scores=task.summary(scores),
                    probabilities=scores if scores.ndim > 1 else None,
                    decisions=decisions,
                    context=context or {},
                    assigned=selected.assigned,
                    client=client,
                )
            )
            if selected.assigned is not None and not selected.shadow and not selected.stands_in:
                self._metrics.assigned(wanted.model, selected.assigned, len(scores), seconds)
        self._metrics.answered(wanted.model, wanted.version, len(scores), seconds, selected.stands_in)
        return ids
