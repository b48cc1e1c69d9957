"""The runner of training steps: a process of the account that trains, which the second account asks by a socket.

Each request is a process of its own, which ends the step when whoever asked is gone.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socketserver import BaseRequestHandler, ForkingMixIn, UnixStreamServer
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial import catalog
from perennial.core.assets import Reason
from perennial.errors import NotAllowed, ToolError
from perennial.settings import Settings

Step = Literal["prepare", "validate", "train", "evaluate", "clear_work"]
STEPS: tuple[str, ...] = get_args(Step)
"""`register` is none of them: it needs the database, and MLflow's files that others vouch for."""
RUN_ID = re.compile(r"[0-9a-f]{16}")
"""Name of a run's work folder."""
KEEP_DAYS = 14
"""Days that the work folder of a run is kept."""
CLEAR_WORK = (
    'test ! -d "$WORK" || find "$WORK" -mindepth 1 -maxdepth 1 -type d -mtime +"$DAYS" -exec rm -rf {} +'
)
"""Shell line that removes old work folders of a model."""
LARGEST = 1 << 16
"""Bytes of the largest message, and of the longest line that is shown as one."""


class TrainingRequest(BaseModel):
    """A step that somebody asks for, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: Step
    model: str
    workdir: str
    """<work>/MODEL/<16 hex digits>; <work>/MODEL to clear it."""
    reason: Reason = Reason.PERSON
    text: str = Field("", max_length=10_000, pattern=r"^[^\x00]*$")


class TrainingReply(BaseModel):
    """The exit code of a step, or why it was not run."""

    code: int = Field(0, ge=0, le=255)
    refused: str = ""


def socket_path(settings: Settings) -> Path:
    """Return the socket of the runner; its folder admits only the two accounts."""
    return settings.state / "training" / "ask.sock"


def command(request: TrainingRequest, settings: Settings) -> tuple[list[str], dict[str, str]]:
    """Return the command of a request, and what its environment has besides that of the runner.

    Raises:
        NotAllowed: there is no such model, or the work folder is not one of its runs.
    """
    if request.model not in catalog.names(settings):
        raise NotAllowed(f"no model is named {request.model!r}", hint="perennial models list")
    top = settings.state / "work" / request.model
    if request.step == "clear_work":
        if request.workdir != str(top):
            raise NotAllowed(f"{request.workdir} is not the work folder of {request.model}", hint=str(top))
        return ["/bin/sh", "-c", CLEAR_WORK], {"WORK": str(top), "DAYS": str(KEEP_DAYS)}
    name = request.workdir.rpartition("/")[2]
    if request.workdir != f"{top}/{name}" or RUN_ID.fullmatch(name) is None:
        raise NotAllowed(
            f"{request.workdir} is no work folder of a run of {request.model}", hint=f"{top}/<16 hex digits>"
        )
    # What is published is read by model servers: the second account does that.
    options = ["--no-publish"] if request.step == "validate" else []
    step = [sys.executable, "-m", "perennial", request.step, request.model, "--workdir", request.workdir]
    why = {"PERENNIAL_REASON": request.reason.value, "PERENNIAL_REASON_TEXT": request.text}
    return [*step, *options], why


def serve(settings: Settings, caller: int) -> None:
    """Run the steps that the account with the uid `caller` asks for, until SIGTERM."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    path = socket_path(settings)
    path.unlink(missing_ok=True)
    with _short(path) as address:
        server = _Server(address, _Handler)
    server.settings, server.caller = settings, caller
    with server:
        server.serve_forever()


def listens(settings: Settings) -> bool:
    """Return whether the runner takes connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        try:
            with _short(socket_path(settings)) as address:
                probe.connect(address)
        except OSError:
            return False
    return True


def ask(settings: Settings, request: TrainingRequest, say: Callable[[str], None]) -> int:
    """Have a step run; return its exit code.

    Args:
        say: gets each line of its output, as another account wrote it.

    Raises:
        NotAllowed: the runner refuses it. ToolError: the runner does not answer, or ended before the step.
    """
    path = settings.training_socket or socket_path(settings)
    hint = "perennial local status; logs/training.log in the state folder"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as runner:
        try:
            with _short(path) as address:
                runner.connect(address)
            output, write = os.pipe()
            try:
                socket.send_fds(runner, [request.model_dump_json().encode()], [write])
            finally:
                os.close(write)
            answer = _forward(runner, output, say)
        except OSError as error:
            raise ToolError(f"the runner of training steps at {path}: {error.strerror}", hint=hint) from error
    try:
        reply = TrainingReply.model_validate_json(answer)
    except ValidationError as error:
        raise ToolError("the runner of training steps ended before the step", hint=hint) from error
    if reply.refused:
        raise NotAllowed(f"the runner of training steps refuses: {reply.refused}", hint=hint)
    return reply.code


def _forward(runner: socket.socket, output: int, say: Callable[[str], None]) -> bytes:
    """Say the lines of the output until the runner answers; return its answer."""
    rest, answer = b"", b""
    os.set_blocking(output, False)
    with open(output, "rb", buffering=0) as pipe:
        watched: list[socket.socket | int] = [runner, output]
        while runner in watched:
            ready, _, _ = select.select(watched, [], [])
            if runner in ready:
                answer = runner.recv(LARGEST)
                watched.remove(runner)
            # After the answer once more, and not to the end: what has outlived the step may write for ever.
            read = pipe.read(LARGEST)
            if read == b"":
                watched = [source for source in watched if source != output]
            *lines, rest = (rest + (read or b"")).split(b"\n")
            if len(rest) > LARGEST or (rest and runner not in watched):
                lines, rest = [*lines, rest], b""
            for line in lines:
                say(line.decode(errors="replace"))
    return answer


class _Server(ForkingMixIn, UnixStreamServer):
    socket_type = socket.SOCK_SEQPACKET
    block_on_close = False
    settings: Settings
    caller: int


class _Handler(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        message, descriptors, _, _ = socket.recv_fds(self.request, LARGEST, 1)
        if not message:  # `listens`
            return
        _, uid, _ = struct.unpack("3i", self.request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        try:
            if uid != self.server.caller or not descriptors:
                raise NotAllowed(f"uid {uid} may not ask", hint="Airflow's tasks ask")
            wanted = TrainingRequest.model_validate_json(message)
            arguments, why = command(wanted, self.server.settings)
        except (NotAllowed, ValidationError) as error:
            reply = TrainingReply(refused=str(error))
        else:
            reply = TrainingReply(code=self._run(arguments, os.environ | why, descriptors[0]))
        with suppress(BrokenPipeError):  # whoever asked is gone, and so is the step
            self.request.send(reply.model_dump_json().encode())

    def _run(self, arguments: list[str], environment: dict[str, str], output: int) -> int:
        process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment,
            cwd=self.server.settings.project, start_new_session=True, preexec_fn=_end_with_parent,
        )  # fmt: skip
        os.close(output)
        try:
            select.select([self.request.fileno(), os.pidfd_open(process.pid)], [], [])
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        return code if code >= 0 else 128 - code


def _end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends (prctl(2), PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of a socket that is short enough: its address has at most 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
