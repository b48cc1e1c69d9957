"""Reads of a feature service from Feast's online store without Feast's response.

`FeatureStore.get_online_features` wraps every value into a message, unwraps it for the on-demand views, wraps their
values and unwraps all again; that costs several times the reads. Here the values go from the online store
(`online_read` of Feast's provider) straight to Python, and through the functions of the same on-demand views. Services
with more than plain values, a view under an alias, or on-demand views in another mode than `python` are left to Feast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feast import FeatureService, FeatureStore, FeatureView
from feast.errors import RequestDataNotFoundInEntityRowsException
from feast.infra.provider import Provider, get_provider
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from feast.value_type import ValueType

READ = frozenset(
    {ValueType.STRING, ValueType.INT32, ValueType.INT64, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOL}
)
DERIVED = frozenset({ValueType.STRING, ValueType.INT64, ValueType.DOUBLE})

Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Stored:
    """A view of the online store."""

    view: FeatureView
    keys: tuple[tuple[str, ValueType], ...]
    """Join keys with their types."""
    reads: tuple[str, ...]
    """Features to read: those of the service, and what its on-demand views need."""
    answers: tuple[str, ...]
    """Features of the service."""
    ttl: float | None
    """Seconds for which a value is known."""


@dataclass(frozen=True)
class _Derived:
    """An on-demand view."""

    function: Callable[[dict[str, list[Any]]], dict[str, list[Any]]]
    requested: frozenset[str]
    """Request values that it takes."""
    stored: tuple[tuple[str, str], ...]
    """Features that it takes from stored views, and their names with that of the view."""
    answers: tuple[tuple[str, ValueType], ...]


class ServiceReads:
    """The reads of one feature service."""

    def __init__(
        self,
        store: FeatureStore,
        names: Sequence[str],
        stored: Sequence[_Stored],
        derived: Sequence[_Derived],
    ) -> None:
        self._config = store.config
        self._provider: Provider = get_provider(store.config)
        self._names = names
        self._stored = stored
        self._derived = derived
        self._requested = frozenset[str]().union(*(each.requested for each in derived))

    def rows(self, rows: Sequence[Row], now: float) -> list[dict[str, Any] | None]:
        """Return the values of each row as `OnlineFeatures.values` does.

        Args:
            now: unix seconds.

        Raises:
            RequestDataNotFoundInEntityRowsException, LookupError, ValueError, TypeError: a row lacks a key or a
                request value, or has one of a wrong type.
        """
        if lacking := {name for row in rows for name in self._requested - row.keys()}:
            raise RequestDataNotFoundInEntityRowsException(sorted(lacking))
        columns: dict[str, list[Any]] = {}
        unknown: set[int] = set()
        late: dict[str, list[int]] = {}
        for each in self._stored:
            keys = [tuple(row[name] for name, _ in each.keys) for row in rows]
            distinct = list(dict.fromkeys(keys))
            read = dict(zip(distinct, self._read(each, distinct), strict=True))
            found = [read[key] for key in keys]
            for name in each.reads:
                columns[name] = [None if of is None else _plain(of.get(name)) for _, of in found]
            for number, (at, of) in enumerate(found):
                if each.answers and (of is None or any(name not in of for name in each.answers)):
                    unknown.add(number)
                elif each.ttl is not None and now - int(at.timestamp()) > each.ttl:
                    late.setdefault(each.view.name, []).append(number)
        self._derive(rows, columns)
        # After the on-demand views, which see a late value as Feast's own answer lets them.
        for each in self._stored:
            for number in late.get(each.view.name, ()):
                for name in each.answers:
                    columns[name][number] = None
        return [
            None if number in unknown else {name: columns[name][number] for name in self._names}
            for number in range(len(rows))
        ]

    def _read(self, each: _Stored, keys: list[tuple[Any, ...]]) -> list[Any]:
        """Return time and values of each key; two None for a key that is not stored."""
        names = [name for name, _ in each.keys]
        columns = [_protos([key[place] for key in keys], kind) for place, (_, kind) in enumerate(each.keys)]
        wanted = [EntityKey(join_keys=names, entity_values=values) for values in zip(*columns, strict=True)]
        return list(self._provider.online_read(self._config, each.view, wanted, list(each.reads)))

    def _derive(self, rows: Sequence[Row], columns: dict[str, list[Any]]) -> None:
        for each in self._derived:
            given = {name: [row[name] for row in rows] for name in rows[0]}
            for name, full in each.stored:
                given[name] = given[full] = list(columns[name])
            values = each.function(given)
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
        or any(kind not in DERIVED for of in derived_types.values() for _, kind in of)
        or any(key not in types for view in reads for key in views[view].join_keys)
        or any(not views[view].join_keys for view in reads)
    ):
        return None
    stored = [
        _Stored(
            view=views[name],
            keys=tuple((key, types[key]) for key in views[name].join_keys),
            reads=tuple(of),
            answers=tuple(asked.get(name, ())),
            ttl=ttls.get(name),
        )
        for name, of in reads.items()
    ]
    return ServiceReads(
        store,
        names,
        stored,
        [
            _Derived(
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


def _protos(values: list[Any], kind: ValueType) -> list[Value]:
    """Return the values of a join key as Feast's messages."""
    if kind is ValueType.STRING and set(map(type, values)) == {str}:
        return [Value(string_val=value) for value in values]
    return list(python_values_to_proto_values(values, kind))


def _plain(value: Value | None) -> Any:
    kind = None if value is None else value.WhichOneof("val")
    return None if kind is None else getattr(value, kind)
