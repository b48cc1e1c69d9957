"""Time from `perennial release rollback` to the moved traffic, and failed requests of clients.

Run: python benchmarks/rollback.py [--times 10] [--threads 4]        (about a minute)

A real Envoy, real BentoML servers and a real Feast online store with features of the simulator; the command
is a separate process, so its start and its imports count. MLflow and Airflow are down. Clients
send requests by entity without a pause; the times are those of their answers, at Envoy. The CPU time is
that of the command until the traffic moved: the time on an idle machine.

Prints per rollback the seconds from the start of the command to the first answer of the restored version,
to the last answer of the replaced version, and to the end of the command; then the failed requests.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from serving_stack import ServingStack, target, until
from signing import TRUSTED, signed

from perennial import catalog
from perennial.core.governance.identity import Role
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus, release_id
from perennial.core.release.traffic import Route
from perennial.core.version import VersionRef
from perennial.flows.governance.identity import issue
from perennial.flows.release.seal import write_seal
from perennial.history.prepare import prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.serving.manifest import load_verified
from perennial.wiring import database, releasing, training

SPEC = catalog.spec("test_failure_predictor")
MODEL = SPEC.name
CPU = re.compile(r"([\d.]+) s of CPU")
NOBODY = "http://127.0.0.1:9"  # where no MLflow listens


class Clients:
    """Threads that send requests by entity without a pause, with the time of each answer."""

    def __init__(self, port: int, body: bytes, threads: int) -> None:
        self.answers: list[tuple[float, int, str]] = []
        self._port, self._body = port, body
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stop.wait(0.002):
            try:
                connection.request(
                    "POST", f"/v1/models/{MODEL}/predict", self._body, {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                reply = json.loads(answer.read())
                self.answers.append((time.perf_counter(), answer.status, str(reply.get("version"))))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.answers.append((time.perf_counter(), 0, repr(error)))
                connection.close()


def onnx_version(folder: Path, version: str, bias: float) -> VersionRef:
    """Write the files of a model: sigmoid(sum of known feature values / 1000 + bias)."""
    from onnx import TensorProto, helper

    width = len(SPEC.features.names)
    nodes = [
        helper.make_node("IsNaN", ["features"], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", "features"], ["known"]),
        helper.make_node("ReduceSum", ["known", "axes"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["raw"]),
        helper.make_node("Sigmoid", ["raw"], ["score"]),
    ]
    constants = [
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        *(
            helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
            for name, value in (("zero", 0.0), ("scale", 1000.0), ("bias", bias))
        ),
    ]
    graph = helper.make_graph(
        nodes, "sum", [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])], constants,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    files, capsule = folder / version, f"of-{version}"
    files.mkdir(parents=True)
    (files / "model.onnx").write_bytes(made.SerializeToString())
    manifest = {
        "format": 1, "model": MODEL, "capsule": capsule, "input": "features",
        "output": "score", "feature_service": SPEC.features.service, "entities": SPEC.features.entities,
        "request": dict(SPEC.features.request), "features": SPEC.features.names, "threshold": 0.5,
    }  # fmt: skip
    (files / "manifest.json").write_text(json.dumps(manifest))
    digest = signed(files, MODEL, capsule)
    files.rename(folder / digest)
    return VersionRef(model=MODEL, version=version, key=version[2], digest=digest, capsule=capsule)


def champions_in_traffic(stack: ServingStack) -> tuple[Route, bytes]:
    """Release two champions in sequence, both loaded and sealed; return the live route and a request."""
    settings = stack.settings
    made = prepare(simulate(SimulationScenario(cycles=40, tests=30)))
    training.features(settings).publish(made.views)
    stack.start()
    refs, store = [], database.store(settings)
    for number, version in enumerate(("1.0.0", "1.1.0")):
        ref = onnx_version(settings.state / "releases" / "files", version, float(number))
        files = settings.state / "releases" / "files" / ref.digest
        verified = load_verified(files, MODEL, ref.digest, TRUSTED)
        write_seal(ref, verified.manifest, files, releasing.release_ports(settings).published)
        stack.pool.ensure("stable", ref, files)
        stack.pool.ensure("canary", ref, files)
        refs.append((ref, released(ref, refs, store)))
    for ref, _ in refs:
        until(lambda ref=ref: stack.pool.readiness("stable", MODEL, ref.digest).complete, 180, str(ref))
    (first, id_1), (second, id_2) = refs
    live = Route(model=MODEL, stable=target(second, id_2), backup=target(first, id_1))
    entity = {
        "test_id": str(made.examples["test_id"].iloc[-1]),
        "suite": str(made.examples["suite"].iloc[-1]),
    }
    context = {"cycle_size": 30, "requested_at": "2025-06-01T10:00:00Z"}
    return live, json.dumps({"entities": [entity], "context": context}).encode()


def released(ref: VersionRef, before: list, store) -> str:
    """Store a succeeded release of the version in the database and return its id."""
    name = release_id(ref.digest, SPEC.gate, SPEC.approval, SPEC.release)
    now = datetime.now(UTC)
    store.releases.save(
        ReleaseStatus(
            release_id=name, candidate=ref, champion=before[-1][0] if before else None,
            champion_release_id=before[-1][1] if before else None, policy=SPEC.release,
            approval_policy=SPEC.approval, policy_digest="p", spec_digest="p",
            started_at=now, phase=Phase.SUCCEEDED, entered_at=now,
        ),
        None,
        [],
    )  # fmt: skip
    return name


def token(stack: ServingStack) -> str:
    """Return a token of an approver, who may roll back."""
    _, text = issue(
        "approver", Role.APPROVER, timedelta(hours=1), "bench", stack.settings.accounts,
        database.tokens(stack.settings), database.store(stack.settings).ledger, datetime.now(UTC),
        secrets.token_hex,
    )  # fmt: skip
    return text


def once(
    stack: ServingStack, live: Route, clients: Clients, signed_in: str
) -> tuple[float, float, float, float]:
    """Return the seconds to the first answer of the restored version, to the last answer of the replaced
    version and to the end, and the CPU seconds until the traffic moved."""
    stack.router.apply(live)
    time.sleep(1.0)
    settings = stack.settings.model_copy(update={"tracking_url": NOBODY, "token": signed_in})
    ours = {
        f"PERENNIAL_{k.upper()}": str(v) for k, v in settings.model_dump(exclude_none=True).items()
    }  # fmt: skip
    started, seen = time.perf_counter(), len(clients.answers)
    done = subprocess.run(
        [sys.executable, "-m", "perennial", "release", "rollback", MODEL, "--note", "benchmark"],
        env={**os.environ, **ours}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    ended = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"the rollback exited {done.returncode}: {done.stderr}")
    time.sleep(0.5)
    mine = [(at - started, version) for at, status, version in clients.answers[seen:] if status == 200]
    back, left = live.backup.version, live.stable.version
    first, last = min(at for at, v in mine if v == back), max(at for at, v in mine if v == left)
    return first, last, ended, float(CPU.search(done.stdout)[1])


def figures_line(figures: tuple[float, float, float, float]) -> str:
    first, last, ended, cpu = figures
    return (
        f"first answer back {first:.2f} s, last of the other {last:.2f} s, command ended {ended:.2f} s, "
        f"CPU to the move {cpu:.2f} s (load {os.getloadavg()[0]:.1f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--threads", type=int, default=4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stack = ServingStack(Path(folder))
        try:
            live, body = champions_in_traffic(stack)
            stack.router.apply(live)
            signed_in = token(stack)
            figures = []
            with Clients(stack.settings.port_envoy, body, asked.threads) as clients:
                time.sleep(2.0)
                for number in range(asked.times):
                    measured = once(stack, live, clients, signed_in)
                    figures.append(measured)
                    print(f"{number + 1:3}  {figures_line(measured)}", flush=True)
        finally:
            stack.stop()
    failed = [answer for answer in clients.answers if answer[1] != 200]
    back = [row[0] for row in figures]
    print(f"traffic back: median {statistics.median(back):.2f} s, longest {max(back):.2f} s of {len(back)}")
    print(f"requests {len(clients.answers)}, failed {len(failed)} {failed[:3]}")


if __name__ == "__main__":
    main()
