"""The calls of the service: the same door, models, log and metrics as over REST; errors as a gRPC status."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError, Message

from perennial.core.governance.client_keys import Client
from perennial.errors import MalformedInput, PerennialError
from perennial.serving import headers
from perennial.serving.access.door import Door, visible
from perennial.serving.answers import brief, problem
from perennial.serving.metrics import ServerMetrics
from perennial.serving.observing.requests import CollectSteps, Observe, no_steps
from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc import paths
from perennial.serving.protocol.grpc.observed import CallAbout, Subject, observed_call, unobserved_call
from perennial.serving.protocol.grpc.status import OF_ERROR
from perennial.serving.protocol.grpc.translation import metadata_message, request_of, response_message
from perennial.serving.protocol.inference import Inference
from perennial.serving.protocol.repository import Repository

LOG = logging.getLogger(__name__)

Answered = tuple[Message, Mapping[str, str]]
"""A response and its trailing metadata."""
Answer = Callable[[Any, "Asked"], Awaitable[Answered]]

MOST_DETAILS = 2000
"""Most bytes of an error, which is a header: Envoy counts an answer with large headers as a fault of the server."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The circumstances of a call: everything but its message.

    Attributes:
        given: metadata, as the headers of REST.
        client: who asks; None where nobody needs to sign in.
        started: `time.perf_counter()` at its arrival.
    """

    given: Mapping[str, str]
    client: Client | None
    started: float


class InferenceCalls:
    """Handlers of the methods, on the bytes of the messages.

    The bytes are parsed here and not by gRPC: a message that is no protobuf is then an error of the request
    (INVALID_ARGUMENT), where gRPC would make it one of the server (INTERNAL).
    """

    def __init__(
        self, inference: Inference, repository: Repository, door: Door, metrics: ServerMetrics
    ) -> None:
        self._inference = inference
        self._repository = repository
        self._door = door
        self._metrics = metrics

    def handlers(
        self, observe: Observe | None = None, steps: CollectSteps = no_steps
    ) -> grpc.GenericRpcHandler:
        """Return the service for a server; `observe` is told of each call that ended, health checks left out."""
        methods = {
            "ServerLive": (self._live, wire.ServerLiveRequest),
            "ServerReady": (self._ready, wire.ServerReadyRequest),
            "ServerMetadata": (self._server_metadata, wire.ServerMetadataRequest),
            paths.MODEL_READY: (self._model_ready, wire.ModelReadyRequest),
            paths.MODEL_METADATA: (self._model_metadata, wire.ModelMetadataRequest),
            paths.INFER: (self._infer, wire.ModelInferRequest),
            "RepositoryIndex": (self._index, wire.RepositoryIndexRequest),
            "RepositoryModelLoad": (self._load, wire.RepositoryModelLoadRequest),
            "RepositoryModelUnload": (self._unload, wire.RepositoryModelUnloadRequest),
        }
        return grpc.method_handlers_generic_handler(
            paths.SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    unobserved_call(self._guarded(name, answer, kind))
                    if observe is None or name in paths.HEALTH
                    else observed_call(name, self._guarded(name, answer, kind), _given, observe, steps)
                )
                for name, (answer, kind) in methods.items()
            },
        )

    def _guarded(self, method: str, answer: Answer, kind: type[Message]) -> CallAbout:
        """Ask the door, parse the message, and turn an error into a status: never UNKNOWN."""

        async def call(content: bytes, context: grpc.aio.ServicerContext, subject: Subject) -> bytes:
            started = time.perf_counter()
            given = _given(context)
            subject.model = given.get(headers.CALLED_MODEL) or None
            try:
                client = self._admit(method, given)
                message = _parsed(kind, content)
                subject.model = _named(message)[0] or None
                self._check(method, message, given)
                response, sent = await answer(message, Asked(given, client, started))
                if isinstance(response, wire.ModelInferResponse):
                    subject.model, subject.version = response.model_name, response.model_version
                context.set_trailing_metadata(tuple(sent.items()))
                return response.SerializeToString()
            except (PerennialError, OSError) as error:
                status, message, hint = problem(error)
            except Exception:
                LOG.exception("%s", paths.path(method))
                status, message, hint = 500, "the server failed", "see its log"
            self._metrics.refused(status)
            details = f"{message} ({hint})".encode()[:MOST_DETAILS].decode(errors="ignore")
            code = OF_ERROR[status].name if status in OF_ERROR else "INTERNAL"
            await context.abort(grpc.StatusCode[code], details)
            raise AssertionError  # abort has raised

        return call

    def _admit(self, method: str, given: Mapping[str, str]) -> Client | None:
        """Return who asks; before the message is parsed, so that nobody without a key costs more.

        Raises:
            NotSignedIn, NotAllowed: see `Door`.
        """
        path = paths.path(method)
        if method in paths.OF_REPOSITORY:
            path = "/v2/repository/index"
        elif method in paths.OF_MODEL:
            path = f"/v2/models/{quote(given.get(headers.CALLED_MODEL) or '-', safe='')}"
        return self._door.admit(_sent(given), path)

    def _check(self, method: str, message: Message, given: Mapping[str, str]) -> None:
        """Check that the message names the model that the router read out of it, and one that the client may manage.

        Raises:
            NotSignedIn, NotAllowed: see `Door`.
            MalformedInput: the message names another model or version to another reader.
        """
        if method in paths.OF_REPOSITORY:
            if model := _named(message)[0]:
                self._door.admit(_sent(given), f"/v2/repository/models/{quote(model, safe='')}/load")
        elif method in paths.OF_MODEL:
            named = _named(message)
            if not named[0]:
                raise MalformedInput("the message names no model", hint="name it in the first field")
            routed = given.get(headers.CALLED_MODEL, ""), given.get(headers.CALLED_VERSION, "")
            if headers.PUBLIC in given and routed != named:
                raise MalformedInput(
                    f"the message names {brief(named)}, it was routed to {brief(routed)}",
                    hint="name the model and the version once",
                )

    async def _live(self, message: Message, asked: Asked) -> Answered:
        return wire.ServerLiveResponse(live=self._inference.live()), {}

    async def _ready(self, message: Message, asked: Asked) -> Answered:
        return wire.ServerReadyResponse(ready=self._inference.server_ready()), {}

    async def _server_metadata(self, message: Message, asked: Asked) -> Answered:
        metadata = self._inference.server_metadata()
        return wire.ServerMetadataResponse(
            name=metadata.name, version=metadata.version, extensions=metadata.extensions
        ), {}

    async def _model_ready(self, message: wire.ModelReadyRequest, asked: Asked) -> Answered:
        ready = self._inference.model_ready(message.name, message.version, asked.given)
        return wire.ModelReadyResponse(ready=ready), {}

    async def _model_metadata(self, message: wire.ModelMetadataRequest, asked: Asked) -> Answered:
        return metadata_message(self._inference.metadata(message.name, message.version, asked.given)), {}

    async def _infer(self, message: wire.ModelInferRequest, asked: Asked) -> Answered:
        response = await self._inference.answer(request_of(message), asked.given, asked.started)
        return response_message(response, raw=bool(message.raw_input_contents)), response.headers

    async def _index(self, message: wire.RepositoryIndexRequest, asked: Asked) -> Answered:
        entries = self._repository.index(message.ready, visible(asked.client))
        kind = wire.RepositoryIndexResponse.ModelIndex
        return wire.RepositoryIndexResponse(models=[kind(**asdict(entry)) for entry in entries]), {}

    async def _load(self, message: wire.RepositoryModelLoadRequest, asked: Asked) -> Answered:
        self._repository.load(message.model_name)
        return wire.RepositoryModelLoadResponse(), {}

    async def _unload(self, message: wire.RepositoryModelUnloadRequest, asked: Asked) -> Answered:
        self._repository.unload(message.model_name)
        return wire.RepositoryModelUnloadResponse(), {}


def _given(context: grpc.aio.ServicerContext) -> dict[str, str]:
    """Return the metadata as the headers of REST: texts in latin-1, by lower-case name."""
    return {
        name: value.encode().decode("latin-1")
        for name, value in context.invocation_metadata() or ()
        if isinstance(value, str)
    }


def _sent(given: Mapping[str, str]) -> dict[bytes, bytes]:
    """Return the metadata as the door reads it."""
    return {name.encode(): value.encode("latin-1") for name, value in given.items()}


def _parsed(kind: type[Message], content: bytes) -> Message:
    message = kind()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise MalformedInput(
            f"the message is no {kind.DESCRIPTOR.name}", hint="send a protobuf message of this type"
        ) from error
    return message


def _named(message: Message) -> tuple[str, str]:
    """Return the model and the version that a message names; empty texts where it names none."""
    model = getattr(message, "model_name", "") or getattr(message, "name", "")
    return model, getattr(message, "model_version", "") or getattr(message, "version", "")
