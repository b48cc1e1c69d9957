"""A model server in process, over a folder of its own, with feature values of two known tests."""

from __future__ import annotations

from datetime import UTC, datetime

from signing import TRUSTED
from some_source import KEY, sources_file
from starlette.testclient import TestClient

from perennial.core.serving_spec import Load
from perennial.errors import FeaturesUnavailable
from perennial.serving import desired_state, headers
from perennial.serving.app import ModelServer
from perennial.serving.feedback_inbox import FeedbackWriter
from perennial.serving.host import ModelHost
from perennial.serving.online.columns import FeatureColumns
from perennial.serving.prediction_log import PredictionLogWriter
from perennial.serving.prediction_log_reader import PredictionLogReader

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CONTEXT = {"cycle_size": 50, "requested_at": "2015-12-01T10:00:00Z"}


class Values:
    """Feature values of two known tests; `down` makes the store fail."""

    def __init__(self) -> None:
        self.known: dict[str, float | None] = {"t1": 0.25, "t2": -2.0}
        self.down = False
        self.asked: list[dict] = []

    def columns(self, service, given):
        if self.down:
            raise FeaturesUnavailable("the store is away", hint="wait")
        self.asked += [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
        values = [self.known.get(test) for test in given["test_id"]]
        unknown = {number for number, value in enumerate(values) if value is None}
        return FeatureColumns({f"f{i}": values for i in range(4)}, unknown)

    async def fetch(self, service, given):
        return self.columns(service, given)


class Server:
    """A server over a folder of its own."""

    def __init__(self, folder, budget: int = 1 << 30, traced: bool = False) -> None:
        self.folder = folder
        self.values = Values()
        self.host = ModelHost(
            folder, "stable", lambda version: None, TRUSTED, lambda model: "", budget=budget
        )
        self.writer = PredictionLogWriter(folder / "log", "stable", "one")
        feedback = FeedbackWriter(folder / "feedback", "one")
        sources = sources_file(folder / "sources.json")
        server = ModelServer(
            self.host, lambda: self.values, self.writer, feedback, sources, clock=lambda: NOW, traced=traced
        )
        self.inference, self.calls = server.inference, server.calls
        self.application = server.application()
        self.client = TestClient(self.application, headers={headers.FEEDBACK_KEY: KEY})

    def hold(self, *versions, load: Load = Load.PINNED) -> None:
        state = desired_state.read(desired_state.state_file(self.folder, "stable"))
        for ref, files in versions:
            store = desired_state.version_folder(self.folder, ref.digest)
            store.mkdir(parents=True, exist_ok=True)
            for file in files.iterdir():
                (store / file.name).write_bytes(file.read_bytes())
            wanted = desired_state.DesiredVersion.of(ref).model_copy(update={"load": load})
            state = state.with_version(wanted)
        desired_state.write(desired_state.state_file(self.folder, "stable"), state)
        self.host.converge()

    def log(self, model: str = "tiny"):
        return PredictionLogReader(self.folder / "log").read(model)

    def predict(self, **changes):
        body = {"entities": [{"test_id": "t1", "suite": "s"}], "context": CONTEXT, **changes}
        return self.client.post("/v1/models/tiny/predict", json=body)
