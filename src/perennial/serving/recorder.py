"""Every answer leaves a trace before it is sent: a line in the prediction log and a count."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from perennial.errors import PerennialError
from perennial.serving.metrics import ServerMetrics
from perennial.serving.prediction_log import AnsweredRequest, PredictionLogWriter, new_ids
from perennial.serving.version_selection import SelectedVersion


class Recorder:
    """Gives predictions their ids and writes them down.

    Args:
        clock: aware UTC time of a prediction.
        entropy: random bytes for prediction ids.
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
        chosen: SelectedVersion,
        request_id: str,
        entities: Sequence[dict[str, Any] | None],
        features: np.ndarray,
        scores: np.ndarray,
        started: float,
        context: dict[str, Any] | None = None,
    ) -> tuple[list[str], list[int]]:
        """Ids and decisions (1 from the model's threshold on) of the rows, in order.

        Args:
            features: float32 [n, features], as given to the model.
            scores: float32 [n].
            started: `time.perf_counter()` when the request came.
            context: request values, where the features were asked for by entity.

        Raises:
            PerennialError: a score is not finite.
            OSError: the log could not be written.
        """
        wanted = chosen.version.wanted
        if not np.isfinite(scores).all():
            raise PerennialError(
                f"{wanted.model} {wanted.version}: a score is not finite", hint="look at its inputs"
            )
        now = self._clock()
        ids = new_ids(len(scores), now, self._entropy(10 * len(scores)))
        decisions = (scores >= chosen.version.manifest.threshold).astype(int).tolist()
        seconds = time.perf_counter() - started
        if not chosen.synthetic:
            self._log.append(
                AnsweredRequest(
                    at=now,
                    request_id=request_id,
                    version=chosen.version,
                    release_id=chosen.release_id,
                    shadow=chosen.shadow,
                    latency_ms=seconds * 1000,
                    ids=ids,
                    entities=entities,
                    features=features,
                    scores=scores,
                    decisions=decisions,
                    context=context or {},
                    assigned=chosen.assigned,
                )
            )
            if chosen.assigned is not None and not chosen.shadow and not chosen.stands_in:
                self._metrics.assigned(wanted.model, chosen.assigned, len(scores), seconds)
        self._metrics.answered(wanted.model, wanted.version, len(scores), seconds, chosen.stands_in)
        return ids, decisions
