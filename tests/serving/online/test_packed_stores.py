"""Packed online stores give what Feast's own stores give, to the bit."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

KINDS = {
    "double_val": st.floats(width=64),
    "float_val": st.floats(width=32),
    "int64_val": st.integers(-(2**63), 2**63 - 1),
    "int32_val": st.integers(-(2**31), 2**31 - 1),
    "bool_val": st.booleans(),
    "string_val": st.text(max_size=8),
    "unix_timestamp_val": st.integers(0, 4 * 10**9),
    "float_list_val": st.lists(st.floats(width=32), max_size=4),
}
NAMES = tuple(f"{kind}_{number}" for number in range(2) for kind in KINDS)
TIMES = st.integers(10**9, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
ROW = st.fixed_dictionaries(
    {}, optional={name: st.none() | KINDS[name.rpartition("_")[0]] for name in NAMES}
).filter(bool)  # fmt: skip
ROWS = st.dictionaries(st.text(max_size=5), st.tuples(ROW, TIMES), min_size=1, max_size=4)


def value_of(name: str, plain):
    """A value as Feast's message; None is one that is not known."""
    from feast.protos.feast.types.Value_pb2 import FloatList, Value

    kind = name.rpartition("_")[0]
    if plain is None:
        return Value()
    return Value(**{kind: FloatList(val=plain) if kind == "float_list_val" else plain})


def key_of(text: str):
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    return EntityKey(join_keys=["client"], entity_values=[Value(string_val=text)])


@pytest.fixture(scope="module")
def view():
    from feast import Entity, FeatureView, Field, FileSource
    from feast.types import Float64, String
    from feast.value_type import ValueType

    client = Entity(name="client", join_keys=["client"], value_type=ValueType.STRING)
    fields = [Field(name="client", dtype=String), *(Field(name=name, dtype=Float64) for name in NAMES)]
    source = FileSource(path="nowhere.parquet", timestamp_field="at")
    return FeatureView(name="clients", entities=[client], schema=fields, source=source)


@pytest.fixture(params=["sqlite", "redis"])
def stores(request, tmp_path, view):
    """Feast's store and the packed one, each with its configuration."""
    from feast import RepoConfig
    from feast.infra.provider import get_provider

    if request.param == "sqlite":
        packed, plain = "perennial.serving.online.packed.PackedSqliteOnlineStore", "sqlite"
        of_store = {"packed": {"path": str(tmp_path / "p.db")}, "plain": {"path": str(tmp_path / "f.db")}}
    else:
        from online_stores.redis_server import PASSWORD

        server = request.getfixturevalue("redis_server")
        packed, plain = "perennial.serving.online.packed_redis.PackedRedisOnlineStore", "redis"
        password = json.dumps(PASSWORD).replace(",", "\\u002c")  # Feast splits the text at commas
        address = f"127.0.0.1:{server.port},db=5,password={password}"
        of_store = {"packed": {"connection_string": server.url}, "plain": {"connection_string": address}}
    made = {}
    for name, kind in (("packed", packed), ("plain", plain)):
        config = RepoConfig(
            project="perennial", provider="local", registry=str(tmp_path / "registry.db"),
            online_store={"type": kind, **of_store[name]}, entity_key_serialization_version=3,
        )  # fmt: skip
        made[name] = SimpleNamespace(config=config, store=get_provider(config).online_store)
    for each in made.values():
        each.store.update(each.config, [], [view], [], [], partial=False)
    return SimpleNamespace(runs=0, **made)


def read(side, view, keys, names):
    """What a store has, as bytes; an entity that Feast's Redis does not know has time 0 there."""
    rows = side.store.online_read(side.config, view, [key_of(key) for key in keys], list(names))
    return [
        None
        if values is None or at.timestamp() == 0
        else (
            at,
            {
                name: values[name].SerializeToString()
                for name in names
                # Feast's SQLite leaves out what was not written, its Redis has an empty value for it.
                if name in values and values[name].WhichOneof("val")
            },
        )
        for at, values in rows
    ]


@given(rows=ROWS)
@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_are_read_as_they_were_written(stores, view, rows):
    stores.runs += 1  # every example has entities of its own
    written = {f"{stores.runs} {key}": row for key, row in rows.items()}
    data = [
        (key_of(key), {name: value_of(name, value) for name, value in values.items()}, at, None)
        for key, (values, at) in written.items()
    ]
    for side in (stores.packed, stores.plain):
        side.store.online_write_batch(side.config, view, data, None)
    keys = [*written, "nobody"]
    got = read(stores.packed, view, keys, NAMES)
    assert got == read(stores.plain, view, keys, NAMES)
    assert got[-1] is None
    assert read(stores.packed, view, keys, NAMES[3:5]) == read(stores.plain, view, keys, NAMES[3:5])


@given(row=ROW, reads=st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
@settings(max_examples=examples(200))
def test_values_are_unpacked_without_messages_to_the_same_bits(row, reads):
    from perennial.serving.online.packing import Unpacker, pack, plain

    values = {name: value_of(name, value) for name, value in row.items()}
    lacks, got = Unpacker(tuple(reads), tuple(reads[:1]))(pack(values).SerializeToString())
    assert lacks == (reads[0] not in row)
    expected = [plain(values[name]) if name in values else None for name in reads]
    assert [bits(value) for value in got] == [bits(value) for value in expected]


def bits(value):
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


@given(keys=st.lists(st.text(max_size=9), min_size=1))
@settings(max_examples=examples(60))
def test_keys_are_written_as_feast_writes_them(keys):
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.value_type import ValueType

    from perennial.serving.online.packing import KeyWriter

    write = KeyWriter([("client", ValueType.STRING)], 3)
    assert write([(key,) for key in keys]) == [serialize_entity_key(key_of(key), 3) for key in keys]


def test_an_entity_from_before_packing_is_known_until_it_is_written_again(stores, view):
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=1)
    written = {NAMES[0]: value_of(NAMES[0], 1.5), NAMES[2]: value_of(NAMES[2], 7)}
    type(stores.plain.store).online_write_batch(
        stores.packed.store, stores.packed.config, view, [(key_of("a"), written, first, None)], None
    )
    ((at, values),) = read(stores.packed, view, ["a"], NAMES)
    assert (at, set(values)) == (first, {NAMES[0], NAMES[2]})
    stores.packed.store.online_write_batch(
        stores.packed.config, view, [(key_of("a"), {NAMES[0]: value_of(NAMES[0], 2.5)}, later, None)], None
    )
    assert read(stores.packed, view, ["a"], NAMES) == [
        (later, {NAMES[0]: value_of(NAMES[0], 2.5).SerializeToString()})
    ]
