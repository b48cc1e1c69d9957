"""Sessions of ONNX Runtime, opened alike by the servers and by the evaluation.

A session that ONNX Runtime cannot open on the wanted execution provider falls back to the CPU with a warning at most.
Here that is an error: whoever asked for a GPU would pay for it and get a CPU.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime as ort

from perennial.errors import ModelFileError, SettingsError

if TYPE_CHECKING:
    from perennial.settings import Settings

CPU, CUDA, TENSORRT = "cpu", "cuda", "tensorrt"
PROVIDERS = {
    CPU: "CPUExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    TENSORRT: "TensorrtExecutionProvider",
}
INSTALL = {
    CPU: "install onnxruntime for this kind of machine",
    CUDA: "install onnxruntime-gpu in place of onnxruntime, with its CUDA and cuDNN, on a machine with an NVIDIA GPU",
    TENSORRT: "install onnxruntime-gpu in place of onnxruntime, with CUDA, cuDNN and TensorRT, on a machine with an "
    "NVIDIA GPU",
}
LARGEST_BATCH = 1024
"""Rows of a request for which a TensorRT engine is built; more rows need another engine."""
QUERY = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


@dataclass(frozen=True)
class Execution:
    """Execution provider of a session, with the folder of its engines."""

    provider: str = CPU
    """A key of `PROVIDERS`."""
    engines: Path | None = None
    """Folder that keeps TensorRT's engines, below the name of the GPU; None builds them anew."""
    arena: bool = True
    """Whether a session keeps the memory of a run for the next."""


ON_CPU = Execution()


def execution_of(settings: Settings) -> Execution:
    """Return the provider that PERENNIAL_PROVIDER names.

    Raises:
        SettingsError: it is not here.
    """
    refuse_absent(settings.provider)
    return Execution(settings.provider, settings.engines)


def open_session(model: bytes, path: Path, execution: Execution = ON_CPU) -> ort.InferenceSession:
    """Open the bytes of a model file with one thread, on one execution provider.

    A second thread halves the throughput of a small model; serving scales by processes.

    Args:
        path: file that they were read from, for messages.
        execution: some operators of a model may run on the CPU beside a GPU, but not all.

    Raises:
        SettingsError: ONNX Runtime here does not have the provider, or cannot start it.
        ModelFileError: ONNX Runtime cannot load the file, or nothing of it runs on the provider.
    """
    provider = execution.provider
    refuse_absent(provider)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = execution.arena
    if provider != CPU:
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # By default a session whose provider fails prints a line, opens itself on the CPU, and answers from there.
        session = ort.InferenceSession(model, options, providers=_asked(model, execution), enable_fallback=0)
    except Exception as error:  # onnxruntime's exceptions share no base class
        hint = "export it again" + ("" if provider == CPU else f"; or {INSTALL[provider]}")
        raise ModelFileError(
            f"{path} does not run on {provider}, it is no model that can be loaded: {error}", hint=hint
        ) from error
    _refuse_fallback(session, path, provider)
    session._model_bytes = None  # kept only for another try with other providers, as large as the weights
    return session


def refuse_absent(provider: str) -> None:
    """Check that ONNX Runtime was built with an execution provider.

    Raises:
        SettingsError: it was not; says what to install.
    """
    if PROVIDERS[provider] not in ort.get_available_providers():
        raise SettingsError(
            f"the execution provider {provider!r} is not here: ONNX Runtime {ort.__version__} has "
            f"{', '.join(ort.get_available_providers())}",
            hint=INSTALL[provider],
        )


def _refuse_fallback(session: ort.InferenceSession, path: Path, provider: str) -> None:
    wanted, active = PROVIDERS[provider], session.get_providers()
    if active[:1] != [wanted]:
        error = ModelFileError if provider == CPU else SettingsError
        raise error(f"{path} is loaded with {active}, expected is {wanted}", hint=INSTALL[provider])
    if provider == CPU:
        return
    runs_on = Counter(
        part.ep_name for part in session.get_provider_graph_assignment_info() for _ in part.get_nodes()
    )
    if not runs_on[wanted]:
        raise ModelFileError(
            f"{path}: none of its operators runs on {wanted}: {dict(runs_on)}",
            hint="serve it with PERENNIAL_PROVIDER=cpu: a GPU does not help this kind of model",
        )


def _asked(model: bytes, execution: Execution) -> list[object]:
    """Return the providers to ask for, with their options."""
    provider, engines = execution.provider, execution.engines
    if provider == CPU:
        return [PROVIDERS[CPU]]
    if provider == CUDA:
        return [PROVIDERS[CUDA], PROVIDERS[CPU]]
    given: dict[str, object] = {"trt_fp16_enable": True, **_shapes(model)}
    if engines is not None:
        folder = engine_folder(engines, gpu_name())
        folder.mkdir(parents=True, exist_ok=True)
        given |= {"trt_engine_cache_enable": True, "trt_engine_cache_path": str(folder)}
    return [(PROVIDERS[TENSORRT], given), PROVIDERS[CUDA], PROVIDERS[CPU]]


def _shapes(model: bytes) -> dict[str, str]:
    """Return the sizes of a request for which an engine is built: one row, 64 rows, `LARGEST_BATCH` rows."""
    import onnx

    given = onnx.load_from_string(model).graph.input[0]
    width = given.type.tensor_type.shape.dim[1].dim_value
    rows = {"min": 1, "opt": 64, "max": LARGEST_BATCH}
    return {f"trt_profile_{name}_shapes": f"{given.name}:{count}x{width}" for name, count in rows.items()}


def gpu_name() -> str:
    """Return name and driver of the first GPU.

    Raises:
        SettingsError: NVIDIA's tool does not answer.
    """
    try:
        answer = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=30)
        return answer.stdout.splitlines()[0].strip()
    except (OSError, subprocess.SubprocessError, IndexError) as error:
        raise SettingsError(f"nvidia-smi does not name a GPU: {error}", hint=INSTALL[TENSORRT]) from error


def engine_folder(engines: Path, gpu: str) -> Path:
    """Return the folder of the engines of a GPU: an engine of another GPU, driver or ONNX Runtime does not load."""
    name = "".join(letter if letter.isalnum() or letter in ".-" else "-" for letter in gpu)
    return engines / f"{name}-onnxruntime-{ort.__version__}"
