"""The Tracker port over MLflow."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.adapters.mlflow.connection import connect, reaching

# After the connection's settings, which MLflow reads when it is imported.
import mlflow  # isort: skip
from mlflow import MlflowClient  # isort: skip
from mlflow.data.dataset_source import DatasetSource  # isort: skip
from mlflow.entities import Metric, Param, RunTag  # isort: skip
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # isort: skip

from perennial.adapters.mlflow.flavours import log_native, pinned
from perennial.core.training.data import DataRevision
from perennial.serving.manifest import MANIFEST_FILE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

SERVED = "served"
"""Artifact folder of a run with the files of the model server."""


class MlflowTracker:
    """Tracker with an experiment per model; artifacts go straight to their place, not through the server.

    Args:
        artifacts: place of the artifacts of new experiments where no server chooses it: a folder, or an s3 address.
    """

    def __init__(self, url: str, artifacts: str | Path) -> None:
        self._url = url
        self._artifacts = str(artifacts)

    def run(self, model: str, name: str, tags: Mapping[str, str], parent: str | None = None) -> MlflowRun:
        client = connect(self._url)
        own = {"mlflow.runName": name, "mlflow.source.name": "perennial", **tags}
        if parent is not None:
            own["mlflow.parentRunId"] = parent
        with reaching(self._url):
            created = client.create_run(self._experiment(client, model), tags=own)
        return MlflowRun(client, self._url, created.info.run_id, created.info.experiment_id)

    def reopen(self, run_id: str) -> MlflowRun:
        client = connect(self._url)
        with reaching(self._url):
            run = client.get_run(run_id)
        return MlflowRun(client, self._url, run_id, run.info.experiment_id)

    def files(self, run_id: str, folder: str, into: Path) -> list[Path]:
        client = connect(self._url)
        into.mkdir(parents=True, exist_ok=True)
        with reaching(self._url):
            # Not by the client, which asks the server three times for each file where the run keeps its files.
            kept = get_artifact_repository(client.get_run(run_id).info.artifact_uri, tracking_uri=self._url)
            artifacts = kept.list_artifacts(folder or None)
            paths = sorted(artifact.path for artifact in artifacts if not artifact.is_dir)
            local = [Path(kept.download_artifacts(path, str(into))) for path in paths]
        return [path.replace(into / path.name) for path in local]

    def _experiment(self, client: MlflowClient, model: str) -> str:
        experiment = client.get_experiment_by_name(model)
        if experiment is not None:
            return experiment.experiment_id
        if self._url.startswith("http"):  # a server chooses the place itself, and refuses a client's
            return client.create_experiment(model)
        if "://" in self._artifacts:
            location = f"{self._artifacts}/{model}"
        else:
            folder = Path(self._artifacts).resolve() / model
            folder.mkdir(parents=True, exist_ok=True)
            location = folder.as_uri()
        return client.create_experiment(model, artifact_location=location)


class MlflowRun:
    """A run; `with` ends it, as failed when an exception leaves the block."""

    def __init__(self, client: MlflowClient, url: str, run_id: str, experiment: str) -> None:
        self.run_id = run_id
        self._client = client
        self._url = url
        self._experiment = experiment

    def __enter__(self) -> MlflowRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with reaching(self._url):
            self._client.set_terminated(self.run_id, "FINISHED" if kind is None else "FAILED")

    def log(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        step: int | None = None,
        tags: Mapping[str, str] | None = None,
        curve: Sequence[Mapping[str, float]] = (),
    ) -> None:
        now = mlflow.utils.time.get_current_time_millis()
        values = [Metric(name, float(value), now, step or 0) for name, value in (metrics or {}).items()]
        for number, point in enumerate(curve):
            values += [Metric(name, float(value), now, number) for name, value in point.items()]
        with reaching(self._url):
            self._client.log_batch(
                self.run_id,
                metrics=values,
                params=[Param(name, str(value)) for name, value in (params or {}).items()],
                tags=[RunTag(name, str(value)) for name, value in (tags or {}).items()],
            )

    def artifact(self, path: Path, folder: str = "") -> None:
        with reaching(self._url):
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder or None)
            else:
                self._client.log_artifact(self.run_id, str(path), folder or None)

    def dataset(self, revision: DataRevision, rows: pd.DataFrame, context: str) -> None:
        data = mlflow.data.from_pandas(rows, source=DvcSource(revision), name=revision.revision[:12])
        with self._active(), warnings.catch_warnings():
            # MLflow warns that integer columns cannot hold missing values; the served input is float32.
            warnings.filterwarnings("ignore", message="Hint: Inferred schema contains integer")
            mlflow.log_input(data, context=context)

    def model(self, folder: Path, native: Any, example: np.ndarray, output: np.ndarray) -> str:
        import onnx
        from mlflow.models import infer_signature

        self.artifact(folder, SERVED)
        given = {"input_example": example, "signature": infer_signature(example, output)}
        with self._active():
            if native is not None:
                manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
                log_native(manifest["framework"], native, given)
            logged = mlflow.onnx.log_model(
                onnx.load(str(folder / "model.onnx")),
                name="onnx",
                pip_requirements=pinned("onnx", "onnxruntime", "numpy"),
                **given,
            )
        return logged.model_uri

    @contextmanager
    def _active(self) -> Iterator[None]:
        """Make this run the active run of the thread, which MLflow's flavours need; restore the state afterwards."""
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(self._url)
        status = self._client.get_run(self.run_id).info.status
        try:
            with reaching(self._url):
                mlflow.start_run(run_id=self.run_id, nested=True)
                yield
        finally:
            mlflow.end_run(status)
            mlflow.set_tracking_uri(before)


class DvcSource(DatasetSource):
    """Source of a run's data: a revision of the data repository and its file hashes."""

    def __init__(self, revision: DataRevision) -> None:
        self.revision = revision

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self) -> Any:
        raise NotImplementedError("check the revision out with the DataStore")

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:
        return isinstance(raw_source, DataRevision)

    @classmethod
    def _resolve(cls, raw_source: Any) -> DvcSource:
        return cls(raw_source)

    def to_dict(self) -> dict[str, Any]:
        return self.revision.model_dump()

    @classmethod
    def from_dict(cls, source_dict: dict[str, Any]) -> DvcSource:
        return cls(DataRevision.model_validate(source_dict))

    def to_json(self) -> str:
        return json.dumps(self.to_dict())
