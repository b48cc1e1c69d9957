"""Cost of explanations, and their effect on the latency of plain requests of the same server.

Run: python benchmarks/explain.py [--seconds 8]   (about two minutes)

A server process holds a network of the trained shape (17 features, 8 members) and gets plain requests, 100 a second.
Then a second caller requests explanations without a pause: of a single row, then of as many rows as the spec allows.
The phases alternate with plain traffic alone, so that other load of the machine affects both. Feature values come
from memory: the time of Feast is the same for all and left out.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from signing import TRUSTED, signed

from perennial import catalog
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.explanation import Background, ServedExplanation
from perennial.serving.signed_files import read_listed
from perennial.settings import Settings

MODEL = "test_failure_predictor"
SHAPE = {"width": 64, "layers": 2, "members": 8, "bins": 16, "dropout": 0.2, "learning_rate": 2e-3,
         "weight_decay": 0.01, "rank_weight": 1.0, "batch": 512}  # fmt: skip
EVERY_SECONDS = 0.01


def make_version(spec: ModelSpec, folder: Path) -> None:
    """Write a network trained for an epoch on random rows: meaningless answers at the real cost."""
    from perennial.core.tasks import Ranking
    from perennial.core.training.examples import Examples
    from perennial.models.test_failure_predictor import TestFailurePredictor

    random, names, how = np.random.default_rng(0), spec.features.names, spec.explanation
    rows = random.integers(0, 7, size=(4000, len(names))).astype(np.float32)
    rows[random.random(rows.shape) < 0.02] = np.nan
    target = (random.random(len(rows)) < 0.3).astype(np.float32)
    model = TestFailurePredictor(names, SHAPE, 0, Ranking(threshold=0.5))
    model.fit(Examples(rows, target, np.arange(len(rows)) // 50), None, 1, lambda *_: None)
    model.export(folder / "model.onnx")
    background = Background.drawn(names, rows, how.background, 0).model_dump_json()
    (folder / "background.json").write_text(background)
    manifest = ModelManifest(
        model=MODEL, capsule="benchmark", feature_service="benchmark",
        entities=spec.features.entities, request={}, features=names, columns=spec.features.columns,
        target="failed", task=model.task, output=model.task.output,
        architecture=model.architecture, framework="pytorch", parameters=model.parameter_count(), bytes=1,
        explanation=ServedExplanation(
            background_digest=_sha256(folder / "background.json"), coalitions=how.coalitions,
            max_rows=how.max_rows, tolerance=how.tolerance, seed=0,
        ),
    )  # fmt: skip
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    signed(folder, MODEL, "benchmark")


def serve(folder: Path, port: int) -> None:
    """Run the application of a model server with a single version, without Feast."""
    import uvicorn

    from perennial.serving import desired_state as desired
    from perennial.serving.app import ModelServer
    from perennial.serving.feedback_inbox import FeedbackWriter
    from perennial.serving.host import ModelHost
    from perennial.serving.online.columns import FeatureColumns
    from perennial.serving.prediction_log import PredictionLogWriter

    class Values:
        async def fetch(self, service, given):
            names = host.by_digest(MODEL, digest, None).manifest.features
            count = len(given["test_id"])
            return FeatureColumns({name: [float(n % 7)] * count for n, name in enumerate(names)}, set())

    digest = read_listed(folder / "version", MODEL)[0]
    store = desired.version_folder(folder / "serving", digest)
    store.parent.mkdir(parents=True)
    store.symlink_to(folder / "version")
    wanted = desired.DesiredVersion(model=MODEL, version="1.0.0", key="1", digest=digest, capsule="benchmark")
    desired.write(desired.state_file(folder / "serving", "stable"), desired.DesiredState(models=(wanted,)))
    host = ModelHost(folder / "serving", "stable", lambda _: None, TRUSTED, lambda model: "")
    host.converge()
    from perennial.serving.evidence.sources import FeedbackSources

    log, inbox = (
        PredictionLogWriter(folder / "log", "stable", "one"),
        FeedbackWriter(folder / "feedback", "one"),
    )
    server = ModelServer(host, Values, log, inbox, FeedbackSources(folder / "sources.json"))
    uvicorn.run(server.application(), host="127.0.0.1", port=port, log_level="error", access_log=False)


def cpu(spec: ModelSpec, folder: Path) -> None:
    """Print the processor time of an explanation, best of five; other load hardly changes it."""
    from perennial.serving.attribution import shapley
    from perennial.serving.desired_state import DesiredVersion
    from perennial.serving.session import load

    digest = read_listed(folder / "version", MODEL)[0]
    wanted = DesiredVersion(model=MODEL, version="1.0.0", key="1", digest=digest, capsule="benchmark")
    version, how = load(wanted, folder / "version", TRUSTED, lambda model: ""), spec.explanation
    assert version.background is not None

    def score(rows: np.ndarray) -> np.ndarray:
        return version.manifest.task.explained_numbers(version.score(rows))

    rows = np.random.default_rng(1).integers(0, 7, size=(how.max_rows, len(spec.features.names)))
    for count in (1, how.max_rows):
        features, took = rows[:count].astype(np.float32), []
        for _ in range(6):
            began = time.process_time()
            explained = shapley(score, version.background, features, how.coalitions, 0)
            took.append((time.process_time() - began) * 1000)
        gap = explained.gap(score(features))
        print(f"processor time, {count} rows: {min(took[1:]):.0f} ms (first {took[0]:.0f} ms), gap {gap:.1g}")


def ask(port: int, rows: int, explain: bool) -> tuple[float, int, dict]:
    """Send a request on a new connection; return seconds, status and body."""
    entities = [{"test_id": str(number), "suite": "ci"} for number in range(rows)]
    body = json.dumps({"entities": entities, "explain": explain})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("POST", f"/v1/models/{MODEL}/predict", body, {"content-type": "application/json"})
    answer = connection.getresponse()
    reply = json.loads(answer.read())
    connection.close()
    return time.perf_counter() - started, answer.status, reply


def plain(port: int, seconds: float) -> np.ndarray:
    """Return the latencies (ms) of plain requests with a single row."""
    latencies, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        took, status, reply = ask(port, 1, explain=False)
        if status != 200:
            raise SystemExit(f"a plain request was answered {status}: {reply}")
        latencies.append(took * 1000)
        time.sleep(max(0.0, EVERY_SECONDS - took))
    return np.array(latencies)


def beside(port: int, seconds: float, rows: int) -> tuple[np.ndarray, list[float], int]:
    """Return plain latencies while another caller requests explanations, its waits, and its refusals."""
    stop, took, late = threading.Event(), [], []

    def explain() -> None:
        while not stop.is_set():
            waited, status, _ = ask(port, rows, explain=True)
            (took if status == 200 else late).append(waited * 1000)

    caller = threading.Thread(target=explain)
    caller.start()
    latencies = plain(port, seconds)
    stop.set()
    caller.join()
    return latencies, took, len(late)


def report(name: str, alone: np.ndarray, loaded: np.ndarray, took: list[float], late: int) -> None:
    before, after = (np.percentile(ms, [50, 95, 99]) for ms in (alone, loaded))
    line = ", ".join(
        f"p{q} {a:.1f} -> {b:.1f} ms" for q, a, b in zip((50, 95, 99), before, after, strict=True)
    )
    waited = f"median {np.median(took):.0f} ms, p95 {np.percentile(took, 95):.0f} ms" if took else "none"
    print(
        f"{name}: explained {len(took)} ({waited}), too late {late}; plain {line}, p95 x{after[1] / before[1]:.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="duration of each phase")
    parser.add_argument("--serve", nargs=2, metavar=("FOLDER", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(Path(given.serve[0]), int(given.serve[1]))
        return
    spec = catalog.spec(MODEL, Settings(spec_overlay=None))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "version").mkdir()
        make_version(spec, Path(name) / "version")
        cpu(spec, Path(name))
        port = _free_port()
        server = subprocess.Popen([sys.executable, __file__, "--serve", name, str(port)])
        try:
            _until_up(port)
            plain(port, 2)
            _until_explained(port)
            for rows in (1, spec.explanation.max_rows):
                before = plain(port, given.seconds)
                loaded, took, late = beside(port, given.seconds, rows)
                after = plain(port, given.seconds)
                report(f"{rows} rows", np.concatenate([before, after]), loaded, took, late)
        finally:
            server.terminate()
            server.wait()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _until_up(port: int) -> None:
    for _ in range(300):
        try:
            if ask(port, 1, explain=False)[1] == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server does not answer")


def _until_explained(port: int) -> None:
    for _ in range(60):
        if ask(port, 1, explain=True)[1] == 200:
            return
    raise SystemExit("nothing is explained: does `import shap` work?")


if __name__ == "__main__":
    main()
