"""The Registry and Labels ports over MLflow: versions, aliases, tags.

The key is MLflow's own integer. The semantic version is a tag that the call creating the version sets, so that a
killed process leaves no version without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from perennial.adapters.mlflow.connection import connect, reaching
from perennial.adapters.mlflow.records import (
    CAPSULE,
    DIGEST,
    SEMANTIC,
    is_ours,
    records_of,
    version_record,
    version_ref,
    versions_of,
)

# After the connection's settings, which MLflow reads when it is imported.
from mlflow import MlflowClient  # isort: skip
from mlflow.entities.model_registry import ModelVersion  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip
from mlflow.tracking.artifact_utils import _download_artifact_from_uri  # isort: skip
from mlflow.utils.uri import is_local_uri  # isort: skip

from perennial.core.training.registration import NewVersion, VersionRecord
from perennial.core.version import Change, Lifecycle, VersionRef
from perennial.errors import ModelFileError, UnknownVersion, UsageError
from perennial.serving.signed_files import NOBODY, TrustedKeys, read_signed, write_contents

LIFECYCLE = "lifecycle"
SERVED = "served"
TakeNumber = Callable[[str, str, Change, Iterable[str], str | None], str]
MISSING = {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


class MlflowRegistry:
    """Registry and Labels over an MLflow server or file.

    Args:
        take_number: model, run, change, numbers of registered versions, version that is repackaged -> the number of
            this run, taken by nobody else; without it this registry only reads.
        trusted: keys of those who may sign the files of a version; without them no version can be fetched.
    """

    def __init__(
        self, url: str, take_number: TakeNumber | None = None, trusted: TrustedKeys = NOBODY
    ) -> None:
        self._url = url
        self._take_number = take_number
        self._trusted = trusted
        self._connected: MlflowClient | None = None

    def register(self, new: NewVersion) -> VersionRef:
        client = self._client()
        with reaching(self._url):
            self._ensure_model(client, new)
            registered = self._all(client, new.model)
            mine = next((version for version in registered if version.run_id == new.run_id), None)
            if mine is None:
                names = [version.tags[SEMANTIC] for version in registered if SEMANTIC in version.tags]
                mine = self._create(client, new, names)
            elif mine.tags[DIGEST] != new.digest:
                raise ModelFileError(
                    f"run {new.run_id} is registered with the digest {mine.tags[DIGEST][:12]}, "
                    f"not {new.digest[:12]}",
                    hint="train again: a run has one model",
                )
            # Still in development: neither this call nor an earlier, killed call has finished.
            if mine.tags[LIFECYCLE] == Lifecycle.DEVELOPMENT:
                if new.candidate:
                    client.set_registered_model_alias(new.model, "candidate", mine.version)
                client.set_model_version_tag(new.model, mine.version, LIFECYCLE, Lifecycle.STAGING)
        return version_ref(mine)

    def find(self, model: str, which: str) -> VersionRecord | None:
        client = self._client()
        with reaching(self._url):
            version = self._lookup(client, model, which)
            if version is not None and not is_ours(version):
                raise UnknownVersion(
                    f"{model} {which} is version {version.version} in MLflow, which was registered there by hand: "
                    "it has no signed files, and cannot be evaluated or released",
                    hint=f"perennial models import {model} models:/{model}/{version.version} --data FILE "
                    "--trained TEXT",
                )
            if version is None:
                return None
            return version_record(version, version.aliases, _metrics(client, version.run_id))

    def versions(self, model: str) -> list[VersionRecord]:
        client = self._client()
        with reaching(self._url):
            return records_of(client, [version for version in self._all(client, model) if is_ours(version)])

    def fetch(self, ref: VersionRef, into: Path) -> Path:
        client = self._client()
        with reaching(self._url):
            version = self._lookup(client, ref.model, f"key:{ref.key}")
            if version is None:
                raise UnknownVersion(
                    f"{ref} is not in the registry", hint=f"perennial models show {ref.model}"
                )
        with TemporaryDirectory() as folder:
            uri = f"run {version.run_id}"
            with reaching(self._url):
                try:
                    uri = client.get_run(version.run_id).info.artifact_uri
                    copy = None if is_local_uri(uri) else folder
                    source = _download_artifact_from_uri(f"{uri}/{SERVED}", copy, tracking_uri=self._url)
                except (MlflowException, OSError) as error:
                    raise ModelFileError(
                        f"the files of {ref} cannot be read from {uri}/{SERVED}: {error}",
                        hint="restore the artifact store, or train again",
                    ) from error
            # What is written is what was checked, whatever happens to the source meanwhile.
            write_contents(into, read_signed(Path(source), ref.model, ref.digest, self._trusted))
        return into

    def alias(self, model: str, alias: str, key: str | None) -> None:
        client = self._client()
        with reaching(self._url):
            if key is None:
                if self._lookup(client, model, alias) is not None:
                    client.delete_registered_model_alias(model, alias)
                return
            self._require(client, model, key)
            client.set_registered_model_alias(model, alias, key)

    def tag(self, model: str, key: str, tags: Mapping[str, str]) -> None:
        client = self._client()
        with reaching(self._url):
            known = self._require(client, model, key).tags
            for name, value in tags.items():
                if known.get(name) != value:
                    client.set_model_version_tag(model, key, name, value)

    def _client(self) -> MlflowClient:
        if self._connected is None:
            self._connected = connect(self._url)
        return self._connected

    def _ensure_model(self, client: MlflowClient, new: NewVersion) -> None:
        try:
            client.create_registered_model(new.model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _create(self, client: MlflowClient, new: NewVersion, existing: list[str]) -> ModelVersion:
        if self._take_number is None:
            raise UsageError(
                f"{new.model}: this registry was opened for reading", hint="wiring.versions.registry"
            )
        tags = {
            **new.tags,
            SEMANTIC: self._take_number(new.model, new.run_id, new.change, existing, new.patch_of),
            DIGEST: new.digest,
            CAPSULE: new.capsule,
            LIFECYCLE: Lifecycle.DEVELOPMENT,
        }
        source = client.get_logged_model(new.model_uri.removeprefix("models:/")).artifact_location
        return client.create_model_version(
            new.model,
            source=source,
            run_id=new.run_id,
            tags={name: str(value) for name, value in tags.items()},
            description=new.description,
            model_id=new.model_uri.removeprefix("models:/"),
        )

    def _all(self, client: MlflowClient, model: str) -> list[ModelVersion]:
        return versions_of(client, f"name = '{model}'")

    def _lookup(self, client: MlflowClient, model: str, which: str) -> ModelVersion | None:
        try:
            if which.startswith("key:"):
                return client.get_model_version(model, which.removeprefix("key:"))
            if which[:1].isdigit():
                query = f"name = '{model}' and tags.{SEMANTIC} = '{which}'"
                wanted = {version.version for version in versions_of(client, query)}
            else:
                # MLflow's own search for an alias answers 403, not 404, for a missing alias when its
                # authentication is on.
                known = client.get_registered_model(model).aliases
                wanted = {known[which]} if which in known else set()
        except MlflowException as error:
            if error.error_code in MISSING:
                return None
            raise
        # A search omits the aliases of a version.
        return client.get_model_version(model, wanted.pop()) if wanted else None

    def _require(self, client: MlflowClient, model: str, key: str) -> ModelVersion:
        version = self._lookup(client, model, f"key:{key}")
        if version is None:
            raise UnknownVersion(
                f"{model} has no version with key {key}", hint=f"perennial models show {model}"
            )
        return version


def _metrics(client: MlflowClient, run_id: str) -> dict[str, float]:
    """Return the metrics of a run; none where the run was deleted for good."""
    try:
        return dict(client.get_run(run_id).data.metrics)
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        return {}
