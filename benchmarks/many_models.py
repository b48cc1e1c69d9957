"""A thousand models in one model server: start, memory, cold loads, and what they cost a pinned model.

Run: python benchmarks/many_models.py [--models 1000] [--pinned 20] [--rounds 5] [--seconds 5]   (about five minutes)

Each model is a network of its own: 64 inputs, a hidden layer, one output. The server runs as `perennial serve` starts
it, with door, log and metrics; its budget holds about a tenth of the models that are loaded on demand. Cold loads are
timed at the client, one request at a time: in the first sweep over some hundred models each file is tried in a child
process, in the second it was found sound before. The storm is clients that ask without a break for models that are
not loaded; rounds with it and without it take turns, so that other load of the machine affects both.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from serving_targets.world import processor
from signing import FOLDER, signed

from perennial.core.serving_spec import Load
from perennial.serving import desired_state, headers
from perennial.serving.desired_state import DesiredState, DesiredVersion
from perennial.serving.loading.on_demand import PER_SECOND
from perennial.serving.session import BYTES_PER_BYTE, SESSION_BYTES
from perennial.settings import Settings
from serving import Server

WIDTH = 64
MIB = 1 << 20
SWEPT = 300
"""Models of a sweep: several times what the budget holds."""
STORM = 4
"""Clients of the storm."""
RATE = 200.0
"""Requests a second for pinned models."""


def network(seed: int, hidden: int) -> bytes:
    """Return the model file of a network with random weights."""
    random = np.random.default_rng(seed)

    def weights(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Gemm", ["features", "w1", "b1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "w2", "b2"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["share"]),
        helper.make_node("Squeeze", ["share", "axes"], ["score"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1]), "axes"),
        weights("w1", WIDTH, hidden), weights("b1", hidden), weights("w2", hidden, 1), weights("b2", 1),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", WIDTH])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


def furnish(settings: Settings, models: int, pinned: int, hidden: int) -> int:
    """Write the versions and the desired state of the stable pool; return the bytes of a model file."""
    wanted, size = [], 0
    for number in range(models):
        name = f"model_{number:04d}"
        aside = settings.serving_dir / "aside"
        aside.mkdir(parents=True)
        content = network(number, hidden)
        (aside / "model.onnx").write_bytes(content)
        manifest = {
            "format": 1, "model": name, "capsule": "benchmark", "input": "features", "output": "score",
            "feature_service": None, "entities": ["id"], "request": {}, "threshold": 0.5,
            "features": [f"f{place}" for place in range(WIDTH)],
        }  # fmt: skip
        (aside / "manifest.json").write_text(json.dumps(manifest))
        digest = signed(aside, name, "benchmark")
        store = desired_state.version_folder(settings.serving_dir, digest)
        store.parent.mkdir(exist_ok=True)
        aside.rename(store)
        load = Load.PINNED if number < pinned else Load.ON_DEMAND
        wanted.append(
            DesiredVersion(
                model=name, version="1.0.0", key="1", digest=digest, capsule="benchmark", load=load
            )
        )
        size = len(content)
    state = DesiredState(generation=1, models=tuple(wanted))
    desired_state.write(desired_state.state_file(settings.serving_dir, "stable"), state)
    return size


class Asker:
    """A client with a connection of its own."""

    def __init__(self, port: int, secret: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._sent = {headers.SECRET: secret, "content-type": "application/json"}

    def get(self, path: str) -> tuple[int, bytes]:
        self._connection.request("GET", path, headers=self._sent)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def infer(self, number: int) -> float:
        """Ask a model for one row; return the seconds."""
        began = time.perf_counter()
        self._connection.request("POST", f"/v2/models/model_{number:04d}/infer", BODY, self._sent)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise SystemExit(f"model_{number:04d}: {answer.status} {content[:300]!r}")
        return time.perf_counter() - began


BODY = json.dumps(
    {"inputs": [{"name": "features", "datatype": "FP32", "shape": [1, WIDTH], "data": [0.25] * WIDTH}]}
).encode()


def until_ready(port: int, secret: str) -> float:
    """Wait until the server is ready; return the seconds."""
    began = time.monotonic()
    while True:
        try:
            if Asker(port, secret).get("/readyz")[0] == 200:
                return time.monotonic() - began
        except OSError:
            pass
        if time.monotonic() - began > 600:
            raise SystemExit("the server does not become ready")
        time.sleep(0.1)


def report(asker: Asker) -> dict:
    """Return what the server says of its loads on demand."""
    return json.loads(asker.get("/v1/pool")[1])["on_demand"]


def resident(server: Server) -> int:
    """Return the anonymous resident bytes of the process that answers: the largest of the server's."""
    sizes = [0]
    for pid in server.processes():
        _, found, size = Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")
        if found:  # one that has ended has no memory
            sizes.append(int(size.split()[0]) * 1024)
    return max(sizes)


def sweep(asker: Asker, numbers: np.ndarray) -> list[float]:
    """Ask each model once, more slowly than a server limits its loads; return the milliseconds."""
    times = []
    for number in numbers:
        times.append(asker.infer(int(number)) * 1000)
        time.sleep(1.2 / PER_SECOND)
    return times


