"""Sessions of ONNX Runtime, opened alike by the servers and by the evaluation."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from perennial.errors import ModelFileError

PROVIDER = "CPUExecutionProvider"


def open_session(model: bytes, path: Path) -> ort.InferenceSession:
    """Open the bytes of a model file on the CPU with one thread.

    A second thread halves the throughput of a small model; serving scales by processes.

    Args:
        path: file that they were read from, for messages.

    Raises:
        ModelFileError: ONNX Runtime cannot load the file, or not on the CPU.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(model, options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelFileError(
            f"{path} does not run, it is no model that can be loaded: {error}", hint="export it again"
        ) from error
    if session.get_providers() != [PROVIDER]:
        raise ModelFileError(
            f"{path} is loaded with {session.get_providers()}, expected is {PROVIDER}",
            hint="install onnxruntime for this kind of machine",
        )
    return session
