"""The routes of a model server as a Starlette application."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perennial import __version__
from perennial.errors import PerennialError
from perennial.serving import entities, feedback_inbox, headers, tensors
from perennial.serving.answers import Json, no_route, read_json, refusal
from perennial.serving.explanation import Explanations
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.host import ModelHost
from perennial.serving.metrics import CONTENT_TYPE, ServerMetrics
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.recorder import Recorder
from perennial.serving.version_selection import SelectedVersion, select_version

Handler = Callable[[Request], Awaitable[Response]]


class ModelServer:
    """Handlers over the parts of one server.

    Args:
        features: gives the source of feature values; called when a request by entity comes.
        clock: aware UTC time of a prediction.
        entropy: random bytes for prediction ids.
    """

    def __init__(
        self,
        host: ModelHost,
        features: Callable[[], entities.OnlineValues],
        predictions: PredictionLogWriter,
        feedback: FeedbackWriter,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._host = host
        self._features = features
        self._feedback = feedback
        self._clock = clock
        self._explanations = Explanations()
        self._metrics = ServerMetrics(host.pool)
        self._recorder = Recorder(predictions, self._metrics, clock, entropy)

    def application(self) -> Starlette:
        """Every route, wrapped so that an error becomes a JSON body with its status."""
        v2 = "/v2/models/{model}"
        versioned = v2 + "/versions/{version}"
        # Starlette tries routes one by one: those that carry the traffic come first.
        table: list[tuple[str, str, Handler]] = [
            ("POST", "/v1/models/{model}/predict", self.predict),
            ("POST", f"{v2}/infer", self.infer),
            ("GET", "/livez", self.live),
            ("POST", "/v1/feedback", self.feedback),
            ("GET", "/v1/pool", self.pool),
            ("GET", "/readyz", self.ready),
            ("GET", "/metrics", self.metrics),
            ("POST", f"{versioned}/infer", self.infer),
            ("GET", f"{versioned}/ready", self.model_ready),
            ("GET", versioned, self.model_metadata),
            ("GET", f"{v2}/ready", self.model_ready),
            ("GET", v2, self.model_metadata),
            ("GET", "/v2", self.server_metadata),
            ("GET", "/v2/health/live", self.live),
            ("GET", "/v2/health/ready", self.ready),
        ]
        routes = [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]
        return Starlette(routes=routes, exception_handlers={404: no_route, 405: no_route})

    def _guarded(self, handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request)
            except (PerennialError, OSError) as error:
                answer = refusal(error)
                self._metrics.refused(answer.status_code)
                return answer

        return endpoint

    async def live(self, request: Request) -> Response:
        """The router's health check: false while the server still loads what it was started with."""
        started = self._host.started
        return Json({"live": started}, status_code=200 if started else 503)

    async def ready(self, request: Request) -> Response:
        """Whether everything that is wanted is loaded; one version that cannot be loaded makes it false."""
        ready = self._host.ready
        return Json({"ready": ready}, status_code=200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.page(self._host.versions), media_type=CONTENT_TYPE)

    async def pool(self, request: Request) -> Response:
        """What this server holds and why not, for the Pool port and for people."""
        loaded = self._host.versions
        models = [
            {
                **wanted.model_dump(),
                "loaded": (wanted.model, wanted.digest) in loaded.loaded,
                "error": loaded.errors.get((wanted.model, wanted.digest), ""),
            }
            for wanted in loaded.state.models
        ]
        return Json(
            {
                "pool": self._host.pool,
                "pid": os.getpid(),
                "generation": loaded.state.generation,
                "ready": self._host.ready,
                "error": self._host.error,
                "models": models,
            }
        )

    async def server_metadata(self, request: Request) -> Response:
        return Json({"name": "perennial", "version": __version__, "extensions": []})

    async def model_metadata(self, request: Request) -> Response:
        version = self._choose(request).version
        served = [one for one in self._host.versions.state.models if one.model == version.wanted.model]
        return Json(tensors.metadata(version, [one.version for one in served]))

    async def model_ready(self, request: Request) -> Response:
        wanted = self._choose(request).version.wanted
        return Json({"name": wanted.model, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Open Inference Protocol; prediction ids stand in the parameters, in order, with commas between."""
        started = time.perf_counter()
        chosen = self._choose(request)
        body = await read_json(request)
        features = tensors.read_features(body, chosen.version)
        scores = chosen.version.score(features)
        nobody = [None] * len(scores)
        ids, _ = self._recorder.record(chosen, _request_id(request), nobody, features, scores, started)
        parameters = {"prediction_ids": ",".join(ids)}
        if chosen.release_id:
            parameters["release_id"] = chosen.release_id
        name = body.get("id")
        return Json(
            tensors.answer(chosen.version, scores, name if isinstance(name, str) else None, parameters),
            headers=_stands_in(chosen),
        )

    async def predict(self, request: Request) -> Response:
        """Scores by entity, with features from the online store; with `explain`, what moved each of them."""
        started = time.perf_counter()
        chosen = self._choose(request)
        manifest, wanted = chosen.version.manifest, chosen.version.wanted
        asked = entities.parse(await read_json(request), manifest)
        features = entities.features(asked, manifest, self._features())
        scores = chosen.version.score(features)
        explained = None
        if asked.explain and not chosen.shadow:  # the answer to a mirrored request reaches nobody
            before = time.perf_counter()
            explained = await self._explanations.explain(chosen.version, features, scores)
            # Latency is evidence for a release: that of predictions, whoever also asked why.
            started += time.perf_counter() - before
        ids, decisions = self._recorder.record(
            chosen, _request_id(request), asked.entities, features, scores, started, asked.context
        )
        rows = zip(ids, asked.entities, scores, decisions, strict=True)
        answer: dict[str, Any] = {
            "model": wanted.model,
            "version": wanted.version,
            "release_id": chosen.release_id,
            "digest": wanted.digest,
            "predictions": [
                {"prediction_id": name, "entity": entity, "score": score, "decision": decision}
                for name, entity, score, decision in rows
            ],
        }
        if explained is not None:
            explained.tell(answer)
        return Json(answer, headers=_stands_in(chosen))

    async def feedback(self, request: Request) -> Response:
        """Confirmed when the labels are on the disk; `flows.monitoring.feedback` stores them."""
        given = feedback_inbox.parse(await read_json(request))
        self._feedback.append(given.labels, self._clock(), given.rewards)
        return Json({"accepted": given.predictions})

    def _choose(self, request: Request) -> SelectedVersion:
        path = request.path_params
        return select_version(self._host, path["model"], path.get("version"), request.headers)


def _stands_in(chosen: SelectedVersion) -> dict[str, str]:
    return {headers.STANDS_IN: chosen.stands_in} if chosen.stands_in else {}


def _request_id(request: Request) -> str:
    return request.headers.get(headers.REQUEST_ID, "")