@contextmanager
def storm(port: int, secret: str, numbers: np.ndarray) -> Iterator[None]:
    """Ask for models that are not loaded while the block runs."""
    stop = threading.Event()

    def client(part: np.ndarray) -> None:
        asker = Asker(port, secret)
        for number in itertools.cycle(part):
            if stop.is_set():
                return
            asker.infer(int(number))

    threads = [threading.Thread(target=client, args=(part,)) for part in np.array_split(numbers, STORM)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def pinned_client(port: int, secret: str, seconds: float, pinned: int) -> None:
    """Ask for pinned models at a steady rate once a line comes in; print the milliseconds of each answer."""
    asker, times = Asker(port, secret), []
    print("ready", flush=True)
    sys.stdin.readline()
    began = due = time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        time.sleep(max(0.0, due - now))
        times.append(asker.infer(len(times) % pinned) * 1000)
        due = max(due + 1 / RATE, time.perf_counter())
    print(json.dumps(times))


class PinnedClient:
    """`pinned_client` in a process of its own, which is up before the phase begins."""

    def __init__(self, *given: object) -> None:
        command = [sys.executable, __file__, "--client", json.dumps(given)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._process.stdout.readline()

    def ask(self) -> list[float]:
        """Run it; return the milliseconds of each answer."""
        return json.loads(self._process.communicate("\n")[0])


def table(rows: dict[str, str]) -> None:
    print(f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| figure | measured |\n|---|---:|")
    for name, value in rows.items():
        print(f"| {name} | {value} |")


def quantiles(times: list[float]) -> str:
    p50, p99 = np.quantile(times, [0.5, 0.99])
    return f"{p50:.2f} / {p99:.2f} ms"


def measure(server: Server, secret: str, asked: argparse.Namespace, size: int) -> dict[str, str]:
    """Return the figures by their names."""
    start = until_ready(server.port, secret)
    asker = Asker(server.port, secret)
    empty = resident(server)
    before = server.cpu_seconds()
    time.sleep(asked.seconds)
    idle = (server.cpu_seconds() - before) / asked.seconds
    random = np.random.default_rng(1)
    cold = np.arange(asked.pinned, asked.models)
    order = random.permutation(cold)[:SWEPT]
    first = sweep(asker, order)
    full, told = resident(server), report(asker)
    again = sweep(asker, order)  # in the same order, so that each has left before its turn
    alone: list[float] = []
    stormy: list[float] = []
    loads, lasted = 0, 0.0
    given = server.port, secret, asked.seconds, asked.pinned
    for _ in range(asked.rounds):
        alone += PinnedClient(*given).ask()
        client = PinnedClient(*given)
        before, began = _loads(server.port, secret), time.monotonic()
        with storm(server.port, secret, random.permutation(cold)):
            stormy += client.ask()
        lasted += time.monotonic() - began
        loads += _loads(server.port, secret) - before
    return {
        f"start with {asked.models} models, {asked.pinned} of them pinned": f"{start:.1f} s",
        "processor time while idle": f"{idle:.1%} of a core",
        "memory with the pinned ones loaded": f"{empty / MIB:.0f} MiB",
        f"memory with {told['loaded']} more loaded (budget {told['budget'] // MIB} MiB)": f"{full / MIB:.0f} MiB",
        f"memory a model of {size / 1024:.0f} KiB, measured": f"{(full - empty) / told['loaded'] / 1024:.0f} KiB",
        "memory a model, as the budget counts it": f"{told['bytes'] / told['loaded'] / 1024:.0f} KiB",
        "cold load, first time (with the trial), p50 / p99": quantiles(first),
        "cold load, after it had left, p50 / p99": quantiles(again),
        "pinned model alone, p50 / p99": quantiles(alone),
        "pinned model in a storm of cold loads, p50 / p99": quantiles(stormy),
        "loads a second in the storm": f"{loads / lasted:.0f}",
        "p99 in the storm / alone (goal 1.2)": f"{np.quantile(stormy, 0.99) / np.quantile(alone, 0.99):.2f}",
    }


def _loads(port: int, secret: str) -> int:
    page = Asker(port, secret).get("/metrics")[1].decode()
    line = next(line for line in page.splitlines() if line.startswith("perennial_cold_load_seconds_count"))
    return int(float(line.rpartition(" ")[2]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    parser.add_argument("--pinned", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=64, help="width of the networks")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a phase")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        pinned_client(*json.loads(asked.client))
        return
    with tempfile.TemporaryDirectory(prefix="perennial-many-") as name:
        folder = Path(name)
        settings = Settings(home=folder / "state", trusted_keys=FOLDER)
        size = furnish(settings, asked.models, asked.pinned, asked.hidden)
        tenth = (asked.models - asked.pinned) // 10 * (SESSION_BYTES + int(size * BYTES_PER_BYTE))
        server = Server(
            "many",
            [sys.executable, "-m", "perennial", "serve", "--pool", "stable", "--port", "PORT"],
            folder,
            PERENNIAL_HOME=str(settings.home),
            PERENNIAL_TRUSTED_KEYS=str(FOLDER),
            PERENNIAL_ON_DEMAND_MIB=str(-(-tenth // MIB)),
        )
        try:
            figures = measure(server, settings.internal_secret, asked, size)
        finally:
            server.stop()
    table(figures)


if __name__ == "__main__":
    main()
