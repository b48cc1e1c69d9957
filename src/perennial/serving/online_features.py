"""Online feature values by entity from Feast.

`perennial features publish` fills the folder: `feature_store.yaml` (Feast's configuration), `registry.db`
(definitions) and, with the default configuration, `online.db` (values). The import of Feast takes seconds
(hiding torch saves a third), so this module is imported with the first model that needs features.
"""

from __future__ import annotations

import os
import sqlite3
import string
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from feast import FeatureService, FeatureStore, RepoConfig
from feast.errors import FeastError, RequestDataNotFoundInEntityRowsException
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.value_type import ValueType

from perennial.errors import FeaturesUnavailable, MalformedInput, SettingsError
from perennial.serving.online.columns import FeatureColumns
from perennial.serving.online.service_reads import ServiceReads, service_reads

CONFIG = "feature_store.yaml"
REGISTRY = "registry.db"
FOLDER_VARIABLE = "PERENNIAL_FEAST_DIR"
LOOK_SECONDS = 0.01
"""How often the registry is looked at: a look at each request would cost as much as a key."""

MISFITS = (RequestDataNotFoundInEntityRowsException, LookupError, ValueError, TypeError, OverflowError)
"""Errors of rows that do not fit a feature service."""
NOT_FOUND = FieldStatus.NOT_FOUND
REDIS = "perennial.serving.online.packed_redis.PackedRedisOnlineStore"


