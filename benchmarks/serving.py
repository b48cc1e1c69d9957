"""Processor time and latency of a request: our model server, BentoML, FastAPI and a bare ASGI function.

Run: python benchmarks/serving.py [--seconds 3] [--rounds 5]   (about eight minutes)

Every server is one process (BentoML's has a supervisor beside it) with the same network of 17 inputs on ONNX Runtime
with one thread. Ours runs as `perennial serve` starts it, with its door, prediction log and metrics; the others log
nothing. An Envoy with the plant's configuration stands before ours, another before BentoML: there the processor time is
that of both processes. `ours on granian` is our ASGI application by granian, without gRPC. All servers are up at the
same time and get load in turn, round after round, so that other load of the machine affects all. Processor time is that
of the server's processes (`/proc/<pid>/stat`), the client's is not in it. With a `redis-server` ours
runs a second time, with its feature values in Redis.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from online_stores.redis_server import PROGRAM, RedisServer
from serving_targets.front import Front
from serving_targets.world import MODEL, furnish, processor, publish

from perennial import catalog
from perennial.serving import desired_state, headers
from perennial.serving.prediction_archive import PredictionArchive
from perennial.settings import Settings

HERE = Path(__file__).resolve().parent
TARGETS = HERE / "serving_targets"
BODIES = 64
"""Different bodies of a case, sent in turn."""
MANY_ROWS, MOST_ROWS, MANY_ENTITIES = 64, 1024, 100
INFER, PREDICT = f"/v2/models/{MODEL}/infer", f"/v1/models/{MODEL}/predict"
TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Case:
    """A kind of request to a server, with what was measured."""

    name: str
    server: str
    path: str
    bodies: list[bytes]
    headers: tuple[str, ...] = ()
    rows: int = 1
    connections: int = 16
    requests: int = 0
    cpu_seconds: float = 0.0
    rates: list[float] = field(default_factory=list)
    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    @property
    def cpu_us(self) -> float:
        """Return microseconds of processor time per request."""
        return self.cpu_seconds / self.requests * 1e6


class Server:
    """A process that listens on a free port."""

    def __init__(self, name: str, command: list[str], folder: Path, **variables: str) -> None:
        self.port = _free_port()
        command = [part.replace("PORT", str(self.port)) for part in command]
        environment = {**os.environ, "PORT": str(self.port), "OMP_NUM_THREADS": "1", **variables}
        with (folder / f"{name}.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and all its descendants so far."""
        return sum(_ticks(pid) for pid in self.processes()) / TICK

    def processes(self) -> Iterator[int]:
        """Return the process and all its descendants."""
        return _family(self._process.pid)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


class Routed(Server):
    """A server behind an Envoy; their processor time counts together."""

    def __init__(self, name: str, behind: Server, folder: Path, secret: str) -> None:
        self._behind = behind
        front = Front(folder / name, behind.port, secret)
        super().__init__(name, front.command, folder)
        self.port, self.lead = front.port, front.lead

    def cpu_seconds(self) -> float:
        return super().cpu_seconds() + self._behind.cpu_seconds()


def _family(pid: int) -> Iterator[int]:
    yield pid
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            yield from _family(int(child))


def _ticks(pid: int) -> int:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(user) + int(system)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start(settings: Settings, version: Path, folder: Path) -> dict[str, Server]:
    """Start all servers."""
    (wanted,) = desired_state.read(desired_state.state_file(settings.serving_dir, "stable")).models
    ours = {f"PERENNIAL_{name.upper()}": str(value) for name, value in _given(settings).items()}
    own_python = {"VERSION_FOLDER": str(version), "MODEL_FILE": str(version / "model.onnx")}
    python, bare = sys.executable, str(TARGETS / "bare_asgi.py")
    bento = [
        python, "-m", "bentoml", "serve", "bento_tutorial:Tutorial", "--working-dir", str(TARGETS),
        "--port", "PORT", "--host", "127.0.0.1",
    ]  # fmt: skip
    servers = {
        "ours": Server("ours", [python, "-m", "perennial", "serve", "--pool", "stable", "--port", "PORT"],
                       folder, **ours),
        "BentoML": Server("bento", bento, folder, BENTOML_HOME=str(folder / "bentoml"),
                          BENTOML_DO_NOT_TRACK="True", ROUTE=PREDICT, **own_python),
        "FastAPI": Server("fastapi", [python, str(TARGETS / "fastapi_service.py")], folder, **own_python),
        "bare ASGI": Server("bare", [python, bare], folder, **own_python),
    }  # fmt: skip
    if find_spec("granian"):
        granian = [
            python, "-m", "granian", "--interface", "asginl", "--port", "PORT", "--no-ws", "--loop", "uvloop",
            "--working-dir", str(TARGETS), "bare_asgi:app",
        ]  # fmt: skip
        servers["bare ASGI on granian"] = Server("granian", granian, folder, **own_python)
        ours_on = [python, "-m", "granian", *granian[3:-1], "ours_on_granian:app"]
        given = {**ours, "PERENNIAL_POOL": "stable"}
        servers["ours on granian"] = Server("ours_granian", ours_on, folder, **given)
    if settings.online_store is not None:
        on_redis = {**ours, "PERENNIAL_ONLINE_STORE": settings.online_store}
        command = [python, "-m", "perennial", "serve", "--pool", "stable", "--port", "PORT"]
        servers["ours on Redis"] = Server("ours_redis", command, folder, **on_redis)
    for name in ("ours", "BentoML"):
        routed = Routed(f"{name}_envoy", servers[name], folder, settings.internal_secret)
        routed.lead(MODEL, wanted.version, wanted.digest)
        servers[f"{name} through Envoy"] = routed
    return servers


