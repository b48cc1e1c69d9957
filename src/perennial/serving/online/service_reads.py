"""Reads of a feature service from Feast's online store without Feast's response.

`FeatureStore.get_online_features` wraps every value into a message, unwraps it for the on-demand views, wraps their
values and unwraps all again; that costs several times the reads. Here the values go from the online store
straight to Python, and through the functions of the same on-demand views; from a packed store those of all views and
entities in one read. Services with other values than plain ones, times and arrays, a view under an alias, or on-demand
views in another mode than `python` are left to Feast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feast import FeatureService, FeatureStore, FeatureView
from feast.errors import RequestDataNotFoundInEntityRowsException
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.provider import get_provider
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.value_type import ValueType

from perennial.serving.online.columns import FeatureColumns
from perennial.serving.online.packed import PackedOnlineStore, Stored
from perennial.serving.online.packing import KeyWriter, Unpacker
from perennial.serving.online.views import DerivedView, Row, StoredView

PLAIN = frozenset(
    {ValueType.STRING, ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOL}
)
"""Types that on-demand views may read."""
READ = PLAIN | {ValueType.UNIX_TIMESTAMP, ValueType.FLOAT_LIST}
DERIVED = frozenset({ValueType.STRING, ValueType.INT64, ValueType.DOUBLE})


class ServiceReads:
    """The reads of one feature service."""

    def __init__(
        self,
        store: FeatureStore,
        names: Sequence[str],
        stored: Sequence[StoredView],
        derived: Sequence[DerivedView],
    ) -> None:
        self._config = store.config
        self._store: OnlineStore = get_provider(store.config).online_store
        self._packed = self._store if isinstance(self._store, PackedOnlineStore) else None
        self._names = names
        self._stored = stored
        self._derived = derived
        self._requested = frozenset[str]().union(*(each.requested for each in derived))

    def columns(self, given: Mapping[str, Sequence[Any]], now: float) -> FeatureColumns:
        """Return the values as `OnlineFeatures.columns` does.

        Args:
            now: unix seconds.

        Raises:
            RequestDataNotFoundInEntityRowsException, LookupError, ValueError, TypeError: a key or a request value is
                missing, or has a wrong type.
        """
        orders, distinct = self._ordered(given)
        return self._answer(given, now, orders, self._read(distinct))

    @property
    def waits(self) -> bool:
        """Return whether the event loop should rather go on meanwhile, by `fetch`."""
        return self._packed is not None and self._packed.waits

    async def fetch(self, given: Mapping[str, Sequence[Any]], now: float) -> FeatureColumns:
        """Return the values as `columns` does, while the event loop goes on."""
        packed = self._packed
        if packed is None:
            return self.columns(given, now)
        orders, distinct = self._ordered(given)
        stored = await packed.fetch_packed(self._config, self._asked(distinct))
        return self._answer(given, now, orders, self._unpacked(packed, distinct, stored))

    def close(self) -> None:
        """Close what `fetch` has opened."""
        if self._packed is not None:
            self._packed.close_connection()

    def _ordered(
        self, given: Mapping[str, Sequence[Any]]
    ) -> tuple[list[list[int]], list[list[tuple[Any, ...]]]]:
        """Return for each view the place of each row's key among the distinct keys, and these."""
        if lacking := self._requested - given.keys():
            raise RequestDataNotFoundInEntityRowsException(sorted(lacking))
        orders: list[list[int]] = []
        distinct: list[list[tuple[Any, ...]]] = []
        for each in self._stored:
            keys = list(zip(*(given[name] for name, _ in each.keys), strict=True))
            if len(keys) == 1:
                orders.append([0])
                distinct.append(keys)
                continue
            places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
            orders.append([places[key] for key in keys])
            distinct.append(list(places))
        return orders, distinct

    def _answer(
        self,
        given: Mapping[str, Sequence[Any]],
        now: float,
        orders: list[list[int]],
        read: list[list[Row]],
    ) -> FeatureColumns:
        columns: dict[str, Sequence[Any]] = {}
        unknown: set[int] = set()
        late: dict[str, list[int]] = {}
        for each, order, rows in zip(self._stored, orders, read, strict=True):
            for name, column in zip(each.reads, zip(*(row for _, row in rows), strict=True), strict=True):
                columns[name] = column if len(column) == len(order) else [column[place] for place in order]
            times = [rows[place][0] for place in order] if each.answers else []
            unknown.update(number for number, at in enumerate(times) if at is None)
            if each.ttl is not None:
                late[each.view.name] = [
                    number for number, at in enumerate(times) if at is not None and now - at > each.ttl
                ]
        self._derive(given, columns)
        # After the on-demand views, which see a late value as Feast's own answer lets them.
        for each in self._stored:
            for name in each.answers if each.view.name in late else ():
                column = columns[name] = list(columns[name])
                for number in late[each.view.name]:
                    column[number] = None
        return FeatureColumns({name: columns[name] for name in self._names}, unknown)

    def _read(self, keys: Sequence[list[tuple[Any, ...]]]) -> list[list[Row]]:
        """Return the rows of the keys of each view."""
        if self._packed is None:
            views = zip(self._stored, keys, strict=True)
            return [self._read_values(each, of_view, self._store.online_read) for each, of_view in views]
        return self._unpacked(self._packed, keys, self._packed.read_packed(self._config, self._asked(keys)))

    def _asked(self, keys: Sequence[list[tuple[Any, ...]]]) -> list[tuple[FeatureView, Sequence[bytes]]]:
        views = zip(self._stored, keys, strict=True)
        return [(each.view, each.write_keys(of_view)) for each, of_view in views]

    def _unpacked(
        self,
        packed: PackedOnlineStore,
        keys: Sequence[list[tuple[Any, ...]]],
        stored: list[list[Stored | None]],
    ) -> list[list[Row]]:
        views = zip(self._stored, keys, stored, strict=True)
        return [self._with_older(packed, each, of_view, read) for each, of_view, read in views]

    def _with_older(
        self,
        store: PackedOnlineStore,
        each: StoredView,
        keys: list[tuple[Any, ...]],
        stored: Sequence[Stored | None],
    ) -> list[Row]:
        """Return packed rows; those that are not there as they were stored before, if they were."""
        lacking = [key for key, of in zip(keys, stored, strict=True) if of is None] if None in stored else []
        older = iter(self._read_values(each, lacking, store.read_unpacked) if lacking else ())
        return [next(older) if of is None else each.packed_row(of, store) for of in stored]

    def _read_values(
        self, each: StoredView, keys: list[tuple[Any, ...]], read: Callable[..., Sequence[Any]]
    ) -> list[Row]:
        rows = read(self._config, each.view, each.write_keys.protos(keys), list(each.reads))
        return [each.row(at, values) for at, values in rows]

    def _derive(self, given: Mapping[str, Sequence[Any]], columns: dict[str, Sequence[Any]]) -> None:
        for each in self._derived:
            inputs = {name: list(column) for name, column in given.items()}
            for name, full in each.stored:
                inputs[name] = inputs[full] = list(columns[name])
            values = each.function(inputs)
            for name, kind in each.answers:
                column = list(values[name])
                if kind is ValueType.DOUBLE:
                    column = [None if value is None else float(value) for value in column]
                columns[name] = column


