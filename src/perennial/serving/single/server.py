"""A model server of one version with the routes of the plant's servers: for a quick try, or a container of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from perennial.errors import FeaturesUnavailable, FileRefused, ModelFileError, NotAllowed, PortTaken
from perennial.model_probe import model_problem
from perennial.serving import explanation
from perennial.serving.answers import refusal
from perennial.serving.app import ModelServer
from perennial.serving.bento import FeatureSource
from perennial.serving.evidence.sources import FeedbackSources
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.host import ModelHost
from perennial.serving.http.direct import Application, Receive, Scope, Send
from perennial.serving.onnx import execution_of
from perennial.serving.prediction_log import AnsweredRequest, PredictionLogWriter, writer_name
from perennial.serving.session import LoadedVersion
from perennial.serving.signed_files import TrustedKeys
from perennial.serving.single.files import POOL
from perennial.serving.single.grpc_beside import LocalDoor
from perennial.settings import LOOPBACK, LOOPBACKS

if TYPE_CHECKING:
    import grpc

    from perennial.settings import Settings


class NoLog(PredictionLogWriter):
    """A prediction log that keeps nothing."""

    def append(self, answered: AnsweredRequest) -> None:
        pass


class LocalOnly:
    """ASGI middleware that refuses what a page of another origin sends through a browser of this machine.

    The server needs no secret since only this machine reaches it; but so does every page that a browser here shows,
    by its address or by a name that its owner lets point here.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"])
            host = given.get(b"host", b"").decode("latin-1")
            origin = given.get(b"origin")
            foreign = origin is not None and origin.decode("latin-1") != f"http://{host}"
            if foreign or _name(host) not in LOOPBACKS:
                error = NotAllowed(
                    "this server answers this machine only", hint="ask it as http://127.0.0.1:PORT"
                )
                await refusal(error)(scope, receive, send)
                return
        await self._application(scope, receive, send)


def application(
    settings: Settings,
    serving: Path,
    trusted: TrustedKeys,
    log: Path | None,
    tell: Callable[[str], None],
    local: bool = True,
) -> tuple[Application, LoadedVersion, grpc.GenericRpcHandler]:
    """Load the version of a serving folder; returns its routes, and its service for a gRPC server.

    Args:
        serving: folder with the state of one version (`single.files`).
        log: folder of the prediction log; None: no answer is kept.
        tell: takes a line of text for the person.
        local: refuse what does not come from this machine.

    Raises:
        NotSigned, ModelFileError: the version cannot be loaded.
        FileRefused: the log cannot be written.
    """
    source = FeatureSource(settings)

    def prepare(version: LoadedVersion) -> None:
        explanation.warm(version)
        try:
            source.warm(version)
        except FeaturesUnavailable as error:
            tell(f"by tensor only, no predictions by entity: {error.message}")

    writer = writer_name("single", datetime.now(UTC))
    predictions = PredictionLogWriter(log, POOL, writer) if log else NoLog(serving / "log", POOL, writer)
    if log and (problem := predictions.disk_error()):
        raise FileRefused(problem, hint="--log FOLDER that you may write, or leave it out: no answer is kept")
    host = ModelHost(serving, POOL, prepare, trusted, model_problem, execution=execution_of(settings))
    host.converge()
    for problem in (host.error, *host.versions.errors.values()):
        if problem:
            raise ModelFileError(problem, hint="nothing is served")
    (version,) = host.versions.loaded.values()
    # Nobody is a source of labels here: the answer to feedback is 401.
    server = ModelServer(
        host,
        source,
        predictions,
        FeedbackWriter(serving / "feedback", writer),
        FeedbackSources(serving / "sources.json"),
    )
    routes = server.application()
    return LocalOnly(routes) if local else routes, version, server.calls(LocalDoor())


def listener(port: int, option: str = "--port") -> socket.socket:
    """Listen on a port of loopback; 0 is any free one.

    Raises:
        PortTaken: another process listens on it.
    """
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise PortTaken(f"port {port}: {error.strerror}", hint=f"choose another with {option}") from error


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
