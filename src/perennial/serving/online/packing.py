"""The values of all features of an entity as one value of Feast, and keys of entities as Feast's stores have them.

The value is a list (`Value.list_val`): first a text that names the features, then the known floating-point numbers
as little-endian bytes, then every other value as it is. So it says itself what is in it: rows written under earlier
definitions of a view are read right, and a value that is not known stays different from NaN.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import RepeatedValue, Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType

_PLAIN = frozenset({"double_val", "float_val", "int64_val", "int32_val", "bool_val", "string_val"})
_GAP = "\n\n"
"""In the text of names, between those of the numbers and the others."""


def pack(values: Mapping[str, Value]) -> Value:
    """Return the values of an entity as one."""
    numbers = {name: of.double_val for name, of in values.items() if of.WhichOneof("val") == "double_val"}
    others = {name: of for name, of in values.items() if name not in numbers}
    names = "\n".join(numbers) + _GAP + "\n".join(others)
    content = struct.pack(f"<{len(numbers)}d", *numbers.values())
    listed = [Value(string_val=names), Value(bytes_val=content), *others.values()]
    return Value(list_val=RepeatedValue(val=listed))


def unpack(packed: bytes) -> dict[str, Value]:
    """Return the values of an entity from a packed value as bytes."""
    names, numbers, *others = Value.FromString(packed).list_val.val
    of_numbers, of_others = _names(names.string_val)
    values = struct.unpack(f"<{len(of_numbers)}d", numbers.bytes_val)
    known = {name: Value(double_val=value) for name, value in zip(of_numbers, values, strict=True)}
    return known | dict(zip(of_others, others, strict=True))


@dataclass(frozen=True)
class _Layout:
    """How to read the values after a text of names."""

    lacks: bool
    """Whether a feature is lacking without which an entity counts as unknown."""
    numbers: Callable[[bytes], tuple[float, ...]]
    others: bool
    """Whether there are other values than numbers."""
    pick: Callable[[Sequence[Any]], Sequence[Any]] | None
    """Takes the values that are read out of all values and a last None; None where those are the numbers."""


class Unpacker:
    """Reads some features of a view from packed values.

    Args:
        reads: the features, in the order of the answer.
        answers: those of them without which an entity counts as unknown.
    """

    def __init__(self, reads: Sequence[str], answers: Sequence[str]) -> None:
        self._reads = reads
        self._answers = answers
        self._layout = lru_cache(maxsize=64)(self._layout_of)

    def __call__(self, packed: bytes) -> tuple[bool, Sequence[Any]]:
        """Return whether a feature of `answers` is lacking, and the plain values; None for one that is not there."""
        listed = Value.FromString(packed).list_val.val
        layout = self._layout(listed[0].string_val)
        numbers = layout.numbers(listed[1].bytes_val)
        if layout.pick is None:
            return layout.lacks, numbers
        others = map(plain, listed[2:]) if layout.others else ()
        return layout.lacks, layout.pick([*numbers, *others, None])

    def _layout_of(self, names: str) -> _Layout:
        numbers, others = _names(names)
        places = {name: place for place, name in enumerate([*numbers, *others])}
        picked = [places.get(name, -1) for name in self._reads]
        pick = itemgetter(*picked) if len(picked) > 1 else lambda values: [values[picked[0]]]
        return _Layout(
            lacks=any(name not in places for name in self._answers),
            numbers=struct.Struct(f"<{len(numbers)}d").unpack,
            others=bool(others),
            pick=None if picked == list(range(len(numbers))) else pick,
        )


def _names(text: str) -> tuple[list[str], list[str]]:
    numbers, _, others = text.partition(_GAP)
    return numbers.split("\n") if numbers else [], others.split("\n") if others else []


def plain(value: Value) -> Any:
    """Return a value as Python has it."""
    kind = value.WhichOneof("val")
    if kind in _PLAIN:
        return getattr(value, kind)
    return feast_value_type_to_python_type(value)


class KeyWriter:
    """Writes keys of entities as bytes.

    Args:
        names: join keys of a view, with their types.
        version: `entity_key_serialization_version` of Feast's configuration.
    """

    def __init__(self, names: Sequence[tuple[str, ValueType]], version: int) -> None:
        self._names = [name for name, _ in names]
        self._kinds = [kind for _, kind in names]
        self._version = version
        self._start: bytes | None = None
        if self._kinds == [ValueType.STRING]:
            # What precedes the length and the bytes of a single text is always the same.
            start, probe = self._of_values([Value(string_val="")])[:-4], "ä probe"
            if self._of_values([Value(string_val=probe)]) == start + _with_length(probe):
                self._start = start

    def protos(self, keys: Sequence[tuple[Any, ...]]) -> list[EntityKey]:
        """Return the keys as Feast's messages.

        Raises:
            ValueError, TypeError: a value does not fit its type.
        """
        columns = [_protos([key[place] for key in keys], kind) for place, kind in enumerate(self._kinds)]
        return [
            EntityKey(join_keys=self._names, entity_values=values) for values in zip(*columns, strict=True)
        ]

    def __call__(self, keys: Sequence[tuple[Any, ...]]) -> list[bytes]:
        """Return the keys as bytes; raises as `protos` does."""
        if self._start is not None and all(type(key) is str for (key,) in keys):
            return [self._start + _with_length(key) for (key,) in keys]
        return [serialize_entity_key(key, self._version) for key in self.protos(keys)]

    def _of_values(self, values: list[Value]) -> bytes:
        return serialize_entity_key(EntityKey(join_keys=self._names, entity_values=values), self._version)


def _with_length(text: str) -> bytes:
    content = text.encode()
    return len(content).to_bytes(4, "little") + content


def _protos(values: list[Any], kind: ValueType) -> list[Value]:
    """Return the values of a join key as Feast's messages."""
    if kind is ValueType.STRING and set(map(type, values)) == {str}:
        return [Value(string_val=value) for value in values]
    return list(python_values_to_proto_values(values, kind))
