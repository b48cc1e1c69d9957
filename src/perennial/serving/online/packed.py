"""Online stores of Feast that keep all features of an entity in a single value; that in SQLite.

Feast's SQLite and Redis stores keep a value per feature, and a read makes a message of each. A packed store writes
through the same stores, but hands them a view with one feature, the packed values. There is no second copy: whatever
writes through Feast (materialisation, push, its command line) renews all features of an entity at once.
`online_store.type` of `feature_store.yaml` names the class.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from feast import FeatureView, Field, RepoConfig
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig, convert_timestamp
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Bytes

from perennial.serving.online.packing import pack, unpack

PACKED = "packed"
MOST_STATEMENTS = 64
"""Statements of SQLite that are kept, by their views and numbers of keys."""

Written = tuple[EntityKey, Mapping[str, Value], datetime, datetime | None]
"""Entity, its values, when they were true, and when they became known."""
Read = tuple[datetime | None, dict[str, Value] | None]
"""As `OnlineStore.online_read` returns it; two None for an entity that is not stored."""
Stored = tuple[Any, bytes]
"""When the values of an entity were true, as the store has it (`moment`), and the packed values."""


class PackedOnlineStore(OnlineStore):
    """The common part of packed stores; comes before Feast's store among the base classes.

    An entity that was written before the store was packed, and not since, is read as Feast's store has it.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._views: dict[str, FeatureView] = {}

    @abstractmethod
    def read_packed(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]
    ) -> list[list[Stored | None]]:
        """Return what is stored of the entities of each view, in order; None for one that is not stored packed.

        Args:
            asked: views with keys of entities as bytes.
        """

    waits: ClassVar[bool] = False
    """Whether a read waits for another process, so that `fetch_packed` lets the event loop go on."""

    async def fetch_packed(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]
    ) -> list[list[Stored | None]]:
        """Return what `read_packed` returns."""
        return self.read_packed(config, asked)

    def close_connection(self) -> None:
        """Close the connection of `fetch_packed`."""

    @abstractmethod
    def moment(self, at: Any) -> datetime:
        """Return a time of `Stored`."""

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        return SupportedAsyncMethods()

    def read_unpacked(
        self, config: RepoConfig, table: FeatureView, entity_keys: list[EntityKey], names: Sequence[str]
    ) -> list[Read]:
        """Return what Feast's store has of each entity from before it was packed."""
        if not entity_keys:
            return []
        rows = super().online_read(config, table, entity_keys, list(names))
        # Redis answers an unknown entity with time 0.
        return [(None, None) if at is None or at.timestamp() == 0 else (at, of) for at, of in rows]

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[Read]:
        names = requested_features or [field.name for field in table.features]
        keys = [serialize_entity_key(key, config.entity_key_serialization_version) for key in entity_keys]
        (read,) = self.read_packed(config, [(table, keys)])
        lacking = [key for key, stored in zip(entity_keys, read, strict=True) if stored is None]
        older = iter(self.read_unpacked(config, table, lacking, names))
        rows: list[Read] = []
        for stored in read:
            if stored is None:
                rows.append(next(older))
            else:
                values = unpack(stored[1])
                rows.append(
                    (self.moment(stored[0]), {name: values[name] for name in names if name in values})
                )
        return rows

    def online_write_batch(
        self,
        config: RepoConfig,
        table: FeatureView,
        data: Sequence[Written],
        progress: Callable[[int], Any] | None,
    ) -> None:
        rows = [(key, {PACKED: pack(values)}, at, known_at) for key, values, at, known_at in data]
        super().online_write_batch(config, self.packed(table), rows, progress)

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        *others: Any,
        **named: Any,
    ) -> None:
        super().update(config, self._both(tables_to_delete), self._both(tables_to_keep), *others, **named)

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Any]) -> None:
        super().teardown(config, self._both(tables), entities)

    def packed(self, view: FeatureView) -> FeatureView:
        """Return the view that Feast's store gets in place of a view: under another name, with one feature."""
        known = self._views.get(view.name)
        if known is None:
            known = copy.copy(view)
            known.name = f"{view.name}__{PACKED}"
            known.features = [Field(name=PACKED, dtype=Bytes)]
            self._views[view.name] = known
        return known

    def _both(self, views: Sequence[FeatureView]) -> list[FeatureView]:
        return [each for view in views for each in (view, self.packed(view))]


class PackedSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Configuration of the packed store in SQLite: that of Feast's."""

    type: Literal["perennial.serving.online.packed.PackedSqliteOnlineStore"] = (  # type: ignore[assignment]
        "perennial.serving.online.packed.PackedSqliteOnlineStore"
    )


class PackedSqliteOnlineStore(PackedOnlineStore, SqliteOnlineStore):
    """SQLite; a table per view, a row per entity."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._statements: dict[tuple[tuple[str, int], ...], str] = {}

    def read_packed(
        self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]
    ) -> list[list[Stored | None]]:
        """Read all views in one statement."""
        form = tuple((view.name, len(keys)) for view, keys in asked)
        statement = self._statements.get(form)
        if statement is None:
            if len(self._statements) >= MOST_STATEMENTS:
                self._statements.clear()
            statement = self._statements[form] = self._statement(config, asked)
        given = [key for _, keys in asked for key in keys]
        rows = self._get_conn(config).execute(statement, given).fetchall()
        stored = {(number, key): (at, value) for number, key, at, value in rows}
        return [[stored.get((number, key)) for key in keys] for number, (_, keys) in enumerate(asked)]

    def _statement(self, config: RepoConfig, asked: Sequence[tuple[FeatureView, Sequence[bytes]]]) -> str:
        parts = []
        for number, (view, keys) in enumerate(asked):
            table, marks = self._table(config, view), ",".join("?" * len(keys))
            # The `+` hides the type of the column, for which Feast has a costly converter.
            parts.append(
                f'SELECT {number}, entity_key, +event_ts, value FROM "{table}" WHERE entity_key IN ({marks})'  # noqa: S608 the name of a view
            )
        return " UNION ALL ".join(parts)

    def moment(self, at: int) -> datetime:
        return convert_timestamp(at).replace(tzinfo=UTC)  # type: ignore[arg-type]

    def _table(self, config: RepoConfig, view: FeatureView) -> str:
        return compute_table_id(
            config.project, self.packed(view), config.registry.enable_online_feature_view_versioning
        )
