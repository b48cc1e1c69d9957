"""Delete the files of a version from MLflow's artifact store; its run, metrics and tags stay."""

from __future__ import annotations

from perennial.adapters.mlflow.connection import connect, reaching, s3_errors

# After the connection's settings, which MLflow reads when it is imported.
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository  # isort: skip

from perennial.adapters.mlflow.registry import SERVED
from perennial.core.version import VersionRef
from perennial.errors import TrackerUnavailable, UnknownVersion


class MlflowFiles:
    """ModelFiles over MLflow's artifact store."""

    def __init__(self, url: str) -> None:
        self._url = url

    def delete(self, ref: VersionRef) -> None:
        """Delete the served files of the run and the logged model of the version. Repeating changes nothing.

        Raises:
            UnknownVersion: the registry has no such version.
            TrackerUnavailable: MLflow or its artifact store failed.
        """
        client = connect(self._url)
        try:
            with reaching(self._url):
                version = client.get_model_version(ref.model, ref.key)
                run = client.get_run(version.run_id).info.artifact_uri
        except MlflowException as error:
            raise UnknownVersion(
                f"{ref} is not in the registry: {error}", hint="perennial models show"
            ) from error
        for root, path in ((run, SERVED), (version.source, None)):
            try:
                get_artifact_repository(root).delete_artifacts(path)
            except FileNotFoundError:
                continue  # deleted by an earlier call
            except (MlflowException, OSError, *s3_errors()) as error:
                raise TrackerUnavailable(
                    f"the files of {ref} at {root} cannot be deleted: {error}",
                    hint="check that the artifact store runs",
                ) from error
