"""Answers of the Open Inference Protocol (V2) about models and by models, independent of REST or gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from perennial import __version__
from perennial.serving import headers
from perennial.serving.access import caller
from perennial.serving.evidence import faults
from perennial.serving.host import ModelHost
from perennial.serving.protocol.inputs import features_of, input_metadata
from perennial.serving.protocol.messages import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    ServerMetadata,
)
from perennial.serving.protocol.outputs import check_outputs, output_metadata, outputs_of
from perennial.serving.recorder import Recorder
from perennial.serving.version_selection import SelectedVersion, select_version

PLATFORM = "onnxruntime_onnx"
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

    def answer(
        self, request: InferenceRequest, given: Mapping[str, str], started: float
    ) -> InferenceResponse:
        """Select the version, check the tensors against its manifest, score, log and count.

        Args:
            started: `time.perf_counter()` at the arrival of the request.
        """
        selected = self.select(request.model, request.version, given)
        version = selected.version
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

    def select(self, model: str, version: str, given: Mapping[str, str]) -> SelectedVersion:
        """Return the version that answers; `version` may be empty."""
        return select_version(self._host, model, version or None, given)

    def score(self, selected: SelectedVersion, features: np.ndarray) -> np.ndarray:
        """Return the scores of the selected version; the other versions tell a bad request from a bad version."""
        model = selected.version.wanted.model
        loaded = self._host.versions.loaded.items()
        return faults.score(
            selected.version, features, (other for (name, _), other in loaded if name == model)
        )

    def live(self) -> bool:
        """Return false until the server has tried to load its first desired state."""
        return self._host.started

    def server_ready(self) -> bool:
        """Return false until every desired version is loaded, and while answers cannot be logged."""
        return self._host.ready

    def model_ready(self, model: str, version: str = "", given: Mapping[str, str] = NO_HEADERS) -> bool:
        """Return true where a version is loaded that would answer.

        Raises:
            UnknownModel, UnknownVersion, NotLoaded: none would.
        """
        self.select(model, version, given)
        return True

    def server_metadata(self) -> ServerMetadata:
        return ServerMetadata("perennial", __version__, EXTENSIONS)

    def metadata(self, model: str, version: str = "", given: Mapping[str, str] = NO_HEADERS) -> ModelMetadata:
        """Describe the version that would answer.

        Raises:
            UnknownModel, UnknownVersion, NotLoaded: none would.
        """
        chosen = self.select(model, version, given).version
        manifest, wanted = chosen.manifest, chosen.wanted
        return ModelMetadata(
            name=wanted.model,
            versions=tuple(
                each.version for each in self._host.versions.state.models if each.model == wanted.model
            ),
            platform=PLATFORM,
            inputs=input_metadata(manifest),
            outputs=output_metadata(manifest),
            parameters={
                "features": ",".join(manifest.features),
                "digest": wanted.digest,
                "task": manifest.task.model_dump_json(),
            },
        )


def stands_in(selected: SelectedVersion) -> dict[str, str]:
    """Return the response header of a version that answers in place of another."""
    return {headers.STANDS_IN: selected.stands_in} if selected.stands_in else {}
