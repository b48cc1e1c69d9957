"""Command `perennial serve`: a model server of a pool, or one model by itself."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from perennial import settings as environment
from perennial.commands.output import print_text
from perennial.core.certificates.roles import ProcessRole
from perennial.errors import UnknownVersion, UsageError
from perennial.port_settings import ABOVE

if TYPE_CHECKING:
    from perennial.serving.signed_files import TrustedKeys
    from perennial.settings import Settings

PORT = 3000
"""Port of a model by itself."""


@click.command()
@click.argument("model", required=False, metavar="[MODEL[:VERSION]]")
@click.option("--model", "path", type=click.Path(path_type=Path), metavar="FILE",
              help="model.onnx with its manifest beside it, or their folder.")  # fmt: skip
@click.option(
    "--unsigned", is_flag=True, help="With --model: I trust this file, no key has to have signed it."
)
@click.option("--log", type=click.Path(path_type=Path, file_okay=False),
              help="Folder for a prediction log of one model.  [default: none is kept]")  # fmt: skip
@click.option(
    "--pool", type=click.Choice(["stable", "canary"]), help="Be a server of this pool of the plant."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port of loopback; 0: any.  [default: {PORT} for one model]",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(1, 65535),
    help="Port for gRPC.  [default: none for one model; with --pool that of the settings, else 100 above the port]",
)
def serve(
    model: str | None, path: Path | None, unsigned: bool, log: Path | None, pool: str | None, port: int | None,
    grpc_port: int | None,
) -> None:  # fmt: skip
    """Serve one model on this machine, without the rest of the plant: its champion or VERSION, or a FILE.

    With --pool, run a model server of the plant: this process becomes the BentoML process.
    """
    if (model is not None) + (path is not None) + (pool is not None) != 1:
        raise UsageError("say what to serve", hint="MODEL[:VERSION], or --model FILE, or --pool with --port")
    if pool is not None:
        if not port or unsigned or log is not None:
            raise UsageError(
                "a server of a pool takes --port and --grpc-port only", hint="--port is required"
            )
        _become_pool_server(pool, port, grpc_port)
    if unsigned and path is None:
        raise UsageError("--unsigned goes with --model FILE", hint="a registered version is always signed")
    # uvicorn raises the signal again after its end, which by default ends the process before the folder is removed.
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with TemporaryDirectory(prefix="perennial-serve-") as folder:
            _serve_one(model, path, unsigned, log, PORT if port is None else port, grpc_port, Path(folder))
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _serve_one(
    model: str | None,
    path: Path | None,
    unsigned: bool,
    log: Path | None,
    port: int,
    grpc_port: int | None,
    serving: Path,
) -> None:
    import uvicorn

    from perennial.serving.protocol.grpc.server import GrpcServer
    from perennial.serving.single import files
    from perennial.serving.single.grpc_beside import BesideGrpc
    from perennial.serving.single.server import listener, single_server
    from perennial.wiring.here import trusted

    settings = environment.load()
    keys: TrustedKeys = trusted(settings)
    door = listener(port)
    if grpc_port is not None:
        listener(grpc_port, "--grpc-port").close()
    if path is None:
        _fetch(str(model), serving, settings)
    elif unsigned:
        keys = files.hold_unsigned(files.model_folder(path), serving)
    else:
        files.hold_signed(files.model_folder(path), serving, keys)
    server = single_server(settings, serving, keys, log, lambda text: print_text(text, err=True))
    wanted, app = server.version.wanted, server.application
    address = f"http://{environment.LOOPBACK}:{door.getsockname()[1]}"
    print_text(f"{wanted.model} {wanted.version} is served at {address}; try it: {address}/docs")
    if grpc_port is not None:
        app = BesideGrpc(app, GrpcServer(f"{environment.LOOPBACK}:{grpc_port}", server.calls, lambda: True))
    lifespan = "off" if grpc_port is None else "on"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, lifespan=lifespan, server_header=False
    )
    try:
        uvicorn.Server(config).run(sockets=[door])
    finally:
        server.close()


def _fetch(text: str, serving: Path, settings: Settings) -> None:
    """Write a version of the registry into a serving folder."""
    from perennial.flows.versions import find_version
    from perennial.serving import desired_state
    from perennial.serving.single import files
    from perennial.wiring import versions

    model, _, version = text.partition(":")
    registry = versions.registry(settings)
    try:
        ref = find_version(model, version or "champion", registry).ref
    except UnknownVersion as error:
        from perennial import catalog

        known = [record.ref.version for record in registry.versions(model)]
        if not known:
            catalog.spec(model, settings)  # no such model: says which there are
        hint = (
            f"serve one of them: {', '.join(known)}" if known else "it has none yet: perennial run " + model
        )
        raise UnknownVersion(error.message, hint=hint) from error
    folder = desired_state.version_folder(serving, ref.digest)
    folder.mkdir(parents=True)
    registry.fetch(ref, folder)
    files.hold(desired_state.DesiredVersion.of(ref), serving)


def _become_pool_server(pool: str, port: int, grpc_port: int | None) -> None:
    settings = environment.load()
    if grpc_port is None:
        of_server = dict(zip(settings.ports(pool), settings.grpc_ports(pool), strict=True))
        grpc_port = of_server.get(port, port + ABOVE)
    # Each server needs its own home, because BentoML empties the metrics folder of its home at the start.
    home = settings.state / "bentoml" / f"{pool}-{port}"
    home.mkdir(parents=True, exist_ok=True)
    variables = {
        **os.environ,
        "PERENNIAL_POOL": pool,
        "PERENNIAL_GRPC_PORT": str(grpc_port),
        "PERENNIAL_INTERNAL_ROLE": ProcessRole.POOL,
        "PERENNIAL_SERVER_PID": str(os.getpid()),  # the same process after execve
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "True",
        # Also of BentoML's own tracing, which costs a request as much as a model.
        "OTEL_SDK_DISABLED": "true" if settings.otlp_traces is None else "false",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable, "-m", "perennial.serving.access.private_bentoml", "serve", "service:ModelServer",
        "--working-dir", str(settings.shipped("bentos/model_server")),
        "--host", environment.LOOPBACK, "--port", str(port),
        # Longer than the router's idle timeout: the router must close idle connections first.
        "--timeout-keep-alive", "75",
    ]  # fmt: skip
    os.execve(sys.executable, command, variables)
