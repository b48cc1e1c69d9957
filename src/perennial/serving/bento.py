"""Construction of a model server from the settings; `bentos/model_server` hands it to BentoML."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import __version__
from perennial.core.certificates.roles import ProcessRole, callers
from perennial.errors import FeaturesUnavailable, PerennialError, SettingsError
from perennial.hidden_packages import hidden
from perennial.internal_tls.contexts import server_context
from perennial.model_probe import ModelTrials
from perennial.reporting import errors_to_sentry
from perennial.serving import explanation
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Application, Door
from perennial.serving.app import ModelServer
from perennial.serving.evidence.sources import FeedbackSources
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.host import ModelHost
from perennial.serving.http.known_callers import KnownCallers
from perennial.serving.http.whole_requests import DirectTraffic, WholeRequests
from perennial.serving.manifest import example_columns
from perennial.serving.observing.requests import Observed, no_steps
from perennial.serving.observing.settings import observation
from perennial.serving.observing.steps import collected_steps
from perennial.serving.onnx import execution_of
from perennial.serving.packed.folder import POOL, TRUSTED, packed_versions
from perennial.serving.prediction_log import PredictionLogWriter, writer_name
from perennial.serving.protocol.grpc.server import GrpcServer
from perennial.serving.session import LoadedVersion
from perennial.serving.signed_files import TrustedKeys
from perennial.settings import LOOPBACK

if TYPE_CHECKING:
    from perennial.serving.entities import OnlineValues
    from perennial.settings import Settings

NICENESS = 10
"""Niceness of the trials of models that are loaded on demand: the traffic goes first."""
POOL_VARIABLE = "PERENNIAL_POOL"
GRPC_VARIABLE = "PERENNIAL_GRPC_PORT"
PARENT_VARIABLE = "PERENNIAL_SERVER_PID"


class FeatureSource:
    """The online store, opened with the first model that needs it because the import takes seconds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._values: OnlineValues | None = None
        self._opening = threading.Lock()

    def warm(self, version: LoadedVersion) -> None:
        """Open the store and read a row before the version counts as loaded.

        Otherwise a request would wait for the import (10 s) or for the first read of a feature service (1.6 s).
        """
        service = version.manifest.feature_service
        if service is None:
            return
        with self._opening:  # pinned versions and those on demand are loaded by two threads
            if self._values is None:
                self._values = self._open()
        self._values.columns(service, example_columns(version.manifest))

    def __call__(self) -> OnlineValues:
        if self._values is None:
            raise FeaturesUnavailable("the online store is not open yet", hint="see /v1/pool")
        return self._values

    def _open(self) -> OnlineValues:
        try:
            with hidden("torch"):
                from perennial.serving.online_features import OnlineFeatures

            return OnlineFeatures(self._settings.feast_dir, online_store=self._settings.online_store)
        except PerennialError:
            raise
        except Exception as error:  # Feast and its stores have exceptions without a common base class
            raise FeaturesUnavailable(
                f"cannot open the online store: {error}", hint="run `perennial features publish`"
            ) from error


class ServerCore:
    """Host, log, routes, door and observation of a model server, of the plant or of one model by itself.

    Args:
        versions: folder of the desired state and the files of versions.
        door: returns who may ask the routes.
        without_features: told that the online store is not there, for a server that then answers by tensor only;
            None: such a version is not loaded.
    """

    def __init__(
        self,
        settings: Settings,
        pool: str,
        versions: Path,
        trusted: TrustedKeys,
        predictions: PredictionLogWriter,
        feedback: FeedbackWriter,
        sources: FeedbackSources,
        door: Callable[[Application], Door],
        without_features: Callable[[FeaturesUnavailable], None] | None = None,
    ) -> None:
        self._source = FeatureSource(settings)
        self._without_features = without_features
        self._predictions = predictions
        self._trials = ModelTrials(), ModelTrials(NICENESS)
        self.host = ModelHost(
            versions,
            pool,
            self._prepare,
            trusted,
            self._trials[0].problem,
            predictions.disk_error,
            execution_of(settings),
            budget=settings.on_demand_mib << 20,
            problem_on_demand=self._trials[1].problem,
        )
        self._observation = observation(settings)
        traced = self._observation is not None and self._observation.traces
        steps = collected_steps if traced else no_steps
        server = ModelServer(self.host, self._source, predictions, feedback, sources, traced=traced)
        routes = server.application()
        entrance = door(routes)
        self.application: Application = entrance
        if self._observation is not None:
            self.application = Observed(entrance, self._observation, steps)
        self.traffic = DirectTraffic(routes, entrance) if self._observation is None else None
        self.calls = server.calls(entrance, self._observation, steps)

    def _prepare(self, version: LoadedVersion) -> None:
        try:
            self._source.warm(version)
        except FeaturesUnavailable as error:
            if self._without_features is None:
                raise
            self._without_features(error)
        explanation.warm(version)

    def close(self) -> None:
        """End the threads and the processes of the server; write what is left of log and spans."""
        self.host.stop()
        for trials in self._trials:
            trials.stop()
        self._predictions.close()
        if self._observation is not None:
            self._observation.close()


