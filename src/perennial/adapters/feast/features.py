"""The Features port over Feast: definitions in its registry, states in Parquet, newest values online."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from feast import FeatureStore, FeatureView
from feast.errors import FeastError
from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Int64
from filelock import FileLock

from perennial import files
from perennial.adapters.feast import definitions as feature_definitions
from perennial.adapters.feast import freshness, point_in_time
from perennial.adapters.feast.objects import SIZE, definitions, windows_of
from perennial.adapters.feast.quiet import quiet_feast
from perennial.adapters.feast.windows import window_columns
from perennial.core.feature_spec import FeatureSpec
from perennial.core.feature_view import ViewSpec
from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.spec import ModelSpec
from perennial.errors import FeaturesUnavailable, MalformedInput, SettingsError
from perennial.limits import LONGEST_BUILD, implausible
from perennial.serving.online_features import CONFIG, REGISTRY, OnlineFeatures, read_config

PATIENCE_SECONDS = 60.0  # longest wait for an answer of Redis where nobody waits for a prediction


class FeastFeatures:
    """The Features port.

    Args:
        repo: folder `feature_repo` of a project, beside its `configs`; it need not exist.
        folder: state of the feature store; a lock admits a single writer.
        specs: returns the model specs; each gets a feature service.
        clock: no row that is published may be later.
        config: Feast's configuration; None: `feature_store.yaml` of `repo`.
        online_store: address of a Redis in place of the configuration's online store.
    """

    def __init__(
        self,
        repo: Path,
        folder: Path,
        specs: Callable[[], Iterable[ModelSpec]],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        config: Path | None = None,
        online_store: str | None = None,
    ) -> None:
        self._clock = clock
        self._config = config or repo / CONFIG
        self._online_store = online_store
        self._repo = repo
        self._folder = folder
        self._specs = specs
        self._online: OnlineFeatures | None = None

    def publish(self, views: Mapping[str, pd.DataFrame]) -> None:
        """Write the tables, renew all definitions and materialise the newest row per entity.

        It can be repeated after a kill: tables and registry are replaced atomically, and readers see the old
        registry until everything is written.

        Raises:
            MalformedInput: a table fits no defined view, or has a time that is not plausible.
            FeaturesUnavailable: Feast or a store cannot be written.
            SettingsError: the project has no configuration of Feast.
        """
        if not self._config.is_file():
            raise SettingsError(
                f"there is no {self._config}",
                hint="copy it from the Perennial checkout: it says which stores Feast uses",
            )
        tables = {name: self._stored(name, frame) for name, frame in views.items()}
        with self._writing():
            for name, table in tables.items():
                _write_parquet(table, self._offline / f"{name}.parquet")
            objects = _published(definitions(self._repo, self._offline, self._specs()))
            with files.replacing(self._folder / REGISTRY) as registry, quiet_feast():
                store = self._store(registry, self._config)
                store.apply(objects)
                _let_read_while_writing(store)
                _materialise(store, tables, objects)
                # Not earlier: what it names must be there for a reader that starts now.
                files.write_bytes(self._folder / CONFIG, self._config.read_bytes())
            digests = feature_definitions.of_services(objects)
            files.write_bytes(self._folder / feature_definitions.FILE, feature_definitions.content(digests))
            self._note_newest(tables)

    def push(self, views: Mapping[str, pd.DataFrame]) -> None:
        """Write the newest row per entity online.

        Raises:
            MalformedInput: a table fits no defined view.
            FeaturesUnavailable: nothing is published yet, or the store cannot be written.
        """
        tables = {name: self._stored(name, frame) for name, frame in views.items()}
        if not (self._folder / REGISTRY).is_file():
            raise FeaturesUnavailable(
                f"no features are published in {self._folder}", hint="run `perennial features publish` first"
            )
        with self._writing():
            store = self._store(self._folder / REGISTRY)
            for name, table in tables.items():
                if not table.empty:
                    store.write_to_online_store(name, _newest(self._view(name), table))
            self._note_newest(tables)

    def join(
        self, features: FeatureSpec, rows: pd.DataFrame, views: Mapping[str, pd.DataFrame]
    ) -> pd.DataFrame:
        """Join features as float64 columns; a feature replaces a request value of the same name.

        Raises:
            SpecError: a feature is not defined.
            MalformedInput: a table or a column is missing.
        """
        return point_in_time.join(features, rows, views, self._objects)

    def online(self, features: FeatureSpec, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | None]:
        if self._online is None:
            self._online = OnlineFeatures(self._folder, self._clock, self._online_store, PATIENCE_SECONDS)
        return self._online.values(features.service, rows)

    @property
    def _offline(self) -> Path:
        return self._folder / "offline"

    @cached_property
    def _objects(self) -> dict[str, Any]:
        """Return stored and on-demand feature views by name."""
        return {
            view.name: view
            for view in definitions(self._repo, self._offline, ())
            if isinstance(view, FeatureView | OnDemandFeatureView)
        }

    def _view(self, name: str) -> FeatureView:
        view = self._objects.get(name)
        if not isinstance(view, FeatureView):
            raise MalformedInput(
                f"there is a table for {name!r}, but no feature view of that name",
                hint=f"define it in configs/features/{name}.yaml",
            )
        return view

    def _stored(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a view that Feast stores; for windows, the features of each entity as of now."""
        view = self._view(name)
        spec = windows_of(view)
        if spec is None:
            return _table(view, frame, self._clock())
        return _snapshot(view, spec, frame, self._clock())

    def _note_newest(self, tables: Mapping[str, pd.DataFrame]) -> None:
        event_times = {name: point_in_time.time_columns(self._view(name))[0] for name in tables}
        freshness.note(self._folder, tables, event_times)

    def _store(self, registry: Path, configuration: Path | None = None) -> FeatureStore:
        """Open the store, by default with the published configuration, which readers have, too."""
        of = configuration or self._folder / CONFIG
        config = read_config(of, self._folder, self._online_store, PATIENCE_SECONDS)
        config.registry.path = str(registry)
        return FeatureStore(config=config)

    @contextlib.contextmanager
    def _writing(self):
        self._offline.mkdir(parents=True, exist_ok=True)
        with FileLock(self._folder / ".lock"):
            try:
                yield
            except (FeastError, sqlite3.Error, OSError) as error:
                raise FeaturesUnavailable(
                    f"Feast could not write to {self._folder}: {error}",
                    hint="free the disk or the file, then repeat",
                ) from error


