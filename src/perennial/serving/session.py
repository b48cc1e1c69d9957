"""One loaded version: a verified ONNX file in an ONNX Runtime session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from perennial.errors import ModelFileError, ShapeError
from perennial.serving.desired_state import DesiredVersion
from perennial.serving.manifest import MODEL_FILE, ServedManifest, load_verified, read_background

PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class LoadedVersion:
    """A version that can answer."""

    wanted: DesiredVersion
    manifest: ServedManifest
    session: ort.InferenceSession
    background: np.ndarray | None = None
    """float32 [rows, features], what its explanations compare with; None where its manifest has none."""

    def score(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, features], NaN allowed -> float32 [n].

        Raises:
            ShapeError: the second dimension is not the model's number of features.
        """
        expected = len(self.manifest.features)
        if features.ndim != 2 or features.shape[1] != expected:
            raise ShapeError(
                f"{self.wanted.model} {self.wanted.version} takes [n, {expected}], not {list(features.shape)}",
                hint=f"features in order: {', '.join(self.manifest.features)}",
            )
        (scores,) = self.session.run([self.manifest.output], {self.manifest.input: features})
        return np.asarray(scores, dtype=np.float32).reshape(-1)


def load(wanted: DesiredVersion, folder: Path) -> LoadedVersion:
    """Verify, load and run once, so that the first request is as fast as the next.

    One thread per session: a second one halves the throughput of a small model, and the pool scales
    by processes.

    Raises:
        ModelFileError: unreadable, not the digest that is wanted, or not runnable.
    """
    manifest = load_verified(folder, wanted.model, wanted.digest)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(folder / MODEL_FILE), options, providers=[PROVIDER])
        if session.get_providers() != [PROVIDER]:
            raise ModelFileError(
                f"{wanted.model}: loaded with {session.get_providers()}, wanted is {PROVIDER}",
                hint="install onnxruntime for this kind of machine",
            )
        loaded = LoadedVersion(wanted, manifest, session, _background(manifest, folder))
        scores = loaded.score(np.zeros((2, len(manifest.features)), dtype=np.float32))
    except ModelFileError:
        raise
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise ModelFileError(
            f"{wanted.model} {wanted.version}: {folder / MODEL_FILE} does not run: {error}",
            hint="export the model again; input and output must be those of its manifest",
        ) from error
    if scores.shape != (2,):
        raise ModelFileError(
            f"{wanted.model} {wanted.version}: two rows give {scores.size} scores",
            hint="the output must be float32 [batch]",
        )
    return loaded


def _background(manifest: ServedManifest, folder: Path) -> np.ndarray | None:
    if manifest.explanation is None:
        return None
    found = read_background(folder, manifest.explanation)
    if found.features != manifest.features:
        raise ModelFileError(
            f"{manifest.model}: the background has other features than the model", hint="train again"
        )
    return found.values()
