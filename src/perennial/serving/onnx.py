"""Sessions of ONNX Runtime, opened alike by the servers and by the evaluation."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort

from perennial.errors import ModelFileError

PROVIDER = "CPUExecutionProvider"


def open_session(model: bytes, path: Path, arena: bool = True) -> ort.InferenceSession:
    """Open the bytes of a model file on the CPU with one thread.

    A second thread halves the throughput of a small model; serving scales by processes.

    Args:
        path: file that they were read from, for messages.
        arena: whether the session keeps the memory of a run for the next.

    Raises:
        ModelFileError: ONNX Runtime cannot load the file, or not on the CPU.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = arena
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
    session._model_bytes = None  # kept only for another try with other providers, as large as the weights
    return session
