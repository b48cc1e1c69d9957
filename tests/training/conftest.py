"""A model made by `perennial init` from a file, and every port of its training."""

from __future__ import annotations

import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml
from doubles.attribution import one_path
from doubles.data import MemoryData
from doubles.pictures import NoPictures
from doubles.registry import MemoryRegistry
from doubles.tracking import MemoryTracker
from one_server import Server
from signing import KEY
from training_world import PROVENANCE, NoEvents

from perennial import catalog
from perennial.adapters.gx_validator import GxValidator
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.adapters.optuna.tuner import OptunaTuner
from perennial.adapters.torch_elastic.group import together
from perennial.cli import main
from perennial.core.assets import Reason
from perennial.flows.evaluation.evaluate import EvaluatePorts, evaluate
from perennial.flows.training.prepare import prepare
from perennial.flows.training.register import register
from perennial.flows.training.train import TrainPorts, train
from perennial.flows.training.validate import validate
from perennial.flows.training.workdir import Workdir
from perennial.settings import Settings
from perennial.wiring import training

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"trials": 2, "epochs": 20}


class TableWorld:
    """A project folder of its own with a model `name` over `table`."""

    def __init__(self, folder: Path, name: str, table: pd.DataFrame, monkeypatch) -> None:
        self.folder, self.name = folder, name
        self.settings = Settings(project=folder / "project", home=folder / "state")
        shutil.copytree(ROOT / "configs", self.settings.configs)
        self.path = self.settings.project / f"{name}.csv"
        table.to_csv(self.path, index=False)
        monkeypatch.setenv("PERENNIAL_PROJECT", str(self.settings.project))
        # The models of another world are other modules of the same name.
        monkeypatch.setattr(sys, "path", [path for path in sys.path if not path.endswith("/project")])
        for module in [module for module in sys.modules if module.partition(".")[0] == "models"]:
            monkeypatch.delitem(sys.modules, module)
        self.work = Workdir(folder / "work")
        self.data = MemoryData()
        self.tracker = MemoryTracker()
        self.registry = MemoryRegistry(self.tracker)
        self.figures = NoPictures()
        self.lines: list[str] = []
        self.features = None
        self.budget = SMALL

    def init(self, target: str, *options: str) -> int:
        return main(["init", self.name, "--from", str(self.path), "--target", target, "--yes", *options])

    @property
    def spec_path(self) -> Path:
        return self.settings.configs / "models" / f"{self.name}.yaml"

    @property
    def spec(self):
        spec = catalog.spec(self.name, self.settings)
        evaluation = spec.evaluation.model_copy(update={"bootstrap": 20})
        return spec.model_copy(
            update={"tuning": spec.tuning.model_copy(update=self.budget), "evaluation": evaluation}
        )

    def change(self, edit) -> None:
        content = yaml.safe_load(self.spec_path.read_text())
        edit(content)
        self.spec_path.write_text(yaml.safe_dump(content, sort_keys=False))

    def prepare(self):
        spec = self.spec
        source = training.source(spec, self.settings)
        rows, make = source.read(), training.preparation(spec)
        prepare(spec, rows, source.terms(), make, self.data, self.work, of_source=source.revision())

    def validate(self):
        return validate(
            self.spec,
            self.work,
            GxValidator(),
            self.settings.configs / "expectations",
            self.folder / "quarantine",
            datetime(2030, 1, 1, tzinfo=UTC),
            publish=None,
            say=self.lines.append,
        )

    def train(self):
        spec = self.spec
        scorer, tuner = OnnxScorer(), OptunaTuner(None, self.folder / "optuna")
        ports = TrainPorts(
            self.features, self.tracker, tuner, self.registry, scorer, NoEvents(), KEY, together
        )
        suggest = training.model_class(spec).suggest
        return train(
            spec, self.work, ports, training.build(spec), suggest, PROVENANCE, Reason.PERSON, "a test",
            self.lines.append, training.first_trials(spec),
        )  # fmt: skip

    def evaluate(self):
        ports = EvaluatePorts(
            self.features,
            self.tracker,
            self.registry,
            OnnxScorer(),
            self.figures,
            lambda task: {},
            one_path,
        )
        return evaluate(self.spec, self.work, ports, self.lines.append)

    def whole_way(self):
        """Return the evaluation and the registered version."""
        self.prepare()
        self.validate()
        self.train()
        evaluation = self.evaluate()
        return evaluation, register(self.spec, self.work, self.registry, "ann")

    def server(self, ref) -> Server:
        server = Server(self.folder / "serving")
        server.hold((ref, self.work.model))
        return server

    def ask(self, server: Server, *rows: dict, **more):
        return server.client.post(f"/v1/models/{self.name}/predict", json={"rows": list(rows), **more})


@pytest.fixture
def table_world(tmp_path, monkeypatch):
    """Make a project folder with a file: (name of the model, table) -> TableWorld."""
    return lambda name, table: TableWorld(tmp_path, name, table, monkeypatch)
