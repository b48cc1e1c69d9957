"""Every port of a training on a simulated history, for tests of the flows."""

from __future__ import annotations

from datetime import UTC, datetime

from doubles.attribution import one_path
from doubles.data import MemoryData, MemoryValidator
from doubles.features import MemoryFeatures
from doubles.pictures import NoPictures
from doubles.registry import MemoryRegistry
from doubles.tracking import MemoryTracker
from rate_model import RateModel
from signing import KEY

from perennial import catalog
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.adapters.torch_elastic.group import together
from perennial.core.assets import Reason
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Provenance
from perennial.flows.evaluation.evaluate import EvaluatePorts, evaluate
from perennial.flows.training.prepare import prepare
from perennial.flows.training.register import register
from perennial.flows.training.train import TrainPorts, train
from perennial.flows.training.validate import validate
from perennial.flows.training.workdir import Workdir
from perennial.history.prepare import SUITE_VIEW, TEST_VIEW
from perennial.history.prepare import prepare as make
from perennial.history.simulator import SimulationScenario, simulate
from perennial.settings import load

FULL = catalog.spec("test_failure_predictor")
COLUMNS = tuple(f"{TEST_VIEW}:{name}" for name in ("failure_rate", "run_count", "last_execution_status"))
SPEC = FULL.model_copy(
    update={
        "features": FULL.features.model_copy(update={"columns": COLUMNS, "entities": ("test_id",)}),
        "tuning": FULL.tuning.model_copy(update={"trials": 4, "epochs": 2}),
        "evaluation": FULL.evaluation.model_copy(update={"bootstrap": 20}),
    }
)
PROVENANCE = Provenance(code="a" * 40, features="f" * 64, constraints="c" * 64, model_code="m" * 64)
HISTORY = simulate(SimulationScenario(cycles=60, tests=40))


class TrainingWorld:
    """Every port of a training, with the tools that need no server as the real ones."""

    def __init__(self, folder, spec: ModelSpec = SPEC) -> None:
        self.spec = spec
        self.work = Workdir(folder / "work")
        self.folder = folder
        self.features = MemoryFeatures({TEST_VIEW: ["test_id"], SUITE_VIEW: ["suite"]})
        self.data = MemoryData()
        self.tracker = MemoryTracker()
        self.registry = MemoryRegistry(self.tracker)
        self.scorer = OnnxScorer()
        self.figures = NoPictures()
        self.tuner = OptunaTuner(None, folder / "optuna")
        self.lines: list[str] = []

    def prepare(self, history=HISTORY, until=None, make=make):
        prepare(self.spec, history, "simulator", make, self.data, self.work, until)
        validate(
            self.spec,
            self.work,
            MemoryValidator(),
            load().configs / "expectations",
            self.folder / "quarantine",
            datetime(2030, 1, 1, tzinfo=UTC),
            publish=None,
            say=lambda line: None,
        )

    def train(self, build=RateModel, scorer=None):
        self.work.data_docs.mkdir(exist_ok=True)
        ports = TrainPorts(
            self.features,
            self.tracker,
            self.tuner,
            self.registry,
            scorer or self.scorer,
            NoEvents(),
            KEY,
            together,
        )
        return train(
            self.spec,
            self.work,
            ports,
            build,
            getattr(build, "suggest", RateModel.suggest),
            PROVENANCE,
            Reason.PERSON,
            "a test",
            self.lines.append,
        )

    def evaluate(self, references=lambda task: {}):
        ports = EvaluatePorts(
            self.features,
            self.tracker,
            self.registry,
            self.scorer,
            self.figures,
            references,
            one_path,
        )
        return evaluate(self.spec, self.work, ports, self.lines.append)

    def release(self):
        """The whole way, and the version becomes champion."""
        self.prepare()
        self.train()
        self.evaluate()
        ref = register(self.spec, self.work, self.registry, "ann")
        self.registry.alias(self.spec.name, "champion", ref.key)
        return ref


class NoEvents:
    """Figures without TensorBoard, whose writer would load torch."""

    def events(self, folder, points):
        folder.mkdir(parents=True)
