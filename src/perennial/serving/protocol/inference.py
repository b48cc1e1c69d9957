"""Answers of the Open Inference Protocol (V2) about models and by models, independent of REST or gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from perennial import __version__
from perennial.errors import NotLoaded
from perennial.serving import headers
from perennial.serving.access import caller
from perennial.serving.evidence import faults
from perennial.serving.host import ModelHost
from perennial.serving.http.direct import in_a_task
from perennial.serving.protocol.inputs import features_of, input_metadata
from perennial.serving.protocol.messages import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ServerMetadata,
)
from perennial.serving.protocol.outputs import check_outputs, output_metadata, outputs_of
from perennial.serving.recorder import Recorder
from perennial.serving.session import LoadedVersion, RegisteredVersion
from perennial.serving.version_selection import SelectedVersion, select_version

PLATFORM = "onnxruntime_onnx"
PATIENCE_SECONDS = 20.0
"""Longer than the router's time for a try, after which it asks another server: the load goes on meanwhile."""
EXTENSIONS = ("binary_tensor_data", "model_repository")
NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Inference:
    """The models of a server, as the protocol sees them.

    Every method raises PerennialError with its `http_status`, and OSError when the log cannot be written (503). The
    names of `given`, the headers of a request or metadata of a call, are lower case.
    """

    def __init__(self, host: ModelHost, recorder: Recorder) -> None:
        self._host = host
        self._recorder = recorder

    async def answer(
        self, request: InferenceRequest, given: Mapping[str, str], started: float
    ) -> InferenceResponse:
        """Select the version, check the tensors against its manifest, score, log and count.

        Args:
            started: `time.perf_counter()` at the arrival of the request.
        """
        selected: Any = select_version(self._host, request.model, request.version or None, given)
        if type(selected.version) is RegisteredVersion:
            selected.version = await self._load(selected.version)
        version: LoadedVersion = selected.version
        check_outputs(version.manifest, request.outputs)
        features = features_of(request.inputs, version.manifest)
        scores = self.score(selected, features)
        ids = self._recorder.record(
            selected,
            caller.request_id(given),
            [None] * len(scores),
            features,
            scores,
            started,
            client=caller.client(given),
        )
        parameters = {"digest": version.wanted.digest, "prediction_ids": ",".join(ids)}
        if selected.release_id:
            parameters["release_id"] = selected.release_id
        return InferenceResponse(
            version.wanted.model,
            version.wanted.version,
            request.id,
            outputs_of(version.manifest, scores, request.outputs),
            parameters,
            stands_in(selected),
        )

    async def select(
        self, model: str, version: str, given: Mapping[str, str]
    ) -> SelectedVersion[LoadedVersion]:
        """Return the version that answers, loaded now if need be; `version` may be empty.

        Raises:
            NotLoaded: its load failed, or takes longer than `PATIENCE_SECONDS`.
        """
        selected: Any = select_version(self._host, model, version or None, given)
        if type(selected.version) is RegisteredVersion:
            selected.version = await self._load(selected.version)
        return selected

    async def _load(self, version: RegisteredVersion) -> LoadedVersion:
        await in_a_task()
        load = asyncio.wrap_future(self._host.on_demand.request(version))
        try:
            # Shielded: a request that is given up must not take the load from the others that wait for it.
            return await asyncio.wait_for(asyncio.shield(load), PATIENCE_SECONDS)
        except TimeoutError:
            load.add_done_callback(_retrieve)
            raise NotLoaded(
                f"{version.wanted.model} {version.wanted.version} is not loaded within {PATIENCE_SECONDS:g} s",
                hint="it is loaded on demand: try again in some seconds",
            ) from None

    def score(self, selected: SelectedVersion[LoadedVersion], features: np.ndarray) -> np.ndarray:
        """Return the scores of the selected version; the other versions tell a bad request from a bad version."""
        others = self._host.loaded_of(selected.version.wanted.model)
        return faults.score(selected.version, features, others)

    def live(self) -> bool:
        """Return false until the server has tried to load its first desired state."""
        return self._host.started

    def server_ready(self) -> bool:
        """Return false until every desired version is loaded, and while answers cannot be logged."""
        return self._host.ready

    def model_ready(self, model: str, version: str = "", given: Mapping[str, str] = NO_HEADERS) -> bool:
        """Return true where a version would answer, one that is loaded on demand too; nothing is loaded.

        Raises:
            UnknownModel, UnknownVersion, NotLoaded: none would; its load may have failed a moment ago.
        """
        chosen = select_version(self._host, model, version or None, given).version
        if type(chosen) is RegisteredVersion and (
            reason := self._host.on_demand.failure(chosen.wanted.identity)
        ):
            raise NotLoaded(f"{model} {chosen.wanted.version}: {reason}", hint="see /v1/pool of the server")
        return True

    def server_metadata(self) -> ServerMetadata:
        return ServerMetadata("perennial", __version__, EXTENSIONS)

    def metadata(self, model: str, version: str = "", given: Mapping[str, str] = NO_HEADERS) -> ModelMetadata:
        """Describe the version that would answer; nothing is loaded for it.

        Raises:
            UnknownModel, UnknownVersion, NotLoaded: none would.
        """
        chosen = select_version(self._host, model, version or None, given).version
        manifest, wanted = chosen.manifest, chosen.wanted
        return ModelMetadata(
            name=wanted.model,
            versions=tuple(each.version for each in self._host.versions.state.by_model[wanted.model]),
            platform=PLATFORM,
            inputs=input_metadata(manifest),
            outputs=output_metadata(manifest),
            parameters={
                "features": ",".join(manifest.features),
                "digest": wanted.digest,
                "task": manifest.task.model_dump_json(),
            },
        )


def _retrieve(load: asyncio.Future[LoadedVersion]) -> None:
    """Look at the result of a load that nobody waits for, so that its error is no warning of the event loop."""
    if not load.cancelled():
        load.exception()


def stands_in(selected: SelectedVersion[RegisteredVersion]) -> dict[str, str]:
    """Return the response header of a version that answers in place of another."""
    return {headers.STANDS_IN: selected.stands_in} if selected.stands_in else {}
