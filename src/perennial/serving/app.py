"""The HTTP routes of a model server as a Starlette application."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import grpc
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perennial.errors import PerennialError
from perennial.serving import entities, headers, strict_json
from perennial.serving.access import caller
from perennial.serving.access.door import Door, feedback_source, refuse_explanation
from perennial.serving.answers import Json, no_route, read_body, read_json, refusal
from perennial.serving.evidence import feedback_entries
from perennial.serving.evidence.sources import FeedbackSources
from perennial.serving.explanation import Explanations
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.host import ModelHost
from perennial.serving.http import pages
from perennial.serving.http.direct import ANSWERED, DirectRoutes, in_a_task
from perennial.serving.metrics import ServerMetrics
from perennial.serving.observing.requests import CollectSteps, Observe, no_steps
from perennial.serving.observing.steps import TracedFeatures, TracedRecorder
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.protocol.grpc.service import InferenceCalls
from perennial.serving.protocol.inference import Inference, stands_in
from perennial.serving.protocol.repository import Repository
from perennial.serving.protocol.rest.plain_entities import read_plain
from perennial.serving.protocol.rest.repository import RepositoryRoutes
from perennial.serving.protocol.rest.requests import read_request
from perennial.serving.protocol.rest.responses import metadata_body, respond
from perennial.serving.protocol.traced import TracedInference
from perennial.serving.recorder import Recorder

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

LOG = logging.getLogger(__name__)


class ModelServer:
    """HTTP handlers of a model server.

    Args:
        features: returns the source of feature values; called for each request by entity.
        clock: returns the aware UTC time of a prediction.
        entropy: returns random bytes for prediction ids.
        traced: whether reads of features, scoring and the log are steps of the trace of a request.
    """

    def __init__(
        self,
        host: ModelHost,
        features: Callable[[], entities.OnlineValues],
        predictions: PredictionLogWriter,
        feedback: FeedbackWriter,
        sources: FeedbackSources,
        clock: Callable[[], datetime] = partial(datetime.now, UTC),
        entropy: Callable[[int], bytes] = os.urandom,
        traced: bool = False,
    ) -> None:
        self._host = host
        self._features = TracedFeatures(features) if traced else features
        self._feedback = feedback
        self._sources = sources
        self._clock = clock
        self._explanations = Explanations()
        self._metrics = ServerMetrics(host)
        recorder_kind, inference_kind = (TracedRecorder, TracedInference) if traced else (Recorder, Inference)
        self._recorder = recorder_kind(predictions, self._metrics, clock, entropy)
        self.inference = inference_kind(host, self._recorder)
        self._repository = Repository(host)

    def application(self) -> DirectRoutes:
        """Return the application; an error in a handler becomes a JSON body with its HTTP status."""
        v2 = "/v2/models/{model}"
        versioned = v2 + "/versions/{version}"
        table: list[tuple[str, str, Handler]] = [
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
            ("GET", "/v2/", self.server_metadata),  # so it is in the protocol's OpenAPI document
            *RepositoryRoutes(self._repository).table,
            ("GET", "/v2/health/live", self.live),
            ("GET", "/v2/health/ready", self.ready),
            *pages.TABLE,
            # The routes of the traffic, for the 405 of another method: `DirectRoutes` takes their requests.
            ("POST", "/v1/models/{model}/predict", self.predict),
            ("POST", f"{v2}/infer", self.infer),
        ]
        routes = [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]
        rest = Starlette(routes=routes, exception_handlers={404: no_route, 405: no_route})
        traffic = {("v1", "predict"): self.predict, ("v2", "infer"): self.infer}
        return DirectRoutes({route: self._guarded(handler) for route, handler in traffic.items()}, rest)

    def calls(
        self, door: Door, observe: Observe | None = None, steps: CollectSteps = no_steps
    ) -> grpc.GenericRpcHandler:
        """Return the service for a gRPC server; `door` says who may call it."""
        calls = InferenceCalls(self.inference, self._repository, door, self._metrics)
        return calls.handlers(observe, steps)

    def _guarded(self, handler: Handler) -> Handler:
        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request)
            except (PerennialError, OSError) as error:
                answer = refusal(error)
                self._metrics.refused(answer.status_code)
                return answer
            except Exception:
                LOG.exception("%s %s", request.method, request.scope["path"])
                self._metrics.refused(500)
                return Json({"error": "the server failed", "hint": "see its log"}, status_code=500)

        return endpoint

    async def live(self, request: Request) -> Response:
        """Answer the router's health check: 503 until the server has tried to load its first desired state."""
        started = self._host.started
        return Json({"live": started}, status_code=200 if started else 503)

    async def ready(self, request: Request) -> Response:
        """Answer 503 until every pinned version is loaded."""
        ready = self._host.ready
        return Json({"ready": ready}, status_code=200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        # In a thread: with a thousand models the page takes longer than many answers.
        page = await asyncio.to_thread(self._metrics.page)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    async def pool(self, request: Request) -> Response:
        """Report the versions of this server and their errors, for the Pool port and for people."""
        versions = self._host.versions
        models = [
            {
                **wanted.model_dump(),
                "load": wanted.load,
                "loaded": self._host.is_loaded(wanted.identity),
                "held": wanted.identity in versions.loaded or wanted.identity in versions.registered,
                "error": self._host.error_of(wanted.identity),
            }
            for wanted in versions.state.models
        ]
        return Json(
            {
                "pool": self._host.pool,
                "pid": os.getpid(),
                "generation": versions.state.generation,
                "ready": self._host.ready,
                "error": self._host.error,
                "on_demand": {
                    "bytes": self._host.on_demand.memory,
                    "budget": self._host.on_demand.budget,
                    "loaded": self._host.on_demand.count,
                },
                "models": models,
            }
        )

    async def server_metadata(self, request: Request) -> Response:
        return Json(asdict(self.inference.server_metadata()))

    async def model_metadata(self, request: Request) -> Response:
        path = request.path_params
        metadata = self.inference.metadata(path["model"], path.get("version", ""), request.headers)
        return Json(metadata_body(metadata))

    async def model_ready(self, request: Request) -> Response:
        path = request.path_params
        ready = self.inference.model_ready(path["model"], path.get("version", ""), request.headers)
        return Json({"name": path["model"], "ready": ready})

    async def infer(self, request: Request) -> Response:
        """Answer an Open Inference Protocol request; the prediction ids are in the parameters, comma-separated."""
        started = time.perf_counter()
        path = request.path_params
        body = await read_body(request)
        asked = read_request(body, request.headers, path["model"], path.get("version", ""))
        answer = await self.inference.answer(asked, request.headers, started)
        request.scope[ANSWERED] = answer.model, answer.version
        return respond(asked, answer)

    async def predict(self, request: Request) -> Response:
        """Answer with scores by entity from online features, with `explain` also with their attributions."""
        started = time.perf_counter()
        selected = await self.inference.select(request.path_params["model"], "", request.headers)
        manifest, wanted = selected.version.manifest, selected.version.wanted
        body = await read_body(request)
        parsed = read_plain(body, manifest) or entities.parse(strict_json.parse(body), manifest)
        if parsed.explain:
            refuse_explanation(request.scope, wanted.model)
            await in_a_task()  # before the features, which may be waited for
        features = await entities.features(parsed, manifest, self._features)
        scores = self.inference.score(selected, features)
        explained = None
        if parsed.explain and not selected.shadow:  # nobody reads the answer to a mirrored request
            before = time.perf_counter()
            explained = await self._explanations.explain(
                selected.version, features, scores, parsed.explained_class
            )
            # Latency is evidence of a release: the time of the explanation must not count.
            started += time.perf_counter() - before
        ids = self._recorder.record(
            selected,
            caller.request_id(request.headers),
            parsed.entities,
            features,
            scores,
            started,
            parsed.context,
            caller.client(request.headers),
        )
        request.scope[ANSWERED] = wanted.model, wanted.version
        rows = zip(ids, parsed.entities, manifest.task.fields(scores), strict=True)
        answer: dict[str, Any] = {
            "model": wanted.model,
            "version": wanted.version,
            "release_id": selected.release_id,
            "digest": wanted.digest,
            "predictions": [
                {"prediction_id": name, "entity": entity, **fields} for name, entity, fields in rows
            ],
        }
        if explained is not None:
            explained.add_to(answer)
        return Json(answer, headers=stands_in(selected))

    async def feedback(self, request: Request) -> Response:
        """Write the labels of a known source to the disk; `flows.feedback` checks and stores them later.

        The key of the source, or the right of the client, is checked before the body is read.
        """
        source = feedback_source(request.scope) or self._sources.holder(
            request.headers.get(headers.FEEDBACK_KEY, "")
        )
        models = source.models or self._host.versions.state.by_model
        tasks = [version.manifest.task for version in self._host.known(models)]
        given = feedback_entries.parse(await read_json(request), tasks)
        self._feedback.append(given, source, self._clock())
        return Json({"accepted": given.predictions})