def _table(view: FeatureView, frame: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Return the columns of a table that Feast stores, after a check of its times."""
    times = point_in_time.time_columns(view)
    columns = [*view.join_keys, *times, *(field.name for field in view.features)]
    _check(view, frame, columns, times, now)
    for field in view.features:
        if SIZE in field.tags:
            _check_arrays(view, frame, field.name, int(field.tags[SIZE]))
    # Whole numbers with missing ones are floats in pandas, and must not become floats of Feast.
    whole = {field.name: "Int64" for field in view.features if field.dtype is Int64}
    return frame[list(dict.fromkeys(columns))].astype(whole)


def _snapshot(view: FeatureView, spec: ViewSpec, events: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Return the window features of each entity as of now, after a check of the times of the events."""
    times = [name for name in (spec.times.event, spec.times.created) if name is not None]
    _check(view, events, [spec.entity, *times, *spec.columns], times, now)
    rows = pd.DataFrame({spec.entity: events[spec.entity].dropna().unique()})
    rows[point_in_time.ROW_TIME] = pd.Timestamp(now).floor("ms").as_unit("us")
    names = [feature.name for feature in spec.window_features]
    return rows.assign(**window_columns(spec, names, events, rows, point_in_time.ROW_TIME))


def _check(
    view: FeatureView, frame: pd.DataFrame, columns: list[str], times: list[str], now: datetime
) -> None:
    """Refuse a table without these columns, or with a time that is not plausible."""
    missing = [name for name in dict.fromkeys(columns) if name not in frame]
    if missing:
        raise MalformedInput(
            f"the table of {view.name} lacks {', '.join(missing)}", hint="prepare and definitions must agree"
        )
    for column in times:
        for at in (frame[column].min(), frame[column].max()):
            if len(frame) and (problem := implausible(at, now, LONGEST_BUILD)):
                key = frame.loc[frame[column] == at, view.join_keys].iloc[0].to_dict()
                raise MalformedInput(
                    f"the table of {view.name}: {column} of {key} is {at.isoformat()}, {problem}",
                    hint="`perennial data retract` takes a bad cycle or import out of the history",
                )


def _check_arrays(view: FeatureView, frame: pd.DataFrame, name: str, size: int) -> None:
    """Refuse a value that is no array of so many finite numbers; Feast itself would store it."""
    given = InputSpec(type=InputKind.ARRAY, missing="allow", size=size)
    values = frame[name].astype(object).where(frame[name].notna(), None).tolist()
    try:
        encode({name: given}, {name: values}, len(frame))
    except MalformedInput as error:
        raise MalformedInput(f"the table of {view.name}: {error.message}", hint=error.hint) from error


def _newest(view: FeatureView, table: pd.DataFrame) -> pd.DataFrame:
    ordered = table.sort_values(point_in_time.time_columns(view), kind="stable")
    return ordered.groupby(view.join_keys, sort=False).tail(1)


def _published(objects: list[Any]) -> list[Any]:
    """Return the objects with data: a model without published tables must not stop the other models."""
    views = [view for view in objects if isinstance(view, FeatureView)]
    available = {view.name for view in views if Path(view.batch_source.path).is_file()}
    published = []
    for item in objects:
        if isinstance(item, FeatureView):
            needed = {item.name}
        elif isinstance(item, OnDemandFeatureView):
            needed = {source.name for source in item.source_feature_view_projections.values()}
        else:
            needed = {projection.name for projection in getattr(item, "feature_view_projections", ())}
        if needed <= available:
            published.append(item)
            if isinstance(item, OnDemandFeatureView):
                available.add(item.name)
    return published


def _materialise(store: FeatureStore, tables: Mapping[str, pd.DataFrame], objects: list[Any]) -> None:
    """Materialise all rows of the tables."""
    views = {view.name: view for view in objects if isinstance(view, FeatureView)}
    for name, table in tables.items():
        if table.empty:
            continue
        last = max(table[column].max() for column in point_in_time.time_columns(views[name]))
        end = last.to_pydatetime(warn=False) + timedelta(seconds=1)
        store.materialize(datetime(1970, 1, 2, tzinfo=UTC), end, feature_views=[name])


def _let_read_while_writing(store: FeatureStore) -> None:
    """Switch SQLite to its write-ahead log, so that no prediction waits for a publication."""
    online = store.config.online_store
    if isinstance(online, SqliteOnlineStoreConfig):
        with contextlib.closing(sqlite3.connect(online.path)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    # DuckDB cannot cast nanoseconds with a time zone; state rows are whole milliseconds anyway.
    with files.replacing(path) as temporary:
        table.to_parquet(temporary, index=False, coerce_timestamps="us", allow_truncated_timestamps=False)