def _given(settings: Settings) -> dict[str, Path]:
    return {"home": settings.home, "trusted_keys": settings.trusted_keys}


def cases(names: list[str], entities: list[str], servers: dict[str, Server]) -> list[Case]:
    """Return what is sent to whom."""
    random = np.random.default_rng(1)

    def matrices(rows: int) -> list[np.ndarray]:
        return [random.integers(0, 500, (rows, len(names))) / 100 for _ in range(BODIES)]

    def described(rows: int, **more: object) -> bytes:
        common = {"name": "features", "shape": [rows, len(names)], "datatype": "FP32"}
        return json.dumps({"inputs": [{**common, **more}]}).encode()

    def tensors(rows: int) -> list[bytes]:
        return [described(rows, data=values.ravel().tolist()) for values in matrices(rows)]

    def binary(rows: int) -> tuple[list[bytes], tuple[str, ...]]:
        head = described(rows, parameters={"binary_data_size": rows * len(names) * 4})
        length = f"inference-header-content-length: {len(head)}"
        return [head + values.astype("<f4").tobytes() for values in matrices(rows)], (length,)

    def lists(rows: int) -> list[bytes]:
        return [json.dumps({"rows": values.tolist()}).encode() for values in matrices(rows)]

    def by_entity(count: int) -> list[bytes]:
        context = {"cycle_size": 50, "requested_at": "2026-12-01T10:00:00Z"}
        chosen = [random.choice(entities, count, replace=False).tolist() for _ in range(BODIES)]
        return [
            json.dumps(
                {"entities": [{"test_id": test, "suite": "ci"} for test in tests], "context": context}
            ).encode()
            for tests in chosen
        ]

    def by_bytes(rows: int) -> Case:
        raw, length = binary(rows)
        return Case("ours by binary tensor", "ours", INFER, raw, length, rows)

    found = [
        Case("ours by tensor", "ours", INFER, tensors(1)),
        by_bytes(1),
        Case("bare ASGI", "bare ASGI", "/", tensors(1)),
        Case("FastAPI + pydantic", "FastAPI", "/predict", lists(1)),
        Case("BentoML, tutorial", "BentoML", PREDICT, lists(1)),
        Case("ours through Envoy", "ours through Envoy", INFER, tensors(1)),
        Case("BentoML through Envoy", "BentoML through Envoy", PREDICT, lists(1)),
        Case("ours by entity", "ours", PREDICT, by_entity(1)),
        Case("ours by tensor", "ours", INFER, tensors(MANY_ROWS), rows=MANY_ROWS),
        by_bytes(MANY_ROWS),
        by_bytes(MOST_ROWS),
        Case("bare ASGI", "bare ASGI", "/", tensors(MANY_ROWS), rows=MANY_ROWS),
        Case("FastAPI + pydantic", "FastAPI", "/predict", lists(MANY_ROWS), rows=MANY_ROWS),
        Case("BentoML, tutorial", "BentoML", PREDICT, lists(MANY_ROWS), rows=MANY_ROWS),
        Case("ours by entity", "ours", PREDICT, by_entity(MANY_ENTITIES), rows=MANY_ENTITIES, connections=1),
    ]
    if "ours on Redis" in servers:
        given = {"rows": MANY_ENTITIES, "connections": 1}
        found.insert(8, Case("ours by entity, Redis", "ours on Redis", PREDICT, by_entity(1)))
        found.append(
            Case("ours by entity, Redis", "ours on Redis", PREDICT, by_entity(MANY_ENTITIES), **given)
        )
    if "bare ASGI on granian" in servers:
        found.insert(3, Case("bare ASGI on granian", "bare ASGI on granian", "/", tensors(1)))
        found.insert(2, Case("ours on granian", "ours on granian", INFER, tensors(1)))
    return found


