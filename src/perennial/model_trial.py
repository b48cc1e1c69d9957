"""The trial of a model file, in a process that forks a child with limits for each file (`perennial.model_probe`).

The module runs as that process: `python -m perennial.model_trial` reads a `Trial` per line and writes a `Probe`. To
start Python with ONNX and ONNX Runtime takes a second, to try a small model milliseconds; so they are imported once.
Each file has a child of its own: what one does to its child, another does not meet. The forking process itself opens
no model file.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import time
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
IDLE_SECONDS = 60.0
"""Time without a trial after which the process ends: it occupies about 100 MiB."""

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


@dataclass(frozen=True)
class Trial:
    """A file to try, with the limits of the child that tries it."""

    path: str
    memory_bytes: int = MEMORY_BYTES
    cpu_seconds: int = CPU_SECONDS
    wall_seconds: float = WALL_SECONDS
    niceness: int = 0


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


def try_file(path: Path) -> Probe:
    """Try a file in this process, which should be a child with limits; whatever goes wrong is the file's problem."""
    started = time.monotonic()
    try:
        problem = _try(path)
    except Exception as error:  # noqa: BLE001 whatever a foreign file brings about is its problem
        problem = f"does not run: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}"
    # Not getrusage: its maximum counts the parent's memory, which the child had for a moment after the fork.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peak = int(status["VmHWM"].split()[0]) * 1024
    return Probe(problem, peak, round(time.monotonic() - started, 2))


def main() -> None:
    """Run as the process that forks."""
    import onnx
    import onnxruntime

    _ = onnx, onnxruntime  # imported for the children
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints in a child does not print an answer
    given = b""
    while select.select([0], [], [], IDLE_SECONDS)[0]:
        content = os.read(0, 1 << 16)
        if not content:
            return
        given += content
        while b"\n" in given:
            line, _, given = given.partition(b"\n")
            result = _in_child(Trial(**json.loads(line)), answers.fileno())
            answers.write(json.dumps(asdict(result)) + "\n")
            answers.flush()


def _in_child(trial: Trial, answers: int) -> Probe:
    """Fork a child that tries the file; kill it where it takes too long."""
    began = time.monotonic()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.close(answers)
            os.close(0)
            os.setsid()
            os.nice(trial.niceness)
            limit(trial.memory_bytes, trial.cpu_seconds)
            os.write(writing, json.dumps(asdict(try_file(Path(trial.path)))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = b""
    while (left := began + trial.wall_seconds - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            continue
        content = os.read(reading, 1 << 16)
        if not content:
            break
        said += content
    for kill in (os.killpg, os.kill):  # also one that closed its end and goes on
        with contextlib.suppress(ProcessLookupError):
            kill(child, signal.SIGKILL)
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if left <= 0:
        return Probe(f"does not finish within {trial.wall_seconds:g} s", seconds=trial.wall_seconds)
    try:
        return Probe(**json.loads(said))
    except (ValueError, TypeError):
        code = os.waitstatus_to_exitcode(status)
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Probe(f"ended the process that tried it ({ended}): too much memory, time, or a crash")


if __name__ == "__main__":
    main()
