"""A project with the model `tiny`, whose only version is the champion, for batches by the command line."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import yaml
from signing import FOLDER, TRUSTED
from tiny_models import tiny_version

from perennial import model_probe
from perennial.cli import main
from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Binary, Task
from perennial.core.training.registration import VersionRecord
from perennial.core.version import VersionRef
from perennial.serving.signed_files import read_signed, write_contents
from perennial.settings import Settings
from perennial.wiring import versions

ROOT = Path(__file__).resolve().parents[3]
INPUTS = {
    "size": InputSpec(type="float", missing="refuse"),
    "count": InputSpec(type="int", missing="refuse"),
    "open": InputSpec(type="bool", missing="refuse"),
    "colour": InputSpec(type="category", missing="refuse", categories=("red", "green"), unknown="refuse"),
    "since": InputSpec(type="timestamp", missing="refuse"),
}
TASK = Binary(positive="Y", negative="N", threshold=0.5)


class OneVersion:
    """A Registry with one version of the model."""

    def __init__(self, ref: VersionRef, files: Path) -> None:
        self.ref = ref
        self.files = files

    def find(self, model: str, which: str) -> VersionRecord | None:
        if which not in ("champion", self.ref.version):
            return None
        return VersionRecord(ref=self.ref, run_id="r", created=datetime(2030, 1, 1, tzinfo=UTC))

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        write_contents(into, read_signed(self.files, ref.model, ref.digest, TRUSTED))
        return into


class BatchWorld:
    """A project folder. `source` changes keys of `data.source` of its spec."""

    def __init__(
        self, folder: Path, inputs=INPUTS, task: Task = TASK, service=None, columns=(), **source
    ) -> None:
        self.folder = folder
        self.settings = Settings(project=folder / "project", home=folder / "state")
        spec = yaml.safe_load((ROOT / "configs" / "models" / "defect_predictor.yaml").read_text())
        spec["name"] = "tiny"
        spec["data"]["source"] = {
            "kind": "table", "name": "tiny", "path": "tiny.csv", "missing": ["", "NA"], "key": "id", "time": None,
            "group": None, "split": "random", "seed": 7, "leakage_accepted": [], **source,
        }  # fmt: skip
        spec["data"]["expectations"] = {"table": "tiny.yaml"}
        path = self.settings.configs / "models" / "tiny.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(spec))
        self.version = tiny_version(
            folder, "tiny", "1.2.0", 0.0, service, task=task, inputs=inputs, columns=columns
        )

    def enter(self) -> None:
        """Let the command line see this project and its registry, in this process."""
        os.environ |= {
            "PERENNIAL_PROJECT": str(self.settings.project),
            "PERENNIAL_HOME": str(self.settings.home),
            "PERENNIAL_TRUSTED_KEYS": str(FOLDER),
            "PERENNIAL_ACTOR": "ann",
        }
        versions.registry = lambda settings, role=None: OneVersion(*self.version)
        # The trial of a file in a child takes seconds; tests/security has it.
        model_probe.model_problem = lambda model: ""

    def batch(self, *line: object) -> int:
        return main(["batch", "tiny", *map(str, line)])
