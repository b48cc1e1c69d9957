"""A version as a server knows it, and a loaded one: a verified ONNX file in an ONNX Runtime session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from perennial.core.serving_spec import Load
from perennial.errors import ModelFileError, PerennialError, ShapeError
from perennial.serving.desired_state import DesiredVersion
from perennial.serving.manifest import MODEL_FILE, ServedManifest, VerifiedFiles, load_verified
from perennial.serving.onnx import ON_CPU, Execution, open_session
from perennial.serving.signed_files import TrustedKeys

SESSION_BYTES, BYTES_PER_BYTE = 160 << 10, 2.0
"""Memory of a session: so much, and so much per byte of its model file, by benchmarks/many_models.py. The growth of
the process around a load would tell other work of the server, too, and nothing of memory that is used again."""


@dataclass(frozen=True)
class RegisteredVersion:
    """A version whose signed list and manifest are sound; the rest of its files is read when it is loaded."""

    wanted: DesiredVersion
    manifest: ServedManifest


@dataclass(frozen=True)
class LoadedVersion(RegisteredVersion):
    """A version that is ready to answer."""

    session: ort.InferenceSession
    background: np.ndarray | None = None
    """float32 [rows, features], background of its explanations; None when the manifest has none."""
    memory: int = 0
    """Bytes that it occupies, as estimated from its files."""

    def score(self, features: np.ndarray) -> np.ndarray:
        """Return the answers, float32 [n] or [n, k] as the task says, of float32 [n, features]; NaN is allowed.

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
        answers = np.asarray(scores, dtype=np.float32)
        return answers.reshape(-1) if self.manifest.task.width() is None else answers


def load(
    wanted: DesiredVersion,
    folder: Path,
    trusted: TrustedKeys,
    problem: Callable[[bytes], str],
    execution: Execution = ON_CPU,
) -> LoadedVersion:
    """Verify and load a version, and run it once so that the first request is not slower than the next.

    Args:
        problem: says in a child process what is wrong with the bytes of a model file; empty for a sound file.
        execution: provider of this server.

    Raises:
        SettingsError: that provider is not here.
        NotSigned: the files are not those that a trusted key signed.
        ModelFileError: the files are unreadable or cannot be run.
    """
    files = load_verified(folder, wanted.model, wanted.digest, trusted)
    manifest, model = files.manifest, files.contents[MODEL_FILE]
    if manifest.provider not in (None, execution.provider):
        raise ModelFileError(
            f"{wanted.model} {wanted.version} needs {manifest.provider}, this server runs on {execution.provider}",
            hint=f"PERENNIAL_PROVIDER={manifest.provider} on every model server, or release its parent",
        )
    if said := problem(model):
        raise ModelFileError(
            f"{wanted.model} {wanted.version}: {folder / MODEL_FILE} {said}",
            hint="export the model with other operators, or smaller",
        )
    try:
        # Without an arena a large batch leaves nothing behind, so that the estimate stays true.
        opened = replace(execution, arena=wanted.load is Load.PINNED)
        session = open_session(model, folder / MODEL_FILE, opened)
        background = _background(files)
        loaded = LoadedVersion(wanted, manifest, session, background, _memory(model, background))
        scores = loaded.score(np.zeros((2, len(manifest.features)), dtype=np.float32))
    except PerennialError:
        raise
    except Exception as error:  # onnxruntime has its own exceptions without a common base class
        raise ModelFileError(
            f"{wanted.model} {wanted.version}: {folder / MODEL_FILE} does not run: {error}",
            hint="export the model again; input and output must be those of its manifest",
        ) from error
    width = manifest.task.width()
    if scores.shape != ((2,) if width is None else (2, width)):
        raise ModelFileError(
            f"{wanted.model} {wanted.version}: two rows give {scores.size} scores",
            hint=f"the output must be float32 {manifest.task.shape}",
        )
    return loaded


def _memory(model: bytes, background: np.ndarray | None) -> int:
    return SESSION_BYTES + int(len(model) * BYTES_PER_BYTE) + (0 if background is None else background.nbytes)


def _background(files: VerifiedFiles) -> np.ndarray | None:
    background = files.background
    if background is None:
        return None
    if background.features != files.manifest.features:
        raise ModelFileError(
            f"{files.manifest.model}: the background has other features than the model", hint="train again"
        )
    return background.values()
