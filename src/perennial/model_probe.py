"""Load and run a model file in a child process with limits: a model is a foreign program.

An ONNX file of 300 bytes can loop for ever or ask for gigabytes. So whoever meets a model file for the first time,
the gate and each model server, first lets a child check its operators, load it and run it on hostile rows, under a
limit of address space, of CPU time and of wall time. Only what the child finished is loaded in the process itself.

The module runs as that child: `python -m perennial.model_probe FILE` prints a `Probe` as JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MEMORY_BYTES = 2 << 30
"""Address space of the child. Python, ONNX and ONNX Runtime alone take about 0.7 GiB of it."""
CPU_SECONDS = 20
WALL_SECONDS = 40.0
OUTPUT_FACTOR = 64
"""Numbers that a model may answer per row."""
ROWS = (1, 2, 64)

ALLOWED = frozenset(
    """
    Abs Acos Acosh Add AffineGrid And ArgMax ArgMin ArrayFeatureExtractor Asin Asinh Atan Atanh Attention
    AveragePool BatchNormalization Binarizer BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor
    BlackmanWindow Cast CastLike CastMap CategoryMapper CausalConvWithState Ceil Celu CenterCropPad Clip
    Col2Im Compress Concat Constant ConstantOfShape Conv ConvInteger ConvTranspose Cos Cosh CumProd
    CumSum DFT DeformConv DepthToSpace DequantizeLinear Det DictVectorizer Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike FeatureVectorizer Flatten Floor GRU
    Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater
    GreaterOrEqual GridSample GroupNormalization HammingWindow HannWindow HardSigmoid HardSwish Hardmax
    Identity Imputer InstanceNormalization IsInf IsNaN LRN LSTM LabelEncoder LayerNormalization LeakyRelu
    Less LessOrEqual LinearAttention LinearClassifier LinearRegressor Log LogSoftmax LpNormalization
    LpPool MatMul MatMulInteger Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization
    MelWeightMatrix Min Mish Mod Mul Neg NegativeLogLikelihoodLoss NonMaxSuppression NonZero Normalizer
    Not OneHot OneHotEncoder Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization
    RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
    ReduceProd ReduceSum ReduceSumSquare RegexFullMatch Relu Reshape Resize ReverseSequence RoiAlign
    RotaryEmbedding Round STFT SVMClassifier SVMRegressor Scaler Scatter ScatterElements ScatterND Selu
    Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax SoftmaxCrossEntropyLoss Softplus Softsign
    SpaceToDepth Split Sqrt Squeeze StringConcat StringNormalizer StringSplit Sub Sum SwiGLU Swish Tan
    Tanh TensorScatter TfIdfVectorizer ThresholdedRelu Tile TopK Transpose TreeEnsemble
    TreeEnsembleClassifier TreeEnsembleRegressor Trilu Unique Unsqueeze Upsample Where Xor ZipMap
    """.split()  # noqa: SIM905 one word a line would be two hundred lines
)
"""Operators of ONNX and ONNX-ML that a served model may use. Not among them: control flow (Loop, Scan, If ...),
with which a file decides at run time for how long it runs; chance (RandomNormal ...), since the same row must get
the same answer; sequences, optionals and decoders of images, which no exporter in use needs."""
DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml"})
"""Operators of any other domain come from a library that the server would have to load."""


@dataclass(frozen=True)
class Probe:
    """Result of a trial of a model file in a child process.

    Attributes:
        problem: empty when the file may be loaded.
        peak_bytes: resident memory of the child at its highest.
    """

    problem: str
    peak_bytes: int = 0
    seconds: float = 0.0


def probe(
    path: Path,
    memory_bytes: int = MEMORY_BYTES,
    cpu_seconds: int = CPU_SECONDS,
    wall_seconds: float = WALL_SECONDS,
) -> Probe:
    """Return what is wrong with a model file, without loading it in this process."""
    command = (sys.executable, "-m", "perennial.model_probe", str(path), str(memory_bytes), str(cpu_seconds))
    try:
        done = subprocess.run(
            command, env=bare_environment(), capture_output=True, text=True, timeout=wall_seconds, check=False
        )
    except subprocess.TimeoutExpired:
        return Probe(f"does not finish within {wall_seconds:g} s", seconds=wall_seconds)
    if done.returncode < 0 or not done.stdout.strip():
        said = done.stderr.strip().splitlines()[-1:] or [f"signal {-done.returncode}"]
        return Probe(f"ended the process that tried it ({said[0][:200]}): too much memory, time, or a crash")
    return Probe(**json.loads(done.stdout.splitlines()[-1]))


def bare_environment() -> dict[str, str]:
    """Return the environment of a child that reads a foreign file: no secret, one thread."""
    environment = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "LANG") if key in os.environ}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}
    return environment | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def model_problem(model: bytes) -> str:
    """Return what is wrong with the bytes of a model file; asked once per process, then remembered by digest.

    Only a sound answer is remembered for good: a file that did not finish may have met a busy machine.
    """
    digest = hashlib.sha256(model).hexdigest()
    if digest in _SOUND:
        return ""
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(model)
        file.flush()
        problem = probe(Path(file.name)).problem
    if not problem:
        _SOUND.add(digest)
    return problem


_SOUND: set[str] = set()
"""SHA-256 of the model files that were found sound in this process."""


def operator_problem(model: Any) -> str:
    """Return which operators of an ONNX model are not allowed; empty when all are.

    Args:
        model: an `onnx.ModelProto`.
    """
    own = {(function.domain, function.name) for function in model.functions}
    foreign = {node.domain for node in _nodes(model) if (node.domain, node.op_type) not in own} - DOMAINS
    if foreign:
        return f"needs operators of {', '.join(sorted(foreign))}"
    called = {node.op_type for node in _nodes(model) if (node.domain, node.op_type) not in own}
    unknown = sorted(called - ALLOWED)
    return f"uses operators that are not allowed: {', '.join(unknown)}" if unknown else ""


def external_data(message: Any) -> bool:
    """Return whether any tensor below an ONNX message keeps its values in another file.

    Looks wherever the format has a place for a tensor: attributes, subgraphs, functions, sparse values. ONNX's own
    iterator, which is private, leaves some out.
    """
    from google.protobuf.message import Message
    from onnx import TensorProto, external_data_helper

    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in [value] if isinstance(value, Message) else value:
            if isinstance(part, TensorProto):
                if external_data_helper.uses_external_data(part):
                    return True
            elif external_data(part):
                return True
    return False


def _nodes(model: Any) -> list[Any]:
    """Nodes of the graph, of its subgraphs and of the functions that the file defines."""
    nodes: list[Any] = []
    waiting = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while waiting:
        node = waiting.pop()
        nodes.append(node)
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                waiting += graph.node
    return nodes


def limit(memory_bytes: int, cpu_seconds: int) -> None:
    """Bound what this process may take: address space, CPU time, no core dump, no written file."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _try(path: Path) -> str:
    """Check, load and run a model; returns its problem."""
    import numpy as np
    import onnx
    import onnxruntime
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        # Before the checker, which looks for such a file in the current folder.
        if external_data(model):
            return "keeps weights in another file, which no digest covers"
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        return f"no sound ONNX model: {str(error).splitlines()[0]}"
    if problem := operator_problem(model):
        return problem
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    for count in ROWS:
        for value in (0.0, 1.0, -1e6, 1e30):
            feed = {given.name: _filled(np, given, count, value) for given in inputs}
            sizes = [np.asarray(answer).size for answer in session.run(None, feed)]
            width = sum(int(np.prod(given.shape[1:])) if len(given.shape) > 1 else 1 for given in inputs
                        if all(isinstance(size, int) for size in given.shape[1:]))  # fmt: skip
            if sum(sizes) > count * OUTPUT_FACTOR * max(1, width):
                return f"answers {sum(sizes)} numbers to {count} rows"
    return ""


def _filled(np: Any, given: Any, count: int, value: float) -> Any:
    shape = [
        count if place == 0 else (size if isinstance(size, int) else 1)
        for place, size in enumerate(given.shape)
    ]
    kinds = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64",
             "tensor(int32)": "int32", "tensor(bool)": "bool", "tensor(float16)": "float16"}  # fmt: skip
    if given.type == "tensor(string)":
        return np.full(shape, "x", dtype=object)
    kind = np.dtype(kinds[given.type])
    if kind.kind in "iu":
        value = float(np.clip(value, -1_000_000, 1_000_000))
    with np.errstate(over="ignore"):
        return np.full(shape, value).astype(kind)


def main(path: str, memory_bytes: str, cpu_seconds: str) -> None:
    """Run as the child."""
    import time

    started = time.monotonic()
    limit(int(memory_bytes), int(cpu_seconds))
    try:
        problem = _try(Path(path))
    except Exception as error:  # noqa: BLE001 whatever a foreign file brings about is its problem
        problem = f"does not run: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}"
    # Not getrusage: its maximum counts the parent's memory, which the child had for a moment after the fork.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    print(json.dumps(asdict(Probe(problem, peak, round(time.monotonic() - started, 2)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
