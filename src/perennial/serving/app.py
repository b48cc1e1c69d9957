"""The routes of a model server as a Starlette application."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from perennial import __version__
from perennial.errors import (
    FeaturesUnavailable,
    MalformedInput,
    PerennialError,
    ShapeError,
    UnknownEntity,
    UnknownModel,
    UnknownVersion,
)
from perennial.serving import entities, feedback_inbox, headers, tensors
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.host import ModelHost, NotLoaded
from perennial.serving.metrics import CONTENT_TYPE, ServerMetrics
from perennial.serving.prediction_log import Answered, PredictionLogWriter, new_ids
from perennial.serving.session import LoadedVersion

MAX_BODY_BYTES = 16 * 1024 * 1024

STATUS: tuple[tuple[type[PerennialError], int], ...] = (
    (NotLoaded, 503),
    (FeaturesUnavailable, 503),
    (UnknownModel, 404),
    (UnknownVersion, 404),
    (UnknownEntity, 404),
    (ShapeError, 400),
    (MalformedInput, 400),
)


class Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


@dataclass(frozen=True)
class Chosen:
    """The version that answers a request, and on whose behalf."""

    version: LoadedVersion
    release_id: str | None
    shadow: bool
    synthetic: bool


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
        self._predictions = predictions
        self._feedback = feedback
        self._clock = clock
        self._entropy = entropy
        self._metrics = ServerMetrics(host.pool)

    def application(self) -> Starlette:
        """Every route, wrapped so that an error becomes a JSON body with its status."""
        v2 = "/v2/models/{model}"
        versioned = v2 + "/versions/{version}"
        table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/livez", self.live),
            ("GET", "/readyz", self.ready),
            ("GET", "/metrics", self.metrics),
            ("GET", "/v1/pool", self.pool),
            ("POST", "/v1/feedback", self.feedback),
            ("POST", "/v1/models/{model}/predict", self.predict),
            ("GET", "/v2", self.server_metadata),
            ("GET", "/v2/health/live", self.live),
            ("GET", "/v2/health/ready", self.ready),
        ]
        for base in (v2, versioned):
            table += [
                ("GET", base, self.model_metadata),
                ("GET", f"{base}/ready", self.model_ready),
                ("POST", f"{base}/infer", self.infer),
            ]
        routes = [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]
        return Starlette(routes=routes, exception_handlers={404: _no_route, 405: _no_route})

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]):
        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request)
            except PerennialError as error:
                status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
                self._metrics.refused(status)
                return Json({"error": error.message, "hint": error.hint}, status_code=status)
            except OSError as error:  # the log could not be written: the request is not answered
                self._metrics.refused(503)
                return Json({"error": f"cannot write: {error}", "hint": "is the disk full?"}, status_code=503)

        return endpoint

    async def live(self, request: Request) -> Response:
        return Json({"live": True})

    async def ready(self, request: Request) -> Response:
        holding = self._host.holding
        return Json({"ready": holding.ready}, status_code=200 if holding.ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.page(self._host.holding), media_type=CONTENT_TYPE)

    async def pool(self, request: Request) -> Response:
        """What this server holds and why not, for the Pool port and for people."""
        holding = self._host.holding
        versions = [
            {
                **one.model_dump(),
                "loaded": (one.model, one.digest) in holding.loaded,
                "error": holding.errors.get((one.model, one.digest), ""),
            }
            for one in holding.state.models
        ]
        return Json(
            {
                "pool": self._host.pool,
                "pid": os.getpid(),
                "generation": holding.state.generation,
                "ready": holding.ready,
                "error": holding.state_error,
                "models": versions,
            }
        )

    async def server_metadata(self, request: Request) -> Response:
        return Json({"name": "perennial", "version": __version__, "extensions": []})

    async def model_metadata(self, request: Request) -> Response:
        chosen = self._choose(request)
        served = [one for one in self._host.holding.state.models if one.model == chosen.version.wanted.model]
        return Json(tensors.metadata(chosen.version, [one.version for one in served]))

    async def model_ready(self, request: Request) -> Response:
        wanted = self._choose(request).version.wanted
        return Json({"name": wanted.model, "ready": True})

    async def infer(self, request: Request) -> Response:
        """Open Inference Protocol; prediction ids stand in the parameters, in order, with commas between."""
        started = time.perf_counter()
        chosen = self._choose(request)
        body = await _json(request)
        features = tensors.read_features(body, chosen.version)
        scores = chosen.version.score(features)
        ids = self._record(request, chosen, [None] * len(scores), features, scores, started)
        parameters = {"prediction_ids": ",".join(ids)} if ids else {}
        if chosen.release_id:
            parameters["release_id"] = chosen.release_id
        name = body.get("id")
        return Json(
            tensors.answer(chosen.version, scores, name if isinstance(name, str) else None, parameters)
        )

    async def predict(self, request: Request) -> Response:
        """Scores by entity, with features from the online store."""
        started = time.perf_counter()
        chosen = self._choose(request)
        manifest, wanted = chosen.version.manifest, chosen.version.wanted
        asked = entities.parse(await _json(request), manifest)
        features = entities.features(asked, manifest, self._features())
        scores = chosen.version.score(features)
        ids = self._record(request, chosen, asked.entities, features, scores, started)
        decisions = (scores >= manifest.threshold).astype(int).tolist()
        return Json(
            {
                "model": wanted.model,
                "version": wanted.version,
                "release_id": chosen.release_id,
                "digest": wanted.digest,
                "predictions": [
                    {"prediction_id": name, "entity": entity, "score": score, "decision": decision}
                    for name, entity, score, decision in zip(
                        ids, asked.entities, scores, decisions, strict=True
                    )
                ],
            }
        )

    async def feedback(self, request: Request) -> Response:
        """Confirmed when the labels are on the disk; `flows.feedback` stores them."""
        labels = feedback_inbox.parse(await _json(request))
        self._feedback.append(labels, self._clock())
        return Json({"accepted": len(labels)})

    def _choose(self, request: Request) -> Chosen:
        """Which version answers: the one in the path, else the one the router names, else the only one."""
        given = request.headers
        model = request.path_params["model"]
        named = request.path_params.get("version")
        digest = given.get(headers.DIGEST)
        release = given.get(headers.RELEASE)
        if named is not None:
            version = self._host.by_version(model, named)
        elif digest is not None:
            version = self._host.by_digest(model, digest, given.get(headers.FALLBACK))
            if version.wanted.digest != digest:
                release = given.get(headers.FALLBACK_RELEASE)
        else:
            version = self._host.only(model)
        return Chosen(
            version,
            release or version.wanted.release_id,
            shadow=given.get(headers.SHADOW) == "true",
            synthetic=given.get(headers.SYNTHETIC) == "true",
        )

    def _record(
        self,
        request: Request,
        chosen: Chosen,
        rows: list[dict[str, Any] | None],
        features: np.ndarray,
        scores: np.ndarray,
        started: float,
    ) -> list[str]:
        """Log the predictions and count the request; the ids, or none for a synthetic request."""
        if not np.isfinite(scores).all():
            raise PerennialError(
                f"{chosen.version.wanted.model}: a score is not finite", hint="see its inputs"
            )
        now = self._clock()
        ids = new_ids(len(rows), now, self._entropy(10 * len(rows)))
        seconds = time.perf_counter() - started
        self._metrics.answered(chosen.version.wanted.model, chosen.version.wanted.version, len(rows), seconds)
        if chosen.synthetic:
            return []
        self._predictions.append(
            Answered(
                at=now,
                request_id=request.headers.get(headers.REQUEST_ID, ""),
                version=chosen.version,
                release_id=chosen.release_id,
                shadow=chosen.shadow,
                latency_ms=seconds * 1000,
                ids=ids,
                entities=rows,
                features=features,
                scores=scores,
                decisions=(scores >= chosen.version.manifest.threshold).astype(int).tolist(),
            )
        )
        return ids


async def _json(request: Request) -> Any:
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise MalformedInput(
            f"the body has {len(body)} bytes", hint=f"at most {MAX_BODY_BYTES}; send less rows"
        )
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedInput(f"the body is not JSON: {error}", hint="send application/json") from error


async def _no_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return Json(
        {"error": f"no route {request.method} {request.url.path}", "hint": "see /v2 and /v1/pool"},
        status_code=status,
    )