class OnlineFeatures:
    """The newest feature values by entity.

    When a publication has replaced the registry, the next call after `LOOK_SECONDS` opens the store again.

    Args:
        folder: folder of the published features (`settings.feast_dir`).
        clock: a value older than the ttl of its view is not known; Feast itself answers it.
        online_store: address of a Redis in place of the configuration's online store.
        timeout_seconds: longest wait for an answer of that Redis.

    Raises:
        FeaturesUnavailable: nothing is published there yet.
    """

    def __init__(
        self,
        folder: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        online_store: str | None = None,
        timeout_seconds: float = 1.0,
    ) -> None:
        self._folder = folder
        self._registry = str(folder / REGISTRY)
        self._redis = online_store, timeout_seconds
        self._clock = clock
        self._look_at = 0.0
        self._lock = threading.Lock()
        self._reads: dict[str, ServiceReads | None] = {}
        self.reload()

    def reload(self) -> None:
        """Open the store again and cache its feature services."""
        seen = self._stamp()
        store = FeatureStore(config=read_config(self._folder / CONFIG, self._folder, *self._redis))
        try:
            text_keys = {
                entity.join_key for entity in store.list_entities() if entity.value_type is ValueType.STRING
            }
            services = {service.name: service for service in store.list_feature_services()}
            ttls = {view.name: view.ttl.total_seconds() for view in store.list_feature_views() if view.ttl}
            reads = {name: service_reads(store, service, ttls) for name, service in services.items()}
        except (FeastError, OSError) as error:
            raise _unavailable(self._folder, error) from error
        before = self._reads
        with self._lock:
            self._store, self._services, self._text_keys, self._seen = store, services, text_keys, seen
            self._ttls, self._reads = ttls, reads
        for each in before.values():
            if each is not None:
                each.close()

    def values(self, service: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        """Return the newest values for each row, in order.

        Args:
            service: name of a feature service.
            rows: entity keys and request values (a timestamp as unix seconds), the same names in each row.
                A number is converted to text where the key is text.

        Returns:
            Per row all features of the service by name (None or NaN when a value is unknown), or None when an
            entity of the row is unknown.

        Raises:
            As `columns`.
        """
        if not rows:
            return []
        try:
            given = {name: [row[name] for row in rows] for name in rows[0]}
        except LookupError as error:
            raise _misfit(service, error) from error
        read = self.columns(service, given)
        return [
            None
            if number in read.unknown
            else {name: column[number] for name, column in read.columns.items()}
            for number in range(len(rows))
        ]

    def columns(self, service: str, given: Mapping[str, Sequence[Any]]) -> FeatureColumns:
        """Return the newest values for each row by feature.

        Args:
            service: name of a feature service.
            given: entity keys and request values by name, a value per row, as the rows of `values` have them.

        Raises:
            FeaturesUnavailable: the store cannot be read, or has no such feature service.
            MalformedInput: a key or a request value is missing, or a value has the wrong type.
        """
        self._look()
        with self._lock:
            definition = self._service(service)
            try:
                given = self._texts(given)
                now = self._clock().timestamp()
                if (reads := self._reads[service]) is not None:
                    return reads.columns(given, now)
                answer = self._store.get_online_features(features=definition, entity_rows=_rows(given))
            except MISFITS as error:
                raise _misfit(service, error) from error
            except (FeastError, sqlite3.Error, OSError) as error:
                raise _unavailable(self._folder, error) from error
        return _by_column(answer, definition, self._ttls, now)

    async def fetch(self, service: str, given: Mapping[str, Sequence[Any]]) -> FeatureColumns:
        """Return the values as `columns` does, while the event loop goes on where the store is another process."""
        self._look()
        reads = self._reads.get(service)
        if reads is None or not reads.waits:
            return self.columns(service, given)
        try:
            return await reads.fetch(self._texts(given), self._clock().timestamp())
        except MISFITS as error:
            raise _misfit(service, error) from error

    def _look(self) -> None:
        """Open the store again if a publication has replaced the registry."""
        if (at := time.monotonic()) >= self._look_at:
            self._look_at = at + LOOK_SECONDS
            if self._stamp() != self._seen:
                self.reload()

    def _texts(self, given: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
        """Return whole numbers as texts where the key is text."""
        return {
            name: [str(value) if isinstance(value, int) else value for value in column]
            if name in self._text_keys
            else column
            for name, column in given.items()
        }

    def _service(self, name: str) -> FeatureService:
        try:
            return self._services[name]
        except KeyError:
            raise FeaturesUnavailable(
                f"no feature service {name!r} is published (there are: {', '.join(self._services) or 'none'})",
                hint="run `perennial features publish` for the model that needs it",
            ) from None

    def _stamp(self) -> tuple[int, int]:
        """Return inode and modification time of the registry, which change with each publication."""
        try:
            status = os.stat(self._registry)
        except FileNotFoundError as error:
            raise FeaturesUnavailable(
                f"no features are published in {self._folder}", hint="run `perennial features publish` first"
            ) from error
        return status.st_ino, status.st_mtime_ns


def read_config(
    path: Path, folder: Path, online_store: str | None = None, timeout_seconds: float = 1.0
) -> RepoConfig:
    """Read Feast's configuration and fill in its variables: the folder, and others from the environment.

    Args:
        online_store: address of a Redis in place of the configuration's online store.

    Raises:
        FeaturesUnavailable: the file cannot be read.
        SettingsError: the file is no configuration, or names a variable that is not set; the address is none, or the
            library for it is missing.
    """
    try:
        template = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FeaturesUnavailable(f"{path} cannot be read: {error}", hint="publish features first") from error
    try:
        # A variable in a comment is nobody's: a process in a container has no PWD.
        lines = [line for line in template.splitlines() if not line.lstrip().startswith("#")]
        text = string.Template("\n".join(lines)).substitute({**os.environ, FOLDER_VARIABLE: str(folder)})
        content = yaml.safe_load(text)
        if online_store is not None:
            content["online_store"] = _redis(online_store, timeout_seconds)
        return RepoConfig(**content, repo_path=folder)
    except KeyError as error:
        raise SettingsError(f"{path} names the variable {error}", hint="set it in the environment") from error
    except (ValueError, TypeError, yaml.YAMLError, FeastError) as error:
        problem = str(error) if online_store is None else str(error).replace(online_store, "...")
        raise SettingsError(
            f"{path} is not a Feast configuration: {problem}", hint="correct the file"
        ) from error


def _redis(address: str, timeout_seconds: float) -> dict[str, Any]:
    """Return the configuration of the online store in a Redis. No message has the address: it may have a password."""
    if not address.startswith(("redis://", "rediss://", "unix://")):
        raise SettingsError(
            "PERENNIAL_ONLINE_STORE is no address of a Redis",
            hint="an example: redis://:PASSWORD@host:6379/0",
        )
    if find_spec("redis") is None:
        raise SettingsError("the library for Redis is not installed", hint="pip install 'perennial[redis]'")
    return {"type": REDIS, "connection_string": address, "timeout_seconds": timeout_seconds}


def _rows(given: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]


def _by_column(answer: Any, service: FeatureService, ttls: Mapping[str, float], now: float) -> FeatureColumns:
    """Return the columns of Feast's answer; a row is unknown when Feast does not know an entity of it.

    Args:
        ttls: seconds for which a value of a view is known.
    """
    values = answer.to_dict()
    limits = {
        feature.name: ttls[view.name]
        for view in service.feature_view_projections
        for feature in view.features
        if view.name in ttls
    }
    for name, column in zip(answer.proto.metadata.feature_names.val, answer.proto.results, strict=True):
        if name in limits:
            for place, at in enumerate(column.event_timestamps):
                if now - at.seconds > limits[name]:
                    values[name][place] = None
    unknown: set[int] = set()
    for column in answer.proto.results:
        if NOT_FOUND in column.statuses:
            unknown.update(n for n, status in enumerate(column.statuses) if status == NOT_FOUND)
    names = [feature.name for view in service.feature_view_projections for feature in view.features]
    return FeatureColumns({name: values[name] for name in names}, unknown)


def _misfit(service: str, error: Exception) -> MalformedInput:
    return MalformedInput(
        f"the rows do not fit the feature service {service!r}: {error}",
        hint="each row needs every entity key and request value of the model's spec",
    )


def _unavailable(folder: Path, error: Exception) -> FeaturesUnavailable:
    return FeaturesUnavailable(
        f"Feast does not answer from {folder}: {error}", hint="run `perennial features publish`"
    )
