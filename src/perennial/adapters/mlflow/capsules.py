"""The capsule that a training kept with its run in MLflow."""

from __future__ import annotations

from pathlib import Path

from perennial.adapters.mlflow.connection import connect, reaching

# After the connection's settings, which MLflow reads when it is imported.
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.tracking.artifact_utils import _download_artifact_from_uri  # isort: skip

from pydantic import ValidationError

from perennial.core.training.capsule import Capsule
from perennial.core.training.registration import VersionRecord
from perennial.errors import ModelFileError

FILE = "capsule.json"


class MlflowCapsules:
    def __init__(self, url: str) -> None:
        self._url = url

    def capsule(self, record: VersionRecord) -> Capsule:
        client = connect(self._url)
        try:
            with reaching(self._url):
                uri = client.get_run(record.run_id).info.artifact_uri
                path = Path(_download_artifact_from_uri(f"{uri}/{FILE}", tracking_uri=self._url))
            return Capsule.model_validate_json(path.read_text(encoding="utf-8"))
        except (MlflowException, OSError, ValidationError) as error:
            raise ModelFileError(
                f"the capsule of {record.ref} cannot be read from its run {record.run_id}: {error}",
                hint="restore the artifact store, or train again",
            ) from error