def service_reads(
    store: FeatureStore, service: FeatureService, ttls: Mapping[str, float]
) -> ServiceReads | None:
    """Return the reads of a service; None where they are left to Feast.

    Args:
        ttls: seconds for which a value of a view is known, by view.
    """
    views = {view.name: view for view in store.list_feature_views()}
    on_demand = {view.name: view for view in store.list_on_demand_feature_views()}
    types = {entity.join_key: entity.value_type for entity in store.list_entities()}
    asked = {each.name: [field.name for field in each.features] for each in service.feature_view_projections}
    if any(each.name_alias or each.join_key_map for each in service.feature_view_projections):
        return None
    derived = [on_demand[name] for name in asked if name in on_demand]
    if not all(map(_runs_here, derived)) or not asked.keys() <= views.keys() | on_demand.keys():
        return None
    reads = {name: list(features) for name, features in asked.items() if name in views}
    taken: dict[str, list[tuple[str, str]]] = {}
    for view in derived:
        for source in view.source_feature_view_projections.values():
            if source.name not in views or source.name_alias or source.join_key_map:
                return None
            names = [field.name for field in source.features]
            reads[source.name] = list(dict.fromkeys([*reads.get(source.name, []), *names]))
            taken.setdefault(view.name, []).extend((name, f"{source.name}__{name}") for name in names)
    names = [name for each in asked.values() for name in each]
    stored_types = {
        (view, field.name): field.dtype.to_value_type() for view in reads for field in views[view].features
    }
    derived_types = {
        view.name: [(f.name, f.dtype.to_value_type()) for f in view.features if f.name in asked[view.name]]
        for view in derived
    }
    everything = [name for of_view in reads.values() for name in of_view] + [
        name for of_view in derived_types.values() for name, _ in of_view
    ]
    if (
        len(set(everything)) != len(everything)
        or any(stored_types.get((view, name)) not in READ for view, of in reads.items() for name in of)
        or any(
            stored_types[source.name, field.name] not in PLAIN
            for view in derived
            for source in view.source_feature_view_projections.values()
            for field in source.features
        )
        or any(kind not in DERIVED for of in derived_types.values() for _, kind in of)
        or any(key not in types for view in reads for key in views[view].join_keys)
        or any(not views[view].join_keys for view in reads)
    ):
        return None
    stored = [
        StoredView(
            view=views[name],
            keys=tuple((key, types[key]) for key in views[name].join_keys),
            reads=tuple(of),
            answers=tuple(asked.get(name, ())),
            ttl=ttls.get(name),
            write_keys=KeyWriter(
                [(key, types[key]) for key in views[name].join_keys],
                store.config.entity_key_serialization_version,
            ),
            unpack=Unpacker(of, asked.get(name, ())),
        )
        for name, of in reads.items()
    ]
    return ServiceReads(
        store,
        names,
        stored,
        [
            DerivedView(
                function=view.feature_transformation.udf,
                requested=frozenset(
                    field.name for source in view.source_request_sources.values() for field in source.schema
                ),
                stored=tuple(taken.get(view.name, ())),
                answers=tuple(derived_types[view.name]),
            )
            for view in derived
        ],
    )


def _runs_here(view: OnDemandFeatureView) -> bool:
    return (
        view.mode == "python"
        and not view.singleton
        and not view.aggregations
        and not view.write_to_online_store
    )
