"""Online feature values from Feast, for the model server and for whoever else asks by entity.

The folder that `perennial features publish` fills holds all that is needed: `feature_store.yaml` (Feast's
configuration), `registry.db` (what is defined) and, with the default configuration, `online.db` (the values).
Importing Feast takes seconds (`without_torch` saves a third of them), so this module is
imported when the first model that needs features is loaded.
"""

from __future__ import annotations

import os
import sqlite3
import string
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureService, FeatureStore, RepoConfig
from feast.errors import FeastError, RequestDataNotFoundInEntityRowsException
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.value_type import ValueType

from perennial.errors import FeaturesUnavailable, MalformedInput, SettingsError

CONFIG = "feature_store.yaml"
REGISTRY = "registry.db"
FOLDER_VARIABLE = "PERENNIAL_FEAST_DIR"

NOT_FOUND = FieldStatus.NOT_FOUND


class OnlineFeatures:
    """The newest feature values by entity.

    Follows the registry: when a publication has replaced the file, the next call opens the store again.

    Args:
        folder: where features are published (`settings.feast_dir`).

    Raises:
        FeaturesUnavailable: nothing was published there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.reload()

    def reload(self) -> None:
        """Open the store anew; feature services are fetched once and kept."""
        seen = self._stamp()
        store = FeatureStore(config=read_config(self._folder / CONFIG, self._folder))
        try:
            text_keys = {
                entity.join_key for entity in store.list_entities() if entity.value_type is ValueType.STRING
            }
            services = {service.name: service for service in store.list_feature_services()}
        except (FeastError, OSError) as error:
            raise _unavailable(self._folder, error) from error
        with self._lock:
            self._store, self._services, self._text_keys, self._seen = store, services, text_keys, seen

    def values(self, service: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """The newest values of each row's entities, in order.

        Args:
            service: name of a feature service.
            rows: entity keys and request values (a timestamp as unix seconds), the same names in each.
                A number stands for its digits where the key is text.

        Returns:
            Per row every feature of the service by name (None or NaN where its value is not known), or None
            when one of the row's entities was never seen.

        Raises:
            FeaturesUnavailable: the store cannot be read, or knows no such service.
            MalformedInput: a row lacks a key or a request value, or has one of a wrong type.
        """
        if self._stamp() != self._seen:
            self.reload()
        if not rows:
            return []
        with self._lock:
            found = self._service(service)
            try:
                answer = self._store.get_online_features(features=found, entity_rows=self._keys(rows))
            except (RequestDataNotFoundInEntityRowsException, KeyError, ValueError, TypeError) as error:
                raise MalformedInput(
                    f"the rows do not fit the feature service {service!r}: {error}",
                    hint="each row needs every entity key and request value of the model's spec",
                ) from error
            except (FeastError, sqlite3.Error, OSError) as error:
                raise _unavailable(self._folder, error) from error
        return _by_row(answer, found, len(rows))

    def _keys(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        return [
            {
                name: str(value) if name in self._text_keys and isinstance(value, int) else value
                for name, value in row.items()
            }
            for row in rows
        ]

    def _service(self, name: str) -> FeatureService:
        try:
            return self._services[name]
        except KeyError:
            raise FeaturesUnavailable(
                f"no feature service {name!r} is published (there are: {', '.join(self._services) or 'none'})",
                hint="run `perennial features publish` for the model that needs it",
            ) from None

    def _stamp(self) -> tuple[int, int]:
        """Changes when a publication replaces the registry."""
        try:
            status = os.stat(self._folder / REGISTRY)
        except FileNotFoundError as error:
            raise FeaturesUnavailable(
                f"no features are published in {self._folder}", hint="run `perennial features publish` first"
            ) from error
        return status.st_ino, status.st_mtime_ns


def read_config(path: Path, folder: Path) -> RepoConfig:
    """Feast's configuration with the variables filled in: the folder given, the rest from the environment.

    Raises:
        FeaturesUnavailable: the file is not there.
        SettingsError: it is no configuration, or names a variable that is not set.
    """
    try:
        template = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FeaturesUnavailable(f"{path} cannot be read: {error}", hint="publish features first") from error
    try:
        text = string.Template(template).substitute({**os.environ, FOLDER_VARIABLE: str(folder)})
        return RepoConfig(**yaml.safe_load(text), repo_path=folder)
    except KeyError as error:
        raise SettingsError(f"{path} names the variable {error}", hint="set it in the environment") from error
    except (ValueError, TypeError, yaml.YAMLError, FeastError) as error:
        raise SettingsError(f"{path} is no Feast configuration: {error}", hint="correct the file") from error


def _by_row(answer: Any, service: FeatureService, count: int) -> list[dict[str, Any] | None]:
    """Feast answers by column and marks each value; a row with an entity that was not found is None."""
    values = answer.to_dict()
    missing: set[int] = set()
    for column in answer.proto.results:
        if NOT_FOUND in column.statuses:
            missing.update(n for n, status in enumerate(column.statuses) if status == NOT_FOUND)
    names = [feature.name for view in service.feature_view_projections for feature in view.features]
    return [None if n in missing else {name: values[name][n] for name in names} for n in range(count)]


def _unavailable(folder: Path, error: Exception) -> FeaturesUnavailable:
    return FeaturesUnavailable(
        f"Feast does not answer from {folder}: {error}", hint="run `perennial features publish`"
    )
