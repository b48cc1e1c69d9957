"""A model server of one version with the routes of the plant's servers: for a quick try, or a container of its own."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.errors import FileRefused, ModelFileError, PortTaken
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.bento import ServerCore
from perennial.serving.evidence.sources import FeedbackSources
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.http.direct import Application
from perennial.serving.prediction_log import AnsweredRequest, PredictionLogWriter, writer_name
from perennial.serving.session import LoadedVersion
from perennial.serving.signed_files import TrustedKeys
from perennial.serving.single.door import LocalDoor, OpenDoor
from perennial.serving.single.files import POOL
from perennial.settings import LOOPBACK

if TYPE_CHECKING:
    import grpc

    from perennial.settings import Settings


class NoLog(PredictionLogWriter):
    """A prediction log that keeps nothing."""

    def append(self, answered: AnsweredRequest) -> None:
        pass


@dataclass(frozen=True)
class SingleServer:
    """One loaded version and its routes.

    Attributes:
        calls: service for a gRPC server.
        close: ends it.
    """

    version: LoadedVersion
    application: Application
    calls: grpc.GenericRpcHandler
    close: Callable[[], None]


def single_server(
    settings: Settings,
    serving: Path,
    trusted: TrustedKeys,
    log: Path | None,
    tell: Callable[[str], None],
    door: type[OpenDoor] = LocalDoor,
) -> SingleServer:
    """Load the version of a serving folder.

    Args:
        serving: folder with the state of one version (`single.files`).
        log: folder of the prediction log; None: no answer is kept.
        tell: takes a line of text for the person.
        door: who may ask.

    Raises:
        NotSigned, ModelFileError: the version cannot be loaded.
        FileRefused: the log cannot be written.
    """
    writer = writer_name("single", datetime.now(UTC))
    predictions = PredictionLogWriter(log, POOL, writer) if log else NoLog(serving / "log", POOL, writer)
    if log and (problem := predictions.disk_error()):
        raise FileRefused(problem, hint="--log FOLDER that you may write, or leave it out: no answer is kept")
    core = ServerCore(
        settings,
        POOL,
        serving,
        trusted,
        predictions,
        FeedbackWriter(serving / "feedback", writer),
        # Nobody is a source of labels here: the answer to feedback is 401.
        FeedbackSources(serving / "sources.json"),
        lambda routes: door(routes, ClientKeys(settings.client_keys)),
        lambda error: tell(f"by tensor only, no predictions by entity: {error.message}"),
    )
    try:
        core.host.converge()
        for problem in (core.host.error, *core.host.versions.errors.values()):
            if problem:
                raise ModelFileError(problem, hint="nothing is served")
    except BaseException:
        core.close()
        raise
    (version,) = core.host.versions.loaded.values()
    if log:
        core.host.start()  # looks whether the log can be written: while it cannot, the server is not ready
    return SingleServer(version, core.application, core.calls, core.close)


def listener(port: int, option: str = "--port") -> socket.socket:
    """Listen on a port of loopback; 0 is any free one.

    Raises:
        PortTaken: another process listens on it.
    """
    try:
        return socket.create_server((LOOPBACK, port))
    except OSError as error:
        raise PortTaken(f"port {port}: {error.strerror}", hint=f"choose another with {option}") from error