class ServerParts:
    """A server process of the plant, for REST and for gRPC.

    Args:
        grpc_port: None: no gRPC.
        packed: folder of the versions of a bento, with its trusted keys; None: those of the installation.
    """

    def __init__(
        self, settings: Settings, pool: str, grpc_port: int | None, packed: Path | None = None
    ) -> None:
        folder = settings.serving_dir
        writer = writer_name(pool, datetime.now(UTC))
        trusted = settings.trusted_keys_folder
        if packed is not None and settings.trusted_keys is None:
            trusted = packed / TRUSTED
        keys = ClientKeys(settings.client_keys)
        self._core = ServerCore(
            settings,
            pool,
            packed or folder,
            TrustedKeys(trusted),
            PredictionLogWriter(folder / "log", pool, writer),
            FeedbackWriter(folder / "feedback", writer),
            FeedbackSources(settings.feedback_sources),
            lambda routes: Door(routes, settings.internal_secret, keys, settings.keys_required),
        )
        self.host, self.application = self._core.host, self._core.application
        self._grpc = None
        # A bento by itself is no part of a plant.
        self._identity = settings.internal_identity if packed is None else None
        if grpc_port is not None:
            address, identity = f"{LOOPBACK}:{grpc_port}", self._identity
            self._grpc = GrpcServer(
                address, self._core.calls, lambda: self.host.started,
                None if identity is None else (identity, callers(ProcessRole.POOL)),
            )  # fmt: skip

    def uvicorn_settings(self) -> dict[str, Any]:
        """Return what uvicorn is told besides what BentoML tells it: to leave out what the routes do not use.

        Where requests are observed, none takes the short way: the observation is of uvicorn's own.
        """
        settings: dict[str, Any] = {"proxy_headers": False, "access_log": False, "ws": "none"}
        allowed = None
        if self._identity is not None:
            context, allowed = server_context(self._identity), callers(ProcessRole.POOL)
            settings |= {
                "ssl_context_factory": lambda config, default: context,
                "http": partial(KnownCallers, callers=allowed),
            }
        if self._core.traffic is not None:
            settings["http"] = partial(WholeRequests, traffic=self._core.traffic, callers=allowed)
        return settings

    async def start(self) -> None:
        end_with_parent()
        if self._grpc is not None:
            await self._grpc.start()
        self.host.start()

    async def stop(self) -> None:
        if self._grpc is not None:
            await self._grpc.stop()
        self._core.close()


def parts_of_process(settings: Settings, beside: Path) -> ServerParts:
    """Build the server of this process: of a bento with versions in it, or of a pool of the plant.

    Args:
        beside: folder of `service.py`.

    Raises:
        SettingsError: a variable is missing or has another value.
    """
    errors_to_sentry.start(settings.sentry_dsn, "serve", __version__)
    packed = packed_versions(beside)
    if packed is None:
        return ServerParts(settings, pool_of_process(), grpc_port_of_process())
    return ServerParts(
        settings, POOL, grpc_port_of_process() if GRPC_VARIABLE in os.environ else None, packed
    )


def pool_of_process() -> str:
    """Return the pool of this process, which `perennial serve` sets.

    Raises:
        SettingsError: the variable is missing or has another value.
    """
    pool = os.environ.get(POOL_VARIABLE)
    if pool not in ("stable", "canary"):
        raise SettingsError(
            f"{POOL_VARIABLE} is {pool!r}", hint="start a server with `perennial serve --pool stable|canary`"
        )
    return pool


def grpc_port_of_process() -> int:
    """Return the gRPC port of this process, which `perennial serve` sets.

    Raises:
        SettingsError: the variable is missing or no number.
    """
    text = os.environ.get(GRPC_VARIABLE, "")
    if not text.isdecimal():
        raise SettingsError(f"{GRPC_VARIABLE} is {text!r}", hint="start a server with `perennial serve`")
    return int(text)


def end_with_parent(every_seconds: float = 0.5) -> None:
    """Kill this worker when its parent process is gone.

    BentoML's worker outlives a killed parent and keeps the port, so that a restarted server could not listen.
    PARENT_VARIABLE holds the parent's process id, because the parent may end before this call.
    """
    parent = int(os.environ.get(PARENT_VARIABLE, os.getppid()))

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_seconds)
        # No log line here: the log is a pipe to the supervisor, which may be gone too; writing would raise.
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