def measure(case: Case, server: Server, seconds: float, secret: str) -> None:
    """Load the server and add the figures to the case."""
    given = [
        f"{headers.SECRET}: {secret}",
        "x-request-id: 3f0c9a52-6f3b-4a39-9ad5-1f0c5e2b7a11",
        *case.headers,
    ]
    text = "\n".join([json.dumps(given), *(base64.b64encode(body).decode() for body in case.bodies)])
    before = server.cpu_seconds()
    command = [sys.executable, str(TARGETS / "load.py"), str(server.port), case.path, str(seconds)]
    answer = subprocess.run(
        [*command, str(case.connections)], input=text, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        raise SystemExit(f"{case.name}: {answer.stderr}")
    figures = json.loads(answer.stdout)
    case.cpu_seconds += server.cpu_seconds() - before
    case.requests += figures["requests"]
    case.rates.append(figures["requests"] / figures["seconds"])
    case.p50.append(figures["p50_ms"])
    case.p99.append(figures["p99_ms"])


def until_up(case: Case, server: Server, secret: str) -> None:
    """Wait until the server answers the case."""
    end = time.monotonic() + 120
    while True:
        try:
            measure(Case(case.name, case.server, case.path, case.bodies, case.headers), server, 0.5, secret)
            return
        except SystemExit:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def table(measured: list[Case]) -> None:
    """Print the figures and the ratios."""
    print(f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}\n")
    print("| server | rows | connections | CPU µs a request | p50 ms | p99 ms | rows/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for case in measured:
        p50, p99, rate = np.median(case.p50), np.median(case.p99), np.median(case.rates)
        numbers = f"{case.cpu_us:.0f} | {p50:.2f} | {p99:.2f} | {rate * case.rows:,.0f}"
        print(f"| {case.name} | {case.rows} | {case.connections} | {numbers} |")
    by = {(case.name, case.rows): case for case in measured}
    tensor, entity = by["ours by tensor", 1], by["ours by entity", 1]
    many, fast = by["ours by tensor", MANY_ROWS], by["FastAPI + pydantic", MANY_ROWS]
    raw = by["ours by binary tensor", MANY_ROWS]
    ours_routed, bento_routed = by["ours through Envoy", 1], by["BentoML through Envoy", 1]
    bento, fastapi = by["BentoML, tutorial", 1], by["FastAPI + pydantic", 1]
    ratios = {
        "ours / BentoML, CPU (goal 0.10)": tensor.cpu_us / bento.cpu_us,
        "ours / FastAPI, CPU (goal 0.50)": tensor.cpu_us / fastapi.cpu_us,
        "ours / bare ASGI, CPU (goal 1.5)": tensor.cpu_us / by["bare ASGI", 1].cpu_us,
        "ours / FastAPI, p99 (goal 1)": np.median(tensor.p99) / np.median(fastapi.p99),
        f"ours / FastAPI, rows/s at {MANY_ROWS} rows (goal 4)": np.median(many.rates) / np.median(fast.rates),
        f"ours binary / FastAPI, rows/s at {MANY_ROWS} rows": np.median(raw.rates) / np.median(fast.rates),
        "ours / BentoML, requests/s through Envoy (goal 5)": np.median(ours_routed.rates)
        / np.median(bento_routed.rates),
        "by entity / by tensor, CPU (goal 2)": entity.cpu_us / tensor.cpu_us,
    }
    if on_redis := by.get(("ours by entity, Redis", 1)):
        ratios["by entity on Redis / by tensor, CPU (goal 2)"] = on_redis.cpu_us / tensor.cpu_us
    print("\n| ratio | measured |\n|---|---:|")
    for name, value in ratios.items():
        print(f"| {name} | {value:.2f} |")


def log_bytes(settings: Settings) -> int:
    """Return the size of the prediction log."""
    return sum(file.stat().st_size for file in (settings.serving_dir / "log").rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="load of a case in a round")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perennial-serving-") as name:
        folder = Path(name)
        settings = Settings(
            home=folder / "state", trusted_keys=HERE.parent / "tests" / "support" / "trusted_keys"
        )
        spec = catalog.spec(MODEL, settings)
        version, entities = furnish(spec, settings)
        redis = RedisServer(folder) if PROGRAM else None
        if redis is not None:
            settings = settings.model_copy(update={"online_store": redis.url})
            publish(spec, settings)
        servers = start(settings, version, folder)
        try:
            measured = cases(list(spec.features.names), entities, servers)
            for case in measured:
                until_up(case, servers[case.server], settings.internal_secret)
            before = log_bytes(settings)
            for _ in range(asked.rounds):
                for case in measured:
                    measure(case, servers[case.server], asked.seconds, settings.internal_secret)
        finally:
            for server in servers.values():
                server.stop()
            if redis is not None:
                redis.stop()
        table(measured)
        rows = sum(case.requests * case.rows for case in measured if case.server.startswith("ours"))
        size = (log_bytes(settings) - before) / rows
        done = PredictionArchive(settings.serving_dir / "log").tidy(
            MODEL, datetime.now(UTC) + timedelta(days=2), None
        )
        after = size * done.after_bytes / done.before_bytes
        print(f"\nprediction log: {size:.0f} MB a million rows of these cases, sealed {after:.0f} MB")


if __name__ == "__main__":
    main()
